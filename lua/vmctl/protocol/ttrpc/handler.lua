--- Calls a method's handler and makes its results an answer (wire document, section 10).
local core = require "vmctl.core"
local log = require "vmctl.log"
local service = require "vmctl.protocol.ttrpc.service"
local status = require "vmctl.protocol.ttrpc.status"
local task = require "vmctl.task"
local wire = require "vmctl.protocol.ttrpc.wire"

local M = {}

local EMPTY = "google.protobuf.Empty"
local FINISHED = {} -- in place of a response: nothing but an end is to be sent

local function refusal(code, text, details)
  return nil, status.new(code, text, details)
end

-- The payload of a unary answer, or nil and a status.
local function encode(method, response)
  if response == true or response == nil then
    if method.response == EMPTY then return "" end
    return refusal("UNKNOWN", "the handler returned nothing")
  end
  local payload, err, code = service.encode(method.response, response)
  if not payload then
    log.error("ttrpc: %s: the response: %s", method.name, err)
    return refusal(code == "ENOTSUP" and "UNIMPLEMENTED" or "INTERNAL", "the response: " .. err)
  end
  return payload
end

local function settle(method, response, err, code, details)
  if response == nil and err ~= nil then return refusal(code, err, details) end
  if method.server_stream then return FINISHED end
  return encode(method, response)
end

local function call(_, entry)
  local method, context = entry.method, entry.context
  if not entry.unary then return method.handler(entry, context) end
  local request, err = service.decode(method.request, entry.payload)
  if request == nil then return nil, "ttrpc: error unmarshalling payload: " .. tostring(err), "INTERNAL" end
  return method.handler(request, context)
end

-- In a scope of its own: what it spawns ends with it, and fails with it alone. A limit that has passed already: the handler
-- runs, and each wait of it fails (section 7).
local function call_in_time(entry)
  local deadline = entry.context.deadline
  if not deadline then return task.scope(call, entry) end
  return task.timeout(math.max(0, deadline - core.now()), task.scope, call, entry)
end

-- A handler that fails once its time is over fails because of that, whatever it says.
local function failure(entry, refused)
  local deadline = entry.context.deadline
  if not deadline or core.now() < deadline then return refused end
  return status.new("DEADLINE_EXCEEDED", "context deadline exceeded: " .. refused.message)
end

local function conclude(entry, ok, ...)
  if not ok then
    log.error("ttrpc: %s: %s", entry.method.name, (...))
    return refusal("INTERNAL", ("the handler of %s failed"):format(entry.method.name))
  end
  return settle(entry.method, ...)
end

local function run(entry)
  return conclude(entry, pcall(call_in_time, entry)) -- the scope has added a traceback
end

-- The frame with which a stream ends.
local function response(payload, refused)
  local bytes, err, code = wire.encode_response(payload, refused)
  if bytes then return wire.RESPONSE, bytes, 0 end
  bytes = wire.encode_response(nil, status.new(code == "ETOOBIG" and code or "INTERNAL", err))
  return wire.RESPONSE, bytes or "", 0
end

--- Runs the handler of a stream. Waits as that does; never raises.
---@param entry table `method`, `context`, `unary`, `payload`; a stream for handlers that are not unary
---@return integer kind, string payload, integer flags of the frame that ends the stream
function M.run(entry)
  local result, refused = run(entry)
  if refused then return response(nil, failure(entry, refused)) end
  if result == FINISHED then return wire.DATA, "", wire.CLOSE end
  return response(result)
end

return M
