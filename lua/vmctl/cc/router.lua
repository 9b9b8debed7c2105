--- A table of handlers by request type, which is a handler itself (docs/wire/cc-ipc.md#server).
local decoder = require "vmctl.cc.decoder"
local wire = require "vmctl.cc.wire"

local M = {}

---@class vmctl.CcRouter
local methods = {}
local mt = { __name = "vmctl.CcRouter", __index = methods }

--- Sets the handler of a type; the last one counts. It is called with a decoder of the request's payload and a context
--- ({ type =, peer =, connection = }: `connection` is a table of the connection's own, which goes with it), may wait, and returns
--- the answer: bytes or a response builder, with the code byte in front; nothing, "" or true for an answer without fields. A
--- failure is nil, message, code, { op =, path = }: the code is a number of vmctl.cc.codes or an errno's name; what the fourth
--- value holds as `code`, `message`, `op` and `path` counts first, so that another helper's failure can be passed on as it is.
---@param kind integer one of vmctl.cc.types
---@param fn fun(d: vmctl.CcDecoder, context: table): ...
---@return vmctl.CcRouter
function methods:handle(kind, fn)
  if math.type(kind) ~= "integer" or kind < 0 or kind > 0xffff then
    error("router:handle: a request's type expected, got " .. tostring(kind), 2)
  end
  if type(fn) ~= "function" then error("router:handle: a function expected, got " .. type(fn), 2) end
  self._handlers[kind] = fn
  return self
end

--- The handler for a server: the router itself.
---@return vmctl.CcRouter
function methods:handler()
  return self
end

-- If a field was missing, the request was too short, whether the handler has raised over it or ignored it.
local function finish(d, ok, result, message, code, where)
  if d:failed() and not (ok and result == nil and message) then return nil, decoder.SHORT, wire.codes.UNKNOWN end
  if not ok then error(result, 0) end
  return result, message, code, where
end

function mt:__call(kind, payload, context)
  local fn = self._handlers[kind]
  if not fn then return wire.unknown_type(kind) end
  local d = decoder.new(payload)
  return finish(d, xpcall(fn, debug.traceback, d, context))
end

--- A router without handlers: it answers each request with "unknown message type".
---@return vmctl.CcRouter
function M.new()
  return setmetatable({ _handlers = {} }, mt)
end

return M
