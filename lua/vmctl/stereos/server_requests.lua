--- Answers requests on the guest's side: calls handlers, one change of the guest at a time, and makes reply lines of their
--- results (docs/wire/stereos.md#messages, docs/wire/stereos.md#ack-rules).
local core = require "vmctl.core"
local background = require "vmctl.base.background"
local errors = require "vmctl.errors"
local locks = require "vmctl.base.lock"
local log = require "vmctl.log"
local task = require "vmctl.base.task"
local wire = require "vmctl.stereos.wire"

--- The reply to a ping.
local M = { PONG = wire.envelope "pong" .. "\n" }

local TYPE_LENGTH = 256    -- bytes of an unknown type that the reply repeats, so that it stays below the limit of a line
local ERROR_LENGTH = 4096
local GRACE = 1            -- seconds: grace period of a handler whose time is over

local T = wire.types
local GUEST_SAYS = { [T.PONG] = true, [T.HEALTH] = true, [T.ACK] = true, [T.LIFECYCLE] = true }

-- The log shows these requests as they came. Others may hold secrets: configurations, malformed lines, unknown types.
local SHOWN = { [T.PING] = true, [T.GET_HEALTH] = true, [T.INJECT_SSH_KEY] = true, [T.MOUNT] = true, [T.SHUTDOWN] = true }

---@class vmctl.StereosRequests
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

--- Makes the object that answers the requests of all connections of a server.
---@param handlers table see vmctl.stereos.server
---@param limit number seconds that a handler may wait
---@param where string the function named in the error about a handler that is no function
---@param level integer as for `error`
function M.new(handlers, limit, where, level)
  check_handlers(handlers, where, level + 1)
  return setmetatable({
    _handlers = handlers, _after = handlers.after or {}, _limit = limit, _lock = locks.lock(), _began = core.now(),
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

--- The line of a refusal.
---@param message string
---@param code string
---@param reply_to? string the type of the request; "" if it is not known
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

-- Calls a handler: true and its results. When its time is over its waits fail; after the grace period it is cancelled, which
-- ends it by an error. It runs in the caller's task: as long as it does not wait, replies are collected and flushed together.
function methods:_call(handler, ...)
  return task.scope(function(scope, ...)
    local watch = background.spawn("stereos: time limit", end_late, scope, self._limit + GRACE)
    local ran, ok, result, code = task.timeout(self._limit, protect, handler, ...)
    watch:cancel()
    return ran, ok, result, code
  end, ...)
end

local hidden_mt = { __close = function(guard) log.unhide(guard[1]) end }

-- Masks the secret in the log while the handler runs.
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
  if type(result) == "table" then changed = result.changed end -- nil: the handler does not tell
  return ack(kind, true, nil, nil, changed), self._after[kind]
end

-- The reply to get_health, made at most once a second: many hosts may ask every second.
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

--- The reply to a line. Waits for the handler, and for earlier requests that change the guest; ping does not wait.
---@param client { label: string, hears: boolean? } label: its name for the log, and for handlers; hears becomes true when the
-- request says that the client copes with lifecycle lines
---@param line string without its line feed, not empty
---@return string reply with its line feed
---@return fun(payload: table)? after to be called, with the request's payload, when the reply has gone out
---@return table? payload
function methods:answer(client, line)
  local kind, payload, code, reply_to = wire.parse(line)
  local peer = client.label
  if kind and code then client.hears = true end
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
