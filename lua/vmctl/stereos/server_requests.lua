--- What the guest's side says to a request: handlers are called, one change of the guest at a time, and their results
--- become reply lines (docs/wire/stereos.md#messages, docs/wire/stereos.md#ack-rules).
local core = require "vmctl.core"
local background = require "vmctl.base.background"
local channel = require "vmctl.base.channel"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local task = require "vmctl.base.task"
local wire = require "vmctl.stereos.wire"

--- The reply to a ping.
local M = { PONG = wire.envelope "pong" .. "\n" }

local TYPE_LENGTH = 256    -- bytes of an unknown type that are repeated: the reply must be shorter than a line may be
local ERROR_LENGTH = 4096
local GRACE = 1            -- seconds that a handler has to end when its time is over

local T = wire.types
local GUEST_SAYS = { [T.PONG] = true, [T.HEALTH] = true, [T.ACK] = true, [T.LIFECYCLE] = true }

-- Requests without secrets, which the log may show as they came. A configuration may hold some, and so may what could not
-- be read, or is of a type that we do not know.
local SHOWN = { [T.PING] = true, [T.GET_HEALTH] = true, [T.INJECT_SSH_KEY] = true, [T.MOUNT] = true, [T.SHUTDOWN] = true }

local methods = {}
local mt = { __name = "vmctl.StereosRequests", __index = methods }

local function check_handlers(handlers, where, level)
  if type(handlers) ~= "table" then
    error(("%s: a table of handlers expected, got %s"):format(where, type(handlers)), level)
  end
  for name, handler in pairs(handlers) do
    local want = name == "after" and "table" or "function"
    local wrong = name == T.PING and "there is none" or type(handler) ~= want and want .. " expected"
    if wrong or type(name) ~= "string" then
      error(("%s: handler '%s': %s"):format(where, tostring(name), wrong or "a type is a string"), level)
    end
  end
end

--- Makes what answers the requests of all connections of a server.
---@param handlers table see vmctl.stereos.server
---@param limit number seconds that a handler may wait
---@param where string for the message when a handler is none
---@param level integer whose line it names
function M.new(handlers, limit, where, level)
  check_handlers(handlers, where, level + 1)
  return setmetatable({
    _handlers = handlers, _after = handlers.after or {}, _limit = limit, _lock = channel.lock(), _began = core.now(),
    _state = wire.states.READY,
  }, mt)
end

-- Text that any peer can read: UTF-8, and not too long.
local function clip(text, most)
  text = tostring(text)
  return #text <= most and utf8.len(text) and text or log.one_line(text, most)
end

local function ack(reply_to, ok, err, code, changed)
  return wire.envelope("ack", {
    reply_to = reply_to, ok = ok, error = err and clip(err, ERROR_LENGTH), changed = changed,
    code = type(code) == "string" and clip(code, TYPE_LENGTH) or nil,
  }) .. "\n"
end

--- The line that says no.
---@param message string
---@param code string
---@param reply_to? string the type of the request; "" where it could not be told
---@return string
function M.refusal(message, code, reply_to)
  return ack(reply_to or "", false, message, code)
end

local function unknown_type(kind)
  local shown = clip(kind, TYPE_LENGTH)
  return M.refusal("unknown message type: " .. shown, "ENOSYS", shown == kind and kind or "")
end

local function protect(handler, peer, kind, payload)
  local request = { type = kind, payload = payload, peer = peer }
  local ok, first, second, third = xpcall(handler, debug.traceback, payload, request)
  if ok then return true, first, second, third end
  log.error("stereos: %s: %s: %s", peer, kind, first)
  return true, nil, kind .. ": the handler failed; the guest's log says more", "EIO"
end

local function end_late(scope, seconds)
  if core.sleep(seconds) then scope:cancel() end
end

-- true and what the handler returned. When its time is over its waits fail; one that does not care is cancelled a little
-- later, which ends it by an error. It is called here, and not in a task of its own: while it does not wait, neither do we,
-- and replies still gather.
function methods:_call(handler, ...)
  return task.scope(function(scope, ...)
    local watch = background.spawn("stereos: time limit", end_late, scope, self._limit + GRACE)
    local ran, ok, result, code = task.timeout(self._limit, protect, handler, ...)
    watch:cancel()
    return ran, ok, result, code
  end, ...)
end

local hidden_mt = { __close = function(guard) log.unhide(guard[1]) end }

-- While a secret is looked after, no line of the log shows it.
local function hide(secret)
  log.hide(secret)
  return setmetatable({ secret }, hidden_mt)
end

local function explain(limit, err, code)
  if code ~= "ETIMEDOUT" then return err, code end
  return ("another request has been at work for %g s"):format(limit), "EBUSY"
end

function methods:_act(peer, kind, payload)
  local handler = self._handlers[kind]
  if not handler or kind == "after" or GUEST_SAYS[kind] then return unknown_type(kind) end
  local secret = kind == T.INJECT_SECRET and payload.value or ""
  local hidden <close> = hide(secret) -- luacheck: ignore
  local ran, ok, result, code = self._lock:with(self._limit, self._call, self, handler, peer, kind, payload)
  if not ran then ok, result, code = nil, explain(self._limit, ok, result) end
  if not ok then
    return M.refusal(errors.mask(tostring(result or kind .. ": failed"), { secret }), code, kind)
  end
  local changed
  if type(result) == "table" then changed = result.changed end -- nil: the handler does not say
  return ack(kind, true, nil, nil, changed), self._after[kind]
end

-- What comes once a second from each of many hosts is made once a second.
function methods:_plain_health()
  local uptime, state = (core.now() - self._began) // 1 | 0, self._state
  if self._health_uptime ~= uptime or self._health_state ~= state then
    self._health_uptime, self._health_state = uptime, state
    self._health_line = wire.envelope("health", { state = state, uptime_seconds = uptime }) .. "\n"
  end
  return self._health_line
end

function methods:_health(peer)
  local handler = self._handlers.get_health
  if not handler then return self:_plain_health() end
  local _, health, err, code = self:_call(handler, peer, T.GET_HEALTH)
  local line
  if type(health) == "table" then
    line, err, code = wire.envelope("health", {
      state = health.state or self._state, agents = health.agents,
      uptime_seconds = health.uptime_seconds or (core.now() - self._began) // 1 | 0,
    })
  end
  return line and line .. "\n" or M.refusal(err or "get_health: failed", code, T.GET_HEALTH)
end

function methods:_reply(peer, kind, payload, code, reply_to)
  if kind == T.GET_HEALTH then return self:_health(peer) end
  if kind then return self:_act(peer, kind, payload) end
  if GUEST_SAYS[reply_to] then return unknown_type(reply_to) end
  return M.refusal(payload, code, reply_to)
end

local function log_request(peer, line, kind)
  local shown = SHOWN[kind] and line or ("%s (%d bytes)"):format(kind and clip(kind, TYPE_LENGTH) or "malformed", #line)
  log.debug("stereos: %s: < %s", peer, shown)
end

--- The reply to a line. May wait, for the handler and for the requests before it that change the guest; not so for ping.
---@param peer string the client's name for the log, and for handlers
---@param line string without its line feed, not empty
---@return string reply with its line feed
---@return fun(payload: table)? after to be called, with the request's payload, when the reply has gone out
---@return table? payload
function methods:answer(peer, line)
  local kind, payload, code, reply_to = wire.parse(line)
  if log.enabled "debug" then log_request(peer, line, kind) end
  if kind == "ping" then return M.PONG end
  local reply, after = self:_reply(peer, kind, payload, code, reply_to)
  if log.enabled "debug" then log.debug("stereos: %s: > %s", peer, reply) end
  return reply, after, payload
end

---@param state string
function methods:set_state(state)
  self._state = state
end

---@return string
function methods:state()
  return self._state
end

return M
