--- Plays one side of a recorded session (vmctl.trace) back, so that a failure in the field becomes a spec:
---
---   local guest = vmctl.replay "field.ndjson"            -- an address: each connection plays the next recorded one
---   local client = assert(vmctl.stereos.connect(guest))
---   …
---   assert(guest.play:wait())                            -- says where the client did something else than was recorded
local address = require "vmctl.net.address"
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local errors = require "vmctl.errors"
local options = require "vmctl.base.options"
local player = require "vmctl.replay.player"
local recorded = require "vmctl.replay.recorded"

local TIMEOUT = 10 -- seconds for each thing that the other side is to do
local WAIT = 60

---@class vmctl.Replay
local methods = {}
local mt = { __name = "vmctl.Replay", __index = methods }

local known = {
  session = "string|integer", side = { "server", "client" }, strict = "boolean", timeout = "number>0", speed = "number>0",
  format = "any",
}

-- The sessions to be played, read when they are first wanted: a file that is not there fails the dial.
local function sessions_of(self)
  if self._sessions then return self._sessions end
  local all, err, code = recorded.load(self.path)
  if not all then return nil, err, code end
  self._sessions = recorded.choose(all, self._opts.side, self._opts.session)
  return self._sessions
end

local function next_session(self)
  local sessions, err, code = sessions_of(self)
  if not sessions then return nil, err, code end
  local session = sessions[self._played + 1]
  if session then
    self._played = self._played + 1
    return session
  end
  local what = #sessions == 0 and "nothing that could be played was recorded" or
    ("all %d recorded connections have been played"):format(#sessions)
  return errors.fail("ECONNREFUSED", "replay %s: %s", self.path, what)
end

local function note(self, ok, err, code, more)
  if not ok and not self._failure then self._failure = { err, code, more } end
  return ok, err, code, more
end

local function play_aside(self, session, stream)
  self._live = self._live + 1
  local task
  task = background.spawn("replay", function()
    local done <close> = setmetatable({}, { __close = function() -- luacheck: ignore
      self._live, self._tasks[task] = self._live - 1, nil
      self._over:wake()
    end })
    note(self, player.new(session, stream, self._opts):play())
  end)
  self._tasks[task] = true
end

-- Dials the replay's address.
local function connect(self)
  local session, err, code = next_session(self)
  if not session then return nil, err, code end
  local near, far
  near, far, code = dial.pair()
  if not near then return nil, far, code end
  local label = ("replay %s #%d"):format(self.path, session.number)
  near:label(label)
  far:label(label)
  play_aside(self, session, far)
  return near
end

--- Waits until the connections that have begun are played to their end.
---@param timeout? number seconds (60)
---@return true|nil ok
---@return string? message of the first difference
---@return string? code EPROTO (a difference), ETIMEDOUT, EINVAL (the trace lacks what was to be sent)
---@return { expected: vmctl.TraceRecord, got: table? }? difference
function methods:wait(timeout)
  local deadline = core.now() + (timeout or WAIT)
  while self._live > 0 do
    local ok, err, code = self._over:wait(deadline - core.now(), "replay " .. self.path)
    if not ok then return nil, err, code end
  end
  if not self._failure then return true end
  return nil, table.unpack(self._failure, 1, 3)
end

--- Plays the next recorded connection over a stream, or to an address: the client's side against a server under test. Waits.
---@param where vmctl.Stream|string|table|function
---@return true|nil, string?, string?, table? as `wait`; and as vmctl.dial
function methods:over(where)
  local session, err, code = next_session(self)
  if not session then return nil, err, code end
  local stream = where
  if type(where) ~= "userdata" then
    stream, err, code = dial.dial(where, self._opts.timeout)
    if not stream then return nil, err, code end
  end
  return note(self, player.new(session, stream, self._opts):play())
end

--- How many recorded connections have not been played yet.
---@return integer|nil, string?, string? as of vmctl.trace.read
function methods:left()
  local sessions, err, code = sessions_of(self)
  if not sessions then return nil, err, code end
  return #sessions - self._played
end

--- Ends the connections that are being played. Idempotent, never waits.
function methods:close()
  for task in pairs(self._tasks) do task:cancel() end
end

mt.__close = methods.close

---@class vmctl.ReplayAddress : vmctl.Address
---@field play vmctl.Replay the replay: wait, over, left, close

--- An address that plays a trace: each connection to it is the next recorded one. Does not wait; a file that can not be read
--- fails the dial. Masked values may be anything, JSON is compared by its values, all else byte by byte.
---@param path string
---@param opts? { session?: string|integer, side?: "server"|"client", strict: boolean?, timeout: number?, speed: number?,
--- format?: vmctl.Format|table }
-- session: one alone, by its id or by the number that trace.print shows; side: whose part is played ("server"); strict: false
-- compares types alone; timeout: seconds for each thing that the other side is to do (10); speed: 1 keeps the recorded times,
-- 2 takes half of them (by default it sends as soon as it may); format: of frames of a protocol that vmctl does not have
---@return vmctl.ReplayAddress address
local function replay(path, opts)
  if type(path) ~= "string" then error("replay: a path expected, got " .. type(path), 2) end
  opts = options.check(opts, known, "replay")
  local self = setmetatable({
    path = path, _played = 0, _live = 0, _tasks = {}, _over = core.queue(),
    _opts = {
      path = path, side = opts.side or "server", strict = opts.strict ~= false, timeout = opts.timeout or TIMEOUT,
      speed = opts.speed, session = opts.session, format = opts.format,
    },
  }, mt)
  local where = address.func(function() return connect(self) end, "replay " .. path)
  where.play = self
  return where
end

return replay
