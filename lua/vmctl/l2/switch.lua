--- An Ethernet switch: frames go from socket to socket in C; this is its Lua face. It learns the port of each address, floods
--- frames to unknown addresses, leaves VLAN tags as they are (and learns addresses per VLAN), and has a bounded queue per port,
--- which its senders share. A sender that sends to one port alone waits for it, as long as that takes 64 KiB in 0.25 seconds; one
--- that sends to others as well waits for 0.2 seconds at first and for 4 % of its time from then on. After that, frames that do not fit
--- are dropped and counted, those of the sender that has most in the queue. No other port waits, and both end when the port reads again.
local core = require "vmctl.core"
local background = require "vmctl.base.background"
local capture = require "vmctl.l2.capture"
local control = require "vmctl.l2.control"
local datagrams = require "vmctl.l2.datagrams"
local errors = require "vmctl.errors"
local faults = require "vmctl.l2.faults"
local frames_of = require "vmctl.l2.switch_frames"
local intercept = require "vmctl.l2.intercept"
local links = require "vmctl.l2.switch_links"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local random = require "vmctl.base.random"
local scenario = require "vmctl.l2.partition"
local state = require "vmctl.l2.switch_state"
local switch_port = require "vmctl.l2.switch_port"
local trunks = require "vmctl.l2.trunk_links"
local uplink = require "vmctl.l2.uplink"

local M = {}

local NAME_LONGEST = 63 -- bytes of a port's name

---@class vmctl.L2Switch
---@field name string
local methods = {}
local mt = { __name = "vmctl.L2Switch", __index = methods }

local known = {
  seed = "integer", age = "integer>=0<=2147483646", queue = "integer>=69636<=1073741824",
  memory = "integer>=69636<=68719476736", longest = "integer>=14<=69632", name = "string", faults = "table",
  thread = "boolean",
}

local function random_seed()
  return ("<i8"):unpack((assert(random.bytes(8)))) & 0x7fffffff
end

-- Logs the events of a port, each once per connection: the connection has ended, or has brought invalid frames.
local function hear(self, port)
  local counts = self._core:counts(port._index)
  if counts.invalid > port._invalid and port._complained ~= port._epoch then
    port._complained = port._epoch
    log.info("l2: %s: %s: a frame of a length that no frame has (such frames are left out and counted)", self.name, port.name)
  end
  port._invalid = counts.invalid
  port:_ended()
end

-- The task that waits for events of the C part.
local function listen_to_news(self)
  local ok = true
  while ok do
    for _, port in ipairs(self:ports()) do hear(self, port) end
    capture.hear(self)
    ok = self._core:wait_news(math.huge)
  end
end

--- Makes a switch. It works until it is closed. Does not wait.
---@param opts? { seed: integer?, age: integer?, queue: integer?, memory: integer?, longest: integer?, name: string?,
--- faults: vmctl.L2Faults?, thread: boolean? } seed: of the faults (random by default: see `seed`); age: seconds after which an
--- address that was not heard is forgotten (300; 0: learn nothing, flood everything);
--- queue: bytes that may wait for a port (1 MiB; with less than 512 KiB a burst can lose frames even if the port reads); memory:
--- bytes that may wait for all ports, and as many of delayed frames (64 MiB each; a port or a direction has as much as is left);
--- longest: bytes of a frame to a port; longer ones are dropped, and counted (65535, which all peers take; QEMU takes 69632);
--- name: for the log; faults: those of every new port, until its `faults` are set; thread: frames pass in a thread of its own, so
--- that a script which does not come back to its loop (`os.execute`, a long computation) stalls no guest. Listeners, diallers, taps
--- and events of the switch still need the script's loop, and a virtual clock does not drive that thread (false)
---@return vmctl.L2Switch|nil switch
---@return string? message
---@return string? code EAGAIN, EMFILE … there is no thread to be had
function M.new(opts)
  opts = options.check(opts, known, "l2.switch")
  local seed = opts.seed or random_seed()
  local inner, err, code = core.switch(seed, opts.thread or false)
  if not inner then return nil, err, code end
  local self = setmetatable({
    name = opts.name or "switch", _core = inner, _seed = seed, _queue = opts.queue, _longest = opts.longest,
    _by_name = {}, _by_index = {},
    _pairs = {}, _links = {}, _trunk_links = {}, _captures = {}, _number = 0, _gone = {}, _ended = core.queue(), _closed = false,
  }, mt)
  self._faults = faults.check(opts.faults, 2) and options.merge(opts.faults) -- as given: each port checks them again
  if opts.memory then self._core:memory(math.tointeger(opts.memory)) end
  if opts.age then self._core:age(math.tointeger(opts.age)) end
  self._task = background.spawn("l2: " .. self.name, listen_to_news, self)
  return self
end

function methods:_fail_closed(what)
  return errors.fail("ECLOSED", "%s: %s: the switch is closed", what, self.name)
end

function methods._check_name(_, name, level)
  if name == "" or #name > NAME_LONGEST or name:find "%c" then
    error(("name of a port: 1 to %d bytes without control characters expected"):format(NAME_LONGEST), level + 1)
  end
end

--- The handle for a handle or a name. Raises at the line that `level` names.
function methods:_resolve(port, level)
  if switch_port.is_port(port) then
    if port._switch ~= self then error(("port %s is another switch's"):format(port.name), level) end
    return port
  elseif type(port) ~= "string" then
    error(("a port or its name expected, got %s"):format(type(port)), level)
  end
  return self._by_name[port] or error(("%s has no port '%s'"):format(self.name, port), level)
end

local function unused_name(self)
  local name
  repeat
    self._number = self._number + 1
    name = ("port-%d"):format(self._number)
  until not self._by_name[name]
  return name
end

--- A new port without a connection.
function methods:_new_port(name)
  name = name or unused_name(self)
  if self._by_name[name] then return errors.fail("EEXIST", "%s has a port '%s'", self.name, name) end
  local index, err, code = self._core:add(name)
  if not index then return nil, err, code end
  if self._queue then self._core:queue(index, math.tointeger(self._queue)) end
  if self._longest then self._core:longest(index, math.tointeger(self._longest)) end
  local port = switch_port.new(self, index, name)
  port._invalid = 0
  self._by_name[name], self._by_index[index] = port, port
  if self._faults then port:faults(self._faults, { direction = "from" }) end
  return port
end

--- Forgets a removed port, and keeps its counts.
function methods:_forget(port)
  for name, value in pairs(self._core:counts(port._index)) do self._gone[name] = (self._gone[name] or 0) + value end
  self._gone.queued = 0
  self._core:remove(port._index)
  scenario.forget(self, port)
  self._by_name[port.name] = nil
  if port._dialler then port._dialler:close() end
  port:_end()
  self._ended:wake()
end

--- Adds a port with an existing connection: an end of l2.socketpair, an accepted or dialled port, a stream. The switch takes it
--- over; the argument is closed for its former owner. Does not wait.
---@param wire vmctl.L2Port|vmctl.Stream
---@param opts? { name: string? } "port-1" … by default
---@return vmctl.L2SwitchPort|nil, string?, string? code EEXIST, ENOSPC (there are 256), EBUSY (a task uses it), ECLOSED
function methods:add(wire, opts)
  opts = options.check(opts, { name = "string" }, "switch:add")
  switch_port.check_wire(wire, 2)
  if opts.name then self:_check_name(opts.name, 2) end
  if self._closed then return self:_fail_closed "add a port" end
  local port, err, code = self:_new_port(opts.name)
  if not port then return nil, err, code end
  local ok
  ok, err, code = port:attach(wire)
  if ok then return port end
  port:remove()
  return nil, err, code
end

methods.listen, methods.dial, methods.uplink = links.listen, links.dial, uplink.uplink
methods.datagrams = datagrams.add
methods.trunk, methods.listen_trunks = trunks.trunk, trunks.listen_trunks
methods.faults, methods.faults_of_all, methods.cut = scenario.faults, scenario.faults_of_all, scenario.cut
methods.partition, methods.heal = scenario.partition, scenario.heal

--- The port of that name.
---@param name string
---@return vmctl.L2SwitchPort|nil
function methods:port(name)
  return self._by_name[name]
end

--- All ports, in the order of their numbers.
---@return vmctl.L2SwitchPort[]
function methods:ports()
  local list = {}
  for _, port in pairs(self._by_name) do list[#list + 1] = port end
  table.sort(list, function(a, b) return a._index < b._index end)
  return list
end

--- The seed of the faults; sets it if given, and they begin anew. The n-th frame of a direction (from a port, to a port, from one
--- to another) has the same faults in every run with that seed, if ports are added in the same order.
---@param seed? integer
---@return integer|nil, string?, string?
function methods:seed(seed)
  if seed ~= nil then
    if math.type(seed) ~= "integer" then error("seed: an integer expected", 2) end
    if self._closed then return self:_fail_closed "seed" end
    self._seed = seed
    self._core:seed(seed)
  end
  return self._seed
end

methods.addresses, methods.forget, methods.counts = state.addresses, state.forget, state.counts
methods.mirror, methods.inject, methods.tap = frames_of.mirror, frames_of.inject, frames_of.tap
methods.capture, methods.control, methods.intercept = capture.capture, control.serve, intercept.intercept

--- Ends everything: ports with their connections, listeners, taps, captures. Idempotent; does not wait.
---@return true
function methods:close()
  if self._closed then return true end
  for link in pairs(options.merge(self._links)) do link:close() end
  self._closed = true
  self._core:close()
  for _, port in ipairs(self:ports()) do port:_end() end
  self._task:cancel()
  return true
end

mt.__close = methods.close
function mt:__tostring()
  return ("vmctl.L2Switch(%s%s)"):format(self.name, self._closed and ", closed" or "")
end

return M
