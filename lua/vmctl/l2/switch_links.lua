--- The connections of a switch: accepts QEMUs that dial, and dials QEMUs that listen, again and again.
local core = require "vmctl.core"
local background = require "vmctl.base.background"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local endpoint = require "vmctl.l2.endpoint"

local M = {}

local PORTS = 256
local DIAL_TIMEOUT = 10
local PAUSE = { 0.05, 2 }   -- first and longest pause between two dials
local STEADY = 1            -- seconds: after a connection that lasted so long, pauses begin with the first again
local FAILURE_PAUSE = 0.1   -- seconds after an accept that failed for a temporary reason

---@class vmctl.L2SwitchListener
local listener = {}
local listener_mt = { __name = "vmctl.L2SwitchListener", __index = listener }

-- The first port of this listener without a connection, if there is one; and the number of its ports.
local function idle_port(self)
  local live, idle = {}, nil
  for _, port in ipairs(self._ports) do
    if port:_here() then
      live[#live + 1] = port
      if port:state() ~= "connected" then idle = idle or port end
    end
  end
  self._ports = live
  return idle, #live
end

local function new_port(self)
  local name, port, err, code = self._name
  repeat
    self._number = self._number + 1
    if self._most > 1 then name = ("%s-%d"):format(self._name, self._number) end
    port, err, code = self._switch:_new_port(name)
  until port or code ~= "EEXIST" or self._most == 1
  if port then table.insert(self._ports, port) end
  return port, err, code
end

-- Accepts only if there is a free port: otherwise connections wait in the backlog.
local function accept(self)
  local idle, number = idle_port(self)
  if not idle and number >= self._most then return self._switch._ended:wait(math.huge, "a free port") end
  local wire, err, code = self._listener:accept(math.huge)
  if not wire then return nil, err, code end
  local port, ok = idle_port(self), nil
  if not port then port, err, code = new_port(self) end
  if port then ok, err, code = port:attach(wire) end
  if ok then
    log.info("l2: %s: %s is connected", self._switch.name, port.name)
    return true
  end
  wire:close()
  return nil, err, code
end

local function serve(self)
  while not self._closed do
    local ok, err, code = accept(self)
    if not ok and (self._closed or code == "ECANCELED") then return end
    if not ok then
      if code ~= "ECLOSED" then log.error("l2: %s: %s", self._switch.name, err) end
      if not core.sleep(FAILURE_PAUSE) then return end
    end
  end
end

--- Where it listens.
---@return vmctl.Address|nil, string?, string?
function listener:address()
  return self._listener:address()
end

--- Its ports.
---@return vmctl.L2SwitchPort[]
function listener:ports()
  return table.move(self._ports, 1, #self._ports, 1, {})
end

--- Stops listening; its ports stay. Idempotent; does not wait.
---@return true
function listener:close()
  self._closed = true
  self._listener:close()
  self._task:cancel()
  self._switch._links[self] = nil
  return true
end

listener_mt.__close = listener.close

local listen_options = {
  name = "string", ports = "integer>=1<=256", backlog = "integer>=1", mode = "integer", allow = "function|table",
}

--- Listens for QEMUs that connect. Each connection becomes a port: "NAME-1", "NAME-2" …; with `ports = 1` there is one, called
--- NAME. A port whose connection has ended stays, with its faults and counts, and the next connection gets it: give each guest
--- its own address if it must keep its port. Waits only to resolve a name.
---@param where string|table as for l2.listen
---@param opts? { name: string?, ports: integer?, backlog: integer?, mode: integer?, allow?: function|table } ports: at most so many (256)
---@return vmctl.L2SwitchListener|nil listener with address, ports, close; string?, string? code ECLOSED, EADDRINUSE …
function M.listen(switch, where, opts)
  opts = options.check(opts, listen_options, "switch:listen")
  if switch._closed then return switch:_fail_closed "listen" end
  local name = opts.name or "guest"
  switch:_check_name(name, 2)
  local l, err, code = endpoint.listen(where, { backlog = opts.backlog, mode = opts.mode, allow = opts.allow })
  if not l then return nil, err, code end
  local self = setmetatable({
    _switch = switch, _listener = l, _name = name, _most = opts.ports or PORTS, _ports = {}, _number = 0,
  }, listener_mt)
  switch._links[self] = true
  self._task = background.spawn("l2: a listener of " .. switch.name, serve, self)
  return self
end

-- The task that keeps a port connected. Its switch cancels it.
local dialler = {}
local dialler_mt = { __index = dialler }

function dialler:close()
  self._task:cancel()
  self._port._switch._links[self] = nil
end

-- Dials, and waits for the connection's end. True if there was a connection.
local function connect_once(self)
  local port = self._port
  local stream, err, code = endpoint.connect(self._where, self._family, self._timeout)
  if not stream then return nil, err, code end
  local ok
  ok, err, code = port:attach(stream)
  if not ok then
    stream:close()
    return nil, err, code
  end
  log.info("l2: %s: %s is connected to %s", port._switch.name, port.name, self._where)
  while port:state() == "connected" do
    ok, err, code = port._changed:wait(math.huge, "the end of a connection")
    if not ok then return nil, err, code end
  end
  return true
end

local function keep_connected(self)
  local port, pause, said = self._port, PAUSE[1], nil
  while port:_here() do
    local begin = core.now()
    local ok, err, code = connect_once(self)
    if code == "ECANCELED" or not port:_here() then return end
    if not ok and not port._core:state(port._index) then
      if said ~= code then log.info("l2: %s: %s: %s", port._switch.name, port.name, err) end
      said = code
      port:_set_state(self._redial and "dialling" or "ended", code)
    elseif ok and self._redial then
      said = nil
      port:_set_state("dialling", port._reason)
    end
    if not self._redial then return end
    if core.now() - begin >= STEADY then pause = PAUSE[1] end
    if not core.sleep(pause) then return end
    pause = math.min(2 * pause, PAUSE[2])
  end
end

local dial_options = { name = "string", redial = "boolean", timeout = "number>0" }

--- Adds a port that dials a listening QEMU, and dials again with growing pauses after a failure or the connection's end. (QEMU
--- 7.2 should listen: as a client it never reconnects.) The port stays, and frames to it are dropped meanwhile. Does not wait:
--- see `wait_connected` and `state` of the port.
---@param where string|table|function as for l2.dial
---@param opts? { name: string?, redial: boolean?, timeout: number? } redial: true by default; timeout: seconds of one dial (10)
---@return vmctl.L2SwitchPort|nil, string?, string? code EINVAL, EEXIST, ENOSPC, ECLOSED
function M.dial(switch, where, opts)
  opts = options.check(opts, dial_options, "switch:dial")
  local a, family, code = endpoint.parse(where)
  if not a then return nil, family, code end
  if switch._closed then return switch:_fail_closed "dial" end
  if opts.name then switch:_check_name(opts.name, 2) end
  local port, err
  port, err, code = switch:_new_port(opts.name)
  if not port then return errors.wrap("dial " .. tostring(a), nil, err, code) end
  port:_set_state "dialling"
  local self = setmetatable({
    _port = port, _where = a, _family = family, _redial = opts.redial ~= false, _timeout = opts.timeout or DIAL_TIMEOUT,
  }, dialler_mt)
  switch._links[self] = true
  port._dialler = self
  self._task = background.spawn(("l2: %s of %s"):format(port.name, switch.name), keep_connected, self)
  return port
end

return M
