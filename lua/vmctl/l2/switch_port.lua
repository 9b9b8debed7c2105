--- A handle for a switch's port: it has a name, and keeps its counts and its faults when its connection ends and another one
--- begins.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local faults = require "vmctl.l2.faults"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local port = require "vmctl.l2.port"

local M = {}

local WAIT = 30 -- seconds

---@class vmctl.L2SwitchPort
---@field name string
local methods = {}
local mt = { __name = "vmctl.L2SwitchPort", __index = methods }

--- Makes the handle of the port `index` of a switch.
function M.new(switch, index, name)
  return setmetatable({
    name = name, _switch = switch, _core = switch._core, _index = index, _state = "waiting", _epoch = 0, _cut = false,
    _faults = {}, _changed = core.queue(),
  }, mt)
end

function M.is_port(value)
  return getmetatable(value) == mt
end

local function gone(self)
  return errors.fail("ECLOSED", "port %s of %s: it is gone", self.name, self._switch.name)
end

--- Raises, at the line that `level` names, for a value that is no wire.
function M.check_wire(wire, level)
  if not port.is_port(wire) and not (type(wire) == "userdata" and tostring(wire):find "^vmctl%.Stream") then
    error(("a port of vmctl.l2 or a stream expected, got %s"):format(type(wire)), level + 1)
  end
end

--- Tells if it is still a port of its switch.
function methods:_here()
  return self._state ~= "gone"
end

function methods:_set_state(state, reason)
  self._state, self._reason = state, reason
  self._changed:wake()
end

--- Connects it to a port of l2 or a stream, which it takes over. Does not wait.
---@param wire vmctl.L2Port|vmctl.Stream
---@return true|nil, string?, string? code EBUSY (it has a connection, or the wire is in use), ECLOSED
function methods:attach(wire)
  M.check_wire(wire, 2)
  if not self:_here() then return gone(self) end
  if self._core:state(self._index) then
    return errors.fail("EBUSY", "port %s of %s has a connection", self.name, self._switch.name)
  end
  local fd, bytes, code
  if port.is_port(wire) then
    fd, bytes, code = wire:_detach()
  else
    fd, bytes, code = wire:detach()
  end
  if not fd then return nil, bytes, code end
  local ok, err
  ok, err, code = self._core:attach(self._index, fd, bytes)
  if not ok then return nil, err, code end
  return self:_connected()
end

function methods:_connected()
  self._epoch = self._epoch + 1
  self:_set_state "connected"
  return true
end

--- Called when the port or its switch ends.
function methods:_end()
  if self._network then self._network:close() end
  self:_set_state "gone"
end

--- Updates its state if its connection has ended.
function methods:_ended()
  if self._state ~= "connected" then return end
  local connected, reason = self._core:state(self._index)
  if connected then return end
  self:_set_state("ended", reason)
  log.info("l2: %s: %s: the connection ended (%s)", self._switch.name, self.name, reason)
  self._switch._ended:wake()
end

--- The state of its connection. Does not wait.
---@return "connected"|"waiting"|"dialling"|"ended"|"gone" state waiting: there was no connection yet
---@return string? reason of "ended": EOF, ETOOBIG, ECONNRESET …; of "dialling": the code of the last failure
---@return integer epoch how many connections there were, this one included
function methods:state()
  self:_ended()
  return self._state, self._reason, self._epoch
end

--- Waits until it is connected.
---@param timeout? number|{ timeout: number } seconds (30)
---@return integer|nil epoch, string?, string? code ETIMEDOUT, ECLOSED (it was removed), ECANCELED
function methods:wait_connected(timeout)
  if type(timeout) == "table" then timeout = timeout.timeout end
  local deadline = core.now() + (timeout or WAIT)
  while self:state() ~= "connected" do
    if not self:_here() then return gone(self) end
    local what = ("wait for a connection of port %s"):format(self.name)
    local ok, err, code = self._changed:wait(math.max(0, deadline - core.now()), what)
    if not ok then
      return nil, self._reason and ("%s (%s: %s)"):format(err, self._state, self._reason) or err, code
    end
  end
  return self._epoch
end

--- Its counters: frames_in, bytes_in, frames_out, bytes_out, dropped_full and dropped_long (to it), dropped_cut,
--- dropped_loss, dropped_rate and dropped_link (from it; the last: to 01:80:c2:00:00:00 to 0f, or from a group's address), invalid,
--- duplicated, corrupted, delayed, flooded; queued: bytes in its queue.
---@return table<string, integer>|nil, string?, string? code ECLOSED
function methods:counts()
  if not self:_here() then return gone(self) end
  return self._core:counts(self._index)
end

-- Sets the faults of one direction in the C part.
function methods:_apply_faults(direction)
  self._core:fault(self._index, direction, faults.with_cut(self._faults[direction], self._cut))
end

local DIRECTIONS = { from = { "from" }, to = { "to" }, both = { "from", "to" } }

--- Sets the faults of frames from it, to it, or both, in place of earlier ones; nil clears them. At once.
---@param wanted? vmctl.L2Faults
---@param opts? { direction?: "from"|"to"|"both" } "both" by default
---@return true|nil, string?, string? code ECLOSED
function methods:faults(wanted, opts)
  opts = options.check(opts, { direction = { "from", "to", "both" } }, "faults")
  wanted = faults.check(wanted, 2)
  if not self:_here() then return gone(self) end
  for _, direction in ipairs(DIRECTIONS[opts.direction or "both"]) do
    self._faults[direction] = wanted
    self:_apply_faults(direction)
  end
  return true
end

function methods:_set_cut(is_cut)
  if not self:_here() then return gone(self) end
  self._cut = is_cut
  self:_apply_faults "from"
  self:_apply_faults "to"
  return true
end

--- Drops all frames in both directions until `heal`. The connection stays.
---@return true|nil, string?, string? code ECLOSED
function methods:cut()
  return self:_set_cut(true)
end

--- Ends `cut`; its faults are as before.
---@return true|nil, string?, string? code ECLOSED
function methods:heal()
  return self:_set_cut(false)
end

--- Takes its link down, or up again: nothing passes, as with `cut`, and the guest is told if `on_link` says how. Waits as that does.
---@param up boolean
---@return true|nil, string?, string? code ECLOSED; those of the function that tells the guest, and then the port is cut all the same
function methods:set_link(up)
  if type(up) ~= "boolean" then error("set_link: true or false expected, got " .. type(up), 2) end
  if not self:_here() then return gone(self) end
  self:_set_cut(not up)
  if not self._tell_link then return true end
  local ok, err, code = self._tell_link(up)
  if not ok then return nil, ("tell the guest at port %s of its link: %s"):format(self.name, tostring(err)), code end
  return true
end

--- Sets the function that tells the guest at this port that its link is down or up: `set_link` calls `fn(up)`, which may wait. For a
--- machine of ours it is `function(up) return vm:set_link(1, up) end`. nil: it cannot be told. Does not wait.
---@param fn? fun(up: boolean): true|nil, string?, string?
---@return true
function methods:on_link(fn)
  if fn ~= nil and type(fn) ~= "function" then error("on_link: a function or nil expected, got " .. type(fn), 2) end
  self._tell_link = fn
  return true
end

--- Tells if frames from it or to it meet a fault of the port's own, or a cut. Does not wait.
---@return boolean
function methods:is_faulty()
  return self._cut or self._faults.from ~= nil or self._faults.to ~= nil
end

--- Ends its connection; the port stays, and can be connected again (one that dials does so by itself). Does not wait.
---@return true|nil, string?, string? code ECLOSED
function methods:disconnect()
  if not self:_here() then return gone(self) end
  self._core:detach(self._index)
  return true
end

--- Removes it and its connection. Idempotent; does not wait.
---@return true
function methods:remove()
  if self:_here() then self._switch:_forget(self) end
  return true
end

function mt:__tostring()
  return ("vmctl.L2SwitchPort(%s, %s)"):format(self.name, (self:state()))
end

return M
