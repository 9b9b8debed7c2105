--- Trunks: switches of two processes, or of two machines, joined over any stream. At each end a network's trunk is a port of that
--- network's switch, with the faults and counts that ports have; several networks share the stream and stay apart.
--- A key proves to each end that the other one has it too. Nothing is encrypted, and no frame is signed: over a network that others
--- can read or write, let ssh carry the stream.
local core = require "vmctl.core"
local background = require "vmctl.base.background"
local join = require "vmctl.l2.trunk_join"
local log = require "vmctl.log"
local reach = require "vmctl.l2.trunk_reach"
local talk = require "vmctl.l2.trunk_talk"
local task = require "vmctl.base.task"
local tasks = require "vmctl.l2.trunk_tasks"

local M = {}

local VAGUE = { EOF = true, ECONNREFUSED = true, EPIPE = true } -- codes of streams whose session has ended
local KEEPALIVE = 15 -- seconds for which the other end may not answer

---@class vmctl.L2Trunk
---@field name string
local methods = {}
local mt = { __name = "vmctl.L2Trunk", __index = methods }

--- The name of the other end in messages.
function methods:far()
  return self._far and ("switch %s over there"):format(self._far) or "the other end"
end

--- Notes the reason of its end. The first reason stays, but a refusal of ours takes its place. Does not wait.
function methods:_note(_, err, code)
  if self._why then return end
  self._why = self._verdict or { err or "it has ended", code or "EOF" }
  self._over:wake()
  if self._arrived then self._arrived:wake() end -- joining waits there
end

--- Refuses the other end. Waits until that has heard it, for a short time.
---@return nil, string message, string code as they were given
function methods:_refuse(err, code)
  self._verdict = { err, code }
  return talk.refuse(self._control, err, code)
end

--- Runs a part of it in a task; when that ends, so does the trunk.
function methods:_spawn(scope, fn, ...)
  task.spawn_in(scope, function(...) self:_note(fn(...)) end, ...)
end

--- Has the other end told which switches this end reaches. Does not wait.
function methods:_announce()
  self._untold = true
  self._news:wake()
end

-- Disconnects its ports, with which the switch forgets their addresses, and ends the session.
local function disconnect(self)
  for _, link in pairs(self._links) do
    reach.forget(link.switch, link)
    local port = link.port
    if port:_here() then
      port._core:detach(port._index)
      port:_set_state("ended", self._why[2])
    end
    if self._is_passing then port:remove() end
  end
  if self._session then self._session:close() end
  self._stream:close()
end

local function joined(self)
  self._state = "joined"
  log.info("l2: trunk %s joins switch %s with %s", self.name, self._switch.name, self:far())
  self._changed:wake()
end

local function ended(self)
  local was_joined = self._state == "joined"
  self._state = "ended"
  if was_joined and self._why[2] ~= "ECLOSED" then
    log.error("l2: trunk %s to %s has ended: %s", self.name, self:far(), self._why[1])
  end
  if was_joined and self._on_end then
    local ok, err = xpcall(self._on_end, debug.traceback, self, self._why[1], self._why[2])
    if not ok then log.error("l2: trunk %s: %s", self.name, err) end
  end
  self._changed:wake()
end

-- Notes the reason why the ends were not joined: the error, or the end of the session if the error tells only that it has ended.
local function not_joined(self, err, code)
  if VAGUE[code] and self._session and not self._session:alive() then
    local _, why, how = self._session:reason()
    err, code = why, how
  end
  if not VAGUE[code] then self._why = nil end
  self:_note(nil, err, code)
end

-- The task of a trunk, from joining to its end. It cleans up in any case.
local function run(self, key, deadline)
  local guard <close> = setmetatable({}, { __close = function() -- luacheck: ignore
    self:_note(nil, "it was closed", "ECLOSED")
    disconnect(self)
  end })
  task.scope(function(scope)
    local ok, err, code = join.run(self, scope, self._stream, key, deadline)
    if not ok then
      not_joined(self, err, code)
    elseif not self._why then
      joined(self)
      tasks.run(self, scope)
    end
    scope:cancel()
  end)
end

local function new_ports(self)
  for _, name in ipairs(join.names(self)) do
    local link = self._links[name]
    local err, code
    link.port, err, code = link.switch:_new_port(self.name)
    if not link.port then
      for _, each in pairs(self._links) do
        if each.port then each.port:remove() end
      end
      return nil, ("trunk %s: %s"):format(self.name, err), code
    end
  end
  return true
end

--- Makes a trunk of a stream, which it takes over, and joins. Waits until both ends are joined, or refuse.
---@param switch vmctl.L2Switch
---@param stream vmctl.Stream
---@param spec { name: string, networks: table<string, vmctl.L2Switch>, key: string?, keepalive: number?, on_end: function?,
--- passing: boolean?, deadline: number } passing: its ports go when it ends
---@return vmctl.L2Trunk|nil, string?, string?
function M.join(switch, stream, spec)
  local self = setmetatable({
    name = spec.name, _switch = switch, _stream = stream, _links = {}, _keepalive = spec.keepalive or KEEPALIVE, _state = "joining",
    _on_end = spec.on_end, _is_passing = spec.passing, _over = core.queue(), _news = core.queue(), _changed = core.queue(),
  }, mt)
  for name, each in pairs(spec.networks) do self._links[name] = { network = name, switch = each, trunk = self } end
  local ok, err, code = new_ports(self)
  if not ok then
    stream:close()
    return nil, err, code
  end
  for _, each in pairs(spec.networks) do each._links[self] = true end
  self._task = background.spawn("l2: trunk " .. self.name, function()
    run(self, spec.key, spec.deadline)
    ended(self)
  end)
  while self._state == "joining" do
    ok, err, code = self._changed:wait(math.huge)
    if not ok then break end
  end
  if self._state == "joined" then return self end
  if ok then err, code = ("trunk %s: %s"):format(self.name, self._why[1]), self._why[2] end
  self:close()
  return nil, err, code
end

--- Its state. Does not wait.
---@return "joined"|"ended" state
---@return string? message why it has ended
---@return string? code EOF, ETIMEDOUT, ELOOP, ECLOSED …
function methods:state()
  if self._state == "joined" then return "joined" end
  return self._state, table.unpack(self._why or {})
end

--- Waits until it has ended.
---@param timeout? number|{ timeout: number } seconds; for ever by default
---@return string|nil code why: EOF, ETIMEDOUT (the other end fell silent), ELOOP, ECLOSED …
---@return string message
---@return string? code ETIMEDOUT, ECANCELED: it has not ended
function methods:wait_end(timeout)
  if type(timeout) == "table" then timeout = timeout.timeout end
  local deadline = core.now() + (timeout or math.huge)
  while self._state ~= "ended" do
    local ok, err, code = self._changed:wait(math.max(0, deadline - core.now()), "the end of trunk " .. self.name)
    if not ok then return nil, err, code end
  end
  return self._why[2], self._why[1]
end

--- Its port at the switch of a network: for faults, cuts and counts. Does not wait.
---@param network? string that of the switch which made the trunk, by default
---@return vmctl.L2SwitchPort|nil
function methods:port(network)
  for name, link in pairs(self._links) do
    if name == network or network == nil and link.switch == self._switch then return link.port end
  end
end

--- The names of its networks, sorted. Does not wait.
---@return string[]
function methods:networks()
  return join.names(self)
end

--- Ends it at both ends, and removes its ports here. Idempotent; does not wait.
---@return true
function methods:close()
  if self._state ~= "ended" then
    self:_note(nil, "it was closed", "ECLOSED")
    self._task:cancel()
    disconnect(self)
    ended(self)
  end
  for _, link in pairs(self._links) do
    link.switch._links[self] = nil
    link.port:remove()
  end
  return true
end

mt.__close = methods.close
function mt:__tostring() return ("vmctl.L2Trunk(%s, %s)"):format(self.name, self._state) end

return M
