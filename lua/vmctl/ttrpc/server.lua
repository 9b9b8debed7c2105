--- The server: services of handlers, connections, and a shutdown that lets running calls finish.
local accept = require "vmctl.net.server"
local access = require "vmctl.net.access"
local conversations = require "vmctl.ttrpc.server_connection"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local service = require "vmctl.ttrpc.service"
local wire = require "vmctl.ttrpc.wire"

local M = {}

local STREAMS = 1024          -- of a connection, at a time
local SHUTDOWN_TIMEOUT = 30   -- seconds

---@class vmctl.TtrpcServer
local methods = {}
local mt = { __name = "vmctl.TtrpcServer", __index = methods }

local known = {
  allow = "function|table", connections = "integer>=1", streams = "integer>=1", on_idle = "function", services = "table",
  ids = { "rising", "any" },
}
local known_method = {
  handler = "callable", request = "string", response = "string", client_stream = "boolean", server_stream = "boolean",
}

-- Services

local function method_of(name, described, given)
  local spec = {}
  if type(given) == "table" and not getmetatable(given) then
    spec = options.check(given, known_method, "ttrpc: method " .. name, 5)
    given = spec.handler
  end
  if type(given) ~= "function" then error(("ttrpc: method %s: a function expected"):format(name), 5) end
  return options.merge(described or {}, spec, { handler = given, name = name })
end

--- Adds a service. Does not wait.
---@param what string|vmctl.TtrpcService the service's full name, or its description
---@param handlers table<string, function|table> by the method's name: a function, or { handler =, request =, response =,
--- client_stream =, server_stream = } where the service is not described. A unary one is called with (request, context) and
-- returns the response; a streaming one with (stream, context). All may wait. nil, message, code is a failure: the code is a
-- status' name, or one of ours (ENOENT: NOT_FOUND …); a fourth value are its details. A raised error is INTERNAL; its
-- text goes to the log only. context: service, method, metadata (lists of values by lower-case key), deadline (by vmctl.now,
--- or nil: each wait of the handler ends then), peer (an address or nil), canceled() -> boolean: the client has gone
function methods:register(what, handlers)
  local description = service.is_service(what) and what or self._descriptions[what]
  local name = service.is_service(what) and what.name or what
  if type(name) ~= "string" or type(handlers) ~= "table" then
    error("ttrpc: a service's name or description, and a table of handlers expected", 2)
  end
  local found = self._services[name] or {}
  for method, given in pairs(handlers) do
    if description and not description.methods[method] then
      error(("ttrpc: service %s has no method '%s'"):format(name, tostring(method)), 2)
    end
    found[method] = method_of(name .. "/" .. method, description and description.methods[method], given)
  end
  self._services[name] = found
end

local function new(services, opts, where)
  opts = options.check(opts, known, where, 4)
  if type(services) ~= "table" then error(where .. ": a table of services expected", 3) end
  local self = setmetatable({
    _services = {}, _descriptions = service.table_of(opts.services, where), _allow = access.policy(opts.allow),
    _limit = accept.limit(opts.connections, opts.on_idle), _streams = opts.streams or STREAMS, _any_id = opts.ids == "any",
    _conversations = {}, _listeners = {}, _left = core.queue(), _draining = false,
  }, mt)
  self._find = function(name, method)
    local found = self._services[name]
    return found and found[method], found ~= nil
  end
  for what, handlers in pairs(services) do self:register(what, handlers) end
  return self
end

-- Connections

local function attend(self, conversation)
  local ok, err = xpcall(conversation.run, debug.traceback, conversation)
  self._conversations[conversation] = nil
  if not ok then log.error("ttrpc: %s", err) end
  self._left:wake()
end

local function enter(self, stream)
  local conversation = conversations.new(stream, self._find, self._streams, self._any_id)
  self._conversations[conversation] = true
  if self._draining then conversation:drain() end
  return conversation
end

--- Serves one connection until it ends, and closes it; either end may have dialled. Waits.
---@param stream vmctl.Stream
---@return true|nil, string?, string? code ENOTSUP: there is no protobuf here
function methods:converse(stream)
  attend(self, enter(self, stream))
  return true
end

-- Running calls must not be cancelled when a shutdown closes the listener, so the accept loop is told after they have ended.
local function gate(self, listener)
  return {
    accept = function(_, ...)
      local conn, err, code = listener:accept(...)
      while not conn and code == "ECLOSED" and self._draining and next(self._conversations) do
        if not self._left:wait(math.huge, "connections to end") then break end
      end
      return conn, err, code
    end,
  }
end

--- Serves connections until the listener is closed, or the server is shut down; may be called for several listeners. Waits.
---@param listener vmctl.Listener anything with accept() and close()
---@return true|nil, string?, string? code ECANCELED
function methods:serve(listener)
  self._listeners[listener] = true
  local ok, err, code = accept.serve(gate(self, listener), {
    allow = self._allow, limit = self._limit, welcome = function(stream) return enter(self, stream) end,
  }, function(conversation) attend(self, conversation) end)
  self._listeners[listener] = nil
  return ok, err, code
end

local function close_listeners(self)
  for listener in pairs(self._listeners) do listener:close() end
end

--- Shuts down: stops accepting, closes idle connections, answers new requests on the others with UNAVAILABLE, and closes each
--- after its last answer. Cancels the handlers that still run when the time is over. Waits.
---@param timeout? number seconds, 30 by default
---@return true|nil, string?, string? code ETIMEDOUT: handlers had to be cancelled; ECANCELED
function methods:shutdown(timeout)
  local deadline = core.now() + (timeout or SHUTDOWN_TIMEOUT)
  self._draining = true
  close_listeners(self)
  for conversation in pairs(self._conversations) do conversation:drain() end
  while next(self._conversations) do
    local ok, err, code = self._left:wait(deadline - core.now(), "connections to end")
    if not ok then
      self:close()
      return errors.fail(code, "shut down: %s", err)
    end
  end
  return true
end

--- Ends all connections now; their handlers are cancelled. Idempotent, never waits.
function methods:close()
  self._draining = true
  close_listeners(self)
  for conversation in pairs(self._conversations) do conversation:close() end
  return true
end

mt.__close = methods.close

--- Makes a server.
---@param services table<string|vmctl.TtrpcService, table> as for `register`
---@param opts? { allow?: function|table, connections: integer?, streams: integer?, on_idle: function?,
--- services: vmctl.TtrpcService[]?, ids: "rising"|"any"? } who may connect (see vmctl.net.access),
-- how many at a time (1024; others wait in the backlog),
-- streams of a connection at a time (1024), called when the last connection has ended, descriptions (nerdbox's are known), ids: "any"
-- takes requests of a connection in any order of their ids, for clients that number them before they send; only an id that is open
-- is refused then ("rising": an id has to be above all before it, as the protocol has it)
---@return vmctl.TtrpcServer|nil server with register, serve, converse, shutdown, close; string?, string? code ENOTSUP
function M.new(services, opts)
  local usable, err, code = wire.encode_request { service = "", method = "" } -- is there a protobuf?
  if not usable then return nil, err, code end
  return (new(services, opts, "ttrpc.server"))
end

--- Makes a server and serves a listener until that is closed. Waits.
---@param listener vmctl.Listener
---@param services table as for `new`
---@param opts? table as for `new`
---@return true|nil, string?, string? code ECANCELED, ENOTSUP
function M.serve(listener, services, opts)
  local server, err, code = M.new(services, opts)
  if not server then return nil, err, code end
  return server:serve(listener)
end

return M
