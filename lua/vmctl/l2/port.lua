--- One end of an Ethernet wire as QEMU's stream sockets carry it (docs/wire/qemu-l2.md#framing): frames go in and out
--- whole, from any number of tasks.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local frame_rules = require "vmctl.l2.frame_rules"
local handler = require "vmctl.l2.handler"
local locks = require "vmctl.base.lock"

local M = {}

local LONGEST_TAKEN = 4096 + 65536 -- QEMU's own limit
local HANG_UP_LOOK = 0.1          -- seconds between two checks for the peer's end, while no task reads
local BATCH = 256                 -- frames at once
local WAIT = 60                   -- seconds for a frame

M.format = core.format { length = 4, max = LONGEST_TAKEN }
local check, sift = frame_rules.check, frame_rules.sift

---@class vmctl.L2Port
local methods = {}
local mt = { __name = "vmctl.L2Port", __index = methods }

--- Makes a port of a connected stream, which it takes. Does not wait.
---@param stream vmctl.Stream
---@return vmctl.L2Port
function M.new(stream)
  stream:set_format(M.format)
  local self = setmetatable({
    _stream = stream, _label = stream:label(), _sending = locks.lock(), _over = core.queue(), _address = frame_rules.random_address(),
    _counts = { frames_in = 0, bytes_in = 0, frames_out = 0, bytes_out = 0, invalid = 0 },
    _kept = {}, _first = 1, -- frames that a handler's task had read before the handler was removed
  }, mt)
  self._reader = setmetatable({}, { __close = function() self._reading = false end })
  self._sender = setmetatable({}, { __close = function() self._sending:release() end })
  return self
end

local function finish(self, code)
  if self._ended then return end
  self._ended = code
  self._stream:close()
  self._over:wake()
end

local LASTING = { ETIMEDOUT = true, ECANCELED = true, EBUSY = true } -- failures after which the wire is still usable

-- Returns a failure. Closes the port if the wire is out of step or has ended.
local function fail(self, message, code, extra)
  if not LASTING[code] then finish(self, code) end
  return nil, message, code, extra
end

-- The time that remains.
local function left(deadline) return deadline and math.max(0, deadline - core.now()) end

local function deadline_of(timeout)
  if type(timeout) == "table" then timeout = timeout.timeout end
  return timeout and core.now() + timeout
end

-- Sends frames in one batch, one sender at a time. Fourth value of a failure: how many were sent or queued.
local function transmit(self, write, frames, deadline)
  local ok, err, code = self._sending:acquire(left(deadline))
  if not ok then return nil, ("send %s: %s"):format(self._label, err), code, 0 end
  local guard <close> = self._sender -- luacheck: ignore
  if self._ended == "ECLOSED" then return errors.fail("ECLOSED", "send %s: the port is closed", self._label) end
  if self._ended then return errors.fail(self._ended, "send %s: the wire has ended (%s)", self._label, self._ended) end
  local done
  ok, err, code, done = write(self._stream, frames, left(deadline))
  if not ok then return fail(self, err, code == "EPIPE" and "EOF" or code, done) end
  return true
end

--- Sends a frame: whole, or not at all. Waits until the kernel has it.
---@param frame string from the destination address on, without FCS; 14 to 65535 bytes
---@param timeout? number|{ timeout: number } seconds (60)
---@return true|nil ok, string? message, string? code EINVAL (too short), ETOOBIG, ECLOSED; EOF: the peer has
--- left; ETIMEDOUT leaves it usable
---@return integer? sent 1: the frame is queued nevertheless, and will go out
function methods:send(frame, timeout)
  local message, code = check(self._label, frame)
  if message then return nil, message, code, 0 end
  local ok, err, why, done = transmit(self, self._stream.write_frame, frame, deadline_of(timeout))
  if ok or done == 1 then
    self._counts.frames_out = self._counts.frames_out + 1
    self._counts.bytes_out = self._counts.bytes_out + #frame
  end
  return ok, err, why, done
end

--- Sends frames in few writes. None is sent if one of them is invalid. Waits.
---@param frames string[]
---@param timeout? number|{ timeout: number } seconds
---@return true|nil ok, string? message, string? code as `send`
---@return integer? sent how many were sent or queued
function methods:send_many(frames, timeout)
  if type(frames) ~= "table" then error("send_many: an array of frames expected, got " .. type(frames), 2) end
  for _, frame in ipairs(frames) do
    local message, code = check(self._label, frame)
    if message then return nil, message, code, 0 end
  end
  local ok, err, code, done = transmit(self, self._stream.write_frames, frames, deadline_of(timeout))
  local counts = self._counts
  for i = 1, ok and #frames or done or 0 do
    counts.frames_out, counts.bytes_out = counts.frames_out + 1, counts.bytes_out + #frames[i]
  end
  return ok, err, code, done
end

-- Reads at least one valid frame.
function methods:_receive(most, deadline)
  while true do
    local frames, err, code = self._stream:read_frames(most, left(deadline))
    if not frames then
      if self._ended and self._ended ~= "ECLOSED" then code = self._ended end
      return fail(self, err, code)
    end
    if #sift(frames, self._counts) > 0 then return frames end
    if core.now() >= deadline then return fail(self, "no frame that is long enough", "ETIMEDOUT") end
  end
end

-- Frames that were kept, or nil.
function methods:_take_kept(most)
  local frames = {}
  while #frames < most and self._first <= #self._kept do
    frames[#frames + 1] = self._kept[self._first]
    self._first = self._first + 1
  end
  if self._first > #self._kept then self._kept, self._first = {}, 1 end
  return #frames > 0 and frames or nil
end

--- Receives frames: all that are there, at least one. Waits. Frames of 0 to 13 bytes are left out and counted; a length over
--- the limit ends the port.
---@param most? integer 256
---@param timeout? number|{ timeout: number } seconds (60)
---@return string[]|nil frames, string? message, string? code EOF, EPROTO (ended inside a frame), ETOOBIG, EBUSY (another task,
--- or the handler, reads), ECLOSED, ETIMEDOUT
function methods:recv_many(most, timeout)
  if type(most) == "table" then most, timeout = nil, most end
  if most ~= nil and (math.type(most) ~= "integer" or most < 1) then error("recv_many: a number above 0 expected", 2) end
  local deadline = deadline_of(timeout)
  if self._leaving then
    local ok, err, code = self._leaving:wait(left(deadline) or 1, "receive")
    if not ok then return nil, err, code end
  end
  if self._handler or self._reading then
    return errors.fail("EBUSY", "receive %s: %s reads", self._label, self._handler and "a handler" or "another task")
  end
  local kept = self:_take_kept(most or BATCH)
  if kept then return kept end
  self._reading = true
  local guard <close> = self._reader -- luacheck: ignore
  return self:_receive(most or BATCH, deadline or core.now() + WAIT)
end

--- Receives one frame, as `recv_many`. Waits.
---@param timeout? number|{ timeout: number } seconds
---@return string|nil frame, string? message, string? code
function methods:recv(timeout)
  local frames, err, code = self:recv_many(1, timeout)
  if not frames then return nil, err, code end
  return frames[1]
end

--- Calls `fn(frame, port)` for each frame, one after the other, in a task of its own. Reading begins only now, so no earlier
--- frame is lost. Replaces an earlier handler between two frames; nil takes it away, and frames already read are left to
--- `recv`. An error of `fn` is logged. While `fn` waits nothing is read, and the peer has to wait. Does not wait.
---@param fn? fun(frame: string, port: vmctl.L2Port)
---@return true|nil, string?, string? code EBUSY: a task waits in `recv`
function methods:set_handler(fn)
  if fn ~= nil and type(fn) ~= "function" then error("set_handler: a function or nil expected, got " .. type(fn), 2) end
  return handler.set(self, fn)
end

--- Our end's own random address: locally administered, unicast. It is never sent, and no frame is filtered by it.
---@return string address as "02:00:5e:10:00:01"
function methods:hwaddr()
  return self._address
end

--- Waits until the wire has ended. If no task reads, the end is noticed within a tenth of a second; frames may still be
--- unread then.
---@param timeout? number|{ timeout: number } seconds; for ever by default
---@return string|nil reason the code: ECLOSED (by `close`), EOF, ECONNRESET, ETOOBIG …
---@return string? message, string? code ETIMEDOUT, ECANCELED
function methods:done(timeout)
  local deadline = core.deadline(left(deadline_of(timeout)) or math.huge) -- a limit around it counts as well
  while not self._ended do
    if self._stream:hung_up() then return "EOF" end
    local pause = math.min(HANG_UP_LOOK, left(deadline))
    local _, err, code = self._over:wait(pause, "the end of " .. self._label)
    if code and (code ~= "ETIMEDOUT" or left(deadline) <= 0) and not self._ended then return nil, err, code end
  end
  return self._ended
end

--- Ends the wire. Idempotent; never waits. Tasks that wait on the port get ECLOSED.
---@return true
function methods:close()
  finish(self, "ECLOSED")
  return true
end

--- Our own address, and the peer's.
---@return vmctl.Address|nil, string?, string?
function methods:address()
  return self._stream:address()
end

--- The peer's address.
---@return vmctl.Address|nil, string?, string?
function methods:peer()
  return self._stream:peer()
end

--- Counters: frames_in, bytes_in, frames_out, bytes_out; invalid: frames of 1 to 13 bytes and zero lengths.
---@return table<string, integer>
function methods:stats()
  local copy = {}
  for name, value in pairs(self._counts) do copy[name] = value end
  return copy
end

-- For a switch: returns the descriptor and the bytes that were read and not used. The port is closed.
function methods:_detach()
  if self._handler or self._task then return errors.fail("EBUSY", "%s: a handler reads", self._label) end
  if self._sending:held() then return errors.fail("EBUSY", "%s: a task sends", self._label) end
  local fd, bytes, code = self._stream:detach()
  if not fd then return nil, bytes, code end
  local kept = {}
  for i = self._first, #self._kept do kept[#kept + 1] = (">s4"):pack(self._kept[i]) end
  finish(self, "ECLOSED")
  return fd, table.concat(kept) .. bytes
end

function mt:__tostring()
  return ("vmctl.L2Port(%s%s)"):format(self._label, self._ended and ", " .. self._ended or "")
end

mt.__close = methods.close

--- Tells if a value is a port.
function M.is_port(value)
  return getmetatable(value) == mt
end

return M
