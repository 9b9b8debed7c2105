--- The guest's stream manager: keeps the raw streams that the host has opened, by id, until they are claimed
--- (docs/wire/socketforward.md#opening-a-stream).
local accept = require "vmctl.net.server"
local access = require "vmctl.net.access"
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local wire = require "vmctl.socketforward.wire"

local M = {}

local HANDSHAKES = 256  -- at a time; others wait in the backlog
local UNCLAIMED = 1024  -- streams that wait to be claimed
local HANDSHAKE_TIMEOUT, UNCLAIMED_TIMEOUT = 5, 30 -- seconds
local LOOK = 0.5        -- seconds between two checks of unclaimed streams

---@class vmctl.SocketforwardStreams
local methods = {}
local mt = { __name = "vmctl.SocketforwardStreams", __index = methods }

local known = {
  handshake_timeout = "number>0", unclaimed_timeout = "number>0", unclaimed = "integer>=1", allow = "function|table",
}

--- Makes a stream manager, which several services may share. Does not wait.
---@param opts? { handshake_timeout: number?, unclaimed_timeout: number?, unclaimed: integer?, allow: function|table? } seconds for
--- the id of a stream (5) and for which it waits to be claimed (30), how many may wait (1024), who may connect (see vmctl.net.access)
---@return vmctl.SocketforwardStreams with serve, claim, count, close
function M.new(opts)
  opts = options.check(opts, known, "socketforward.streams")
  opts = {
    handshake_timeout = opts.handshake_timeout or HANDSHAKE_TIMEOUT, unclaimed_timeout = opts.unclaimed_timeout or UNCLAIMED_TIMEOUT,
    unclaimed = opts.unclaimed, allow = access.policy(opts.allow),
  }
  return setmetatable({
    _opts = opts, _waiting = {}, _count = 0, _most = opts.unclaimed or UNCLAIMED, _limit = accept.limit(HANDSHAKES), expired = 0,
  }, mt)
end

local function remove(self, id)
  local record = self._waiting[id]
  if not record then return nil end
  self._waiting[id], self._count = nil, self._count - 1
  return record.stream
end

-- Tells if the peer has gone and left nothing to read.
local function is_dead(record)
  local _, gone, unread = record.stream:hung_up()
  return gone and not unread
end

local function look(self)
  while self._count > 0 do
    if not core.sleep(LOOK) then return end
    local now = core.now()
    for id, record in pairs(self._waiting) do
      if now >= record.expires or is_dead(record) then
        log.info("socketforward: stream %s: nobody claimed it", log.one_line(id, 80))
        self.expired = self.expired + 1
        remove(self, id):close()
      end
    end
  end
  self._looker = nil
end

local function register(self, id, stream)
  self._waiting[id] = { stream = stream, expires = core.now() + self._opts.unclaimed_timeout }
  self._count = self._count + 1
  if not self._looker then self._looker = background.spawn("socketforward: streams", look, self) end
end

-- The reason to refuse a stream with this id, or nil.
local function objection(self, id)
  if id == "" then return "the stream has no id" end
  if self._waiting[id] then return ('stream "%s" already exists'):format(id) end
  if self._count >= self._most then return "too many streams wait to be claimed" end
end

local function greet(self, stream)
  local deadline = core.now() + self._opts.handshake_timeout
  local id, err, code = wire.receive_id(stream, deadline - core.now())
  if not id then
    if code ~= "EOF" and code ~= "ECANCELED" then log.info("socketforward: a stream without an id: %s", err) end
    return stream:close()
  end
  local why = objection(self, id)
  if why then
    log.info("socketforward: a stream was refused: %s", log.one_line(why, 300))
    wire.answer(stream, why, deadline - core.now())
    return stream:close()
  end
  register(self, id, stream) -- before the answer, after which the host counts on it
  local ok = wire.answer(stream, id, deadline - core.now())
  if not ok and self._waiting[id] and self._waiting[id].stream == stream then remove(self, id):close() end
end

--- Serves a listener until it is closed. Waits.
---@param listener vmctl.Listener
---@return true|nil, string?, string? code ECANCELED
function methods:serve(listener)
  return accept.serve(listener, { allow = self._opts.allow, limit = self._limit }, function(stream) greet(self, stream) end)
end

--- Claims a stream: it is the caller's, and the id may be used again. Does not wait.
---@param id string
---@return vmctl.Stream|nil stream nil: none with that id waits
function methods:claim(id)
  return remove(self, id)
end

--- How many streams wait to be claimed.
---@return integer
function methods:count()
  return self._count
end

--- Closes all unclaimed streams. Does not wait.
function methods:close()
  for id in pairs(self._waiting) do remove(self, id):close() end
  if self._looker then self._looker:cancel() end
  self._looker = nil
end

return M
