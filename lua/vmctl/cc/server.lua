--- The server: access, parallel connections, and a close that ends them (docs/wire/cc-ipc.md#server).
local accept = require "vmctl.net.server"
local access = require "vmctl.net.access"
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local connections = require "vmctl.cc.server_connection"
local task = require "vmctl.base.task"
local wire = require "vmctl.cc.wire"

local M = {}

local ACCEPT_PAUSE = 0.1 -- seconds after an accept that failed for a temporary reason

---@class vmctl.CcServer
local methods = {}
local mt = { __name = "vmctl.CcServer", __index = methods }

local known = {
  allow = "function|table", connections = "integer>=1", max_payload = "integer>=1<=4294967295", on_idle = "function",
}

local function attend(self, stream, scope)
  self._live[scope] = true
  local connection = connections.new(stream, self._handler, self._format, self._max)
  local ok, err = xpcall(connection.run, debug.traceback, connection)
  self._live[scope] = nil
  if not ok then log.error("cc: %s: %s", stream:label(), err) end
end

--- Serves one connection until it ends, and closes it. It does not count among `connections`. Waits.
---@param stream vmctl.Stream
---@return true|nil, string?, string? code ECLOSED: the server is closed
function methods:converse(stream)
  if self._closed then
    stream:close()
    return nil, "cc server: closed", "ECLOSED"
  end
  task.scope(function(scope) attend(self, stream, scope) end)
  return true
end

--- Accepts and serves connections until the server or the listener is closed; running handlers are cancelled then. May be called for
--- several listeners. Waits.
---@param listener? vmctl.Listener another one than that of the server's own path
---@return true|nil, string?, string? code ECANCELED
function methods:serve(listener)
  listener = listener or self._listener
  if not listener then error("cc server: it has no path, so a listener is needed", 2) end
  self._listeners[listener] = true
  local ok, err, code = accept.serve(listener, { allow = self._allow, limit = self._limit }, function(stream)
    self:converse(stream)
  end)
  self._listeners[listener] = nil
  return ok, err, code
end

-- Accepts the first connection that `allow` admits.
local function accept_one(self, deadline)
  while true do
    local stream, err, code = self._listener:accept(deadline - core.now())
    if stream then
      local welcome, reason = self._allow(stream)
      if welcome then return stream end
      log.info("refused a connection: %s", reason)
      stream:close()
      if core.now() >= deadline then return nil, "nobody who is allowed to came in time", "ETIMEDOUT" end
    elseif code == "ECLOSED" or code == "ECANCELED" or code == "ETIMEDOUT" then
      return nil, err, code
    else
      log.error("%s", err)
      core.sleep(ACCEPT_PAUSE)
    end
  end
end

--- Serves the first connection until it ends. Closes the listener and removes its file, so that nobody else connects. Waits.
---@param timeout? number seconds until the first connection; no limit by default
---@return true|nil, string?, string? code ETIMEDOUT, ECANCELED; a server that is closed meanwhile is no failure
function methods:serve_one(timeout)
  if not self._listener then error("cc server: it has no path", 2) end
  local stream, err, code = accept_one(self, core.now() + (timeout or math.huge))
  if not stream then
    if code == "ECLOSED" then return true end
    return nil, err, code
  end
  self._listener:close()
  self:converse(stream)
  return true
end

--- The path that it listens on, or nil.
function methods:socket_path()
  return self._path
end

--- Ends it: removes its socket's file unless another server has replaced it, closes connections, and cancels handlers; `serve`
--- and `serve_one` return when these have ended. Idempotent, never waits.
function methods:close()
  self._closed = true
  if self._listener then self._listener:close() end
  for listener in pairs(self._listeners) do listener:close() end
  for scope in pairs(self._live) do scope:cancel() end
  return true
end

mt.__close = methods.close
mt.__gc = methods.close

function mt:__tostring()
  return ("vmctl.CcServer(%s)"):format(self._path or "")
end

local function is_callable(handler)
  local meta = getmetatable(handler)
  return type(handler) == "function" or type(meta) == "table" and meta.__call ~= nil
end

--- Makes a server. Its socket has mode 0600. A dead server's socket at the path is replaced; a live server's is not. Does not wait.
---@param path? string of a Unix socket; nil: none, for `converse` and for listeners of other kinds
---@param handler function|vmctl.CcRouter handler(type, payload, context) as described at vmctl.cc.router; requests of one
-- connection are handled one after the other. A handler of a request that may block (vmctl.cc.may_block) is cancelled when
-- its client goes away; an error that it raises goes to the log and is answered with code 99
---@param opts? { allow?: function|table, connections: integer?, max_payload: integer?, on_idle: function? } who may connect (see
--- vmctl.net.access), how many at a time (1024; others wait), bytes of a payload (64 MiB), called when the last connection has ended
---@return vmctl.CcServer|nil server with serve, serve_one, converse, socket_path, close; string?
---@return string? code EADDRINUSE: another process listens there, or it is no socket; ENAMETOOLONG, EACCES …
function M.new(path, handler, opts)
  opts = options.check(opts, known, "cc.server")
  if path ~= nil and type(path) ~= "string" then error("cc.server: a path expected, got " .. type(path), 2) end
  if not is_callable(handler) then error("cc.server: a function or a router expected, got " .. type(handler), 2) end
  local listener, err, code
  if path then
    listener, err, code = dial.listen { kind = "unix", path = path }
    if not listener then return errors.wrap("cc server", nil, err, code) end
  end
  local max = opts.max_payload or wire.MAX
  return setmetatable({
    _path = path, _listener = listener, _handler = handler, _max = max, _format = wire.format_of(max),
    _allow = access.policy(opts.allow), _limit = accept.limit(opts.connections, opts.on_idle), _live = {}, _listeners = {},
    _closed = false,
  }, mt)
end

return M
