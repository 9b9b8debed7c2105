--- Calls a method's handler and makes an answer of its results (docs/wire/ttrpc.md#error-answers).
local core = require "vmctl.core"
local log = require "vmctl.log"
local service = require "vmctl.ttrpc.service"
local status = require "vmctl.ttrpc.status"
local task = require "vmctl.base.task"
local wire = require "vmctl.ttrpc.wire"

local M = {}

local EMPTY = "google.protobuf.Empty"
local SENT = {}     -- in place of an envelope
local FINISHED = {} -- in place of a response: only the end of the stream is sent

local function refusal(code, text, details)
  return nil, status.new(code, text, details)
end

local STATUS = { ENOTSUP = "UNIMPLEMENTED", ETOOBIG = "RESOURCE_EXHAUSTED" } -- of an answer that cannot be encoded; else INTERNAL

-- The envelope of a unary answer, or nil and a status. SENT: the answer is already written.
local function encode(entry, frames, response)
  local method = entry.method
  if response == true or response == nil then
    if method.response == EMPTY then return "" end
    return refusal("UNKNOWN", "the handler returned nothing")
  end
  local bytes, err, code
  if method.response and type(response) == "table" then
    if not entry.dropped and frames:is_free() and frames.source:answer(entry.id, method.response, response) then return SENT end
    bytes, err, code = wire.encode_result(method.response, response)
  else
    bytes, err, code = service.encode(method.response, response)
    if bytes then bytes, err, code = wire.encode_response(bytes) end
  end
  if bytes then return bytes end
  if code ~= "ETOOBIG" then
    log.error("ttrpc: %s: the response: %s", method.name, err)
    err = "the response: " .. err
  end
  return refusal(STATUS[code] or "INTERNAL", err)
end

local function settle(entry, frames, response, err, code, details)
  if response == nil and err ~= nil then return refusal(code, err, details) end
  if entry.method.server_stream then return FINISHED end
  return encode(entry, frames, response)
end

local function call(entry)
  local method, context = entry.method, entry.context
  if not entry.unary then return method.handler(entry, context) end
  local request, err = service.decode(method.request, entry.payload)
  if request == nil then return nil, "ttrpc: error unmarshalling payload: " .. tostring(err), "INTERNAL" end
  return method.handler(request, context)
end

-- Ends the tasks that the handler has spawned. Their failures are the handler's.
local function leave_nothing(worker, ok, ...)
  local scope = worker.scope
  if scope:idle() then return ok, ... end
  if not ok then scope:cancel() end
  worker.scope = nil
  local fine, first = scope:wait()
  if not fine and ok then return false, first end
  return ok, ...
end

local function lift(...)
  core.limit(nil, math.huge)
  return ...
end

-- If the limit has already passed, the handler still runs, and each of its waits fails (docs/wire/ttrpc.md#request-fields).
local function call_in_time(entry, worker)
  local deadline = entry.context.deadline
  if not deadline then return leave_nothing(worker, xpcall(call, task.traceback, entry)) end
  core.limit(nil, deadline)
  return lift(leave_nothing(worker, xpcall(call, task.traceback, entry)))
end

-- A failure after the time limit is DEADLINE_EXCEEDED, whatever the handler returns.
local function failure(entry, refused)
  local deadline = entry.context.deadline
  if not deadline or core.now() < deadline then return refused end
  return status.new("DEADLINE_EXCEEDED", "context deadline exceeded: " .. refused.message)
end

local function conclude(entry, frames, ok, ...)
  if not ok then
    log.error("ttrpc: %s: %s", entry.method.name, (...))
    return refusal("INTERNAL", ("the handler of %s failed"):format(entry.method.name))
  end
  return settle(entry, frames, ...)
end

local function run(entry, worker, frames)
  return conclude(entry, frames, call_in_time(entry, worker))
end

-- The envelope of a failure. Details that are malformed or make it too large are left out.
local function envelope(refused)
  local bytes, err, code = wire.encode_response(nil, refused)
  return bytes or wire.encode_response(nil, status.new(STATUS[code] or "INTERNAL", err)) or ""
end

--- Runs the handler of a stream. Waits as the handler does; never raises.
---@param entry table `method`, `context`, `unary`, `payload`; a stream for handlers that are not unary
---@param worker table `scope`: for the tasks that the handler spawns; nil afterwards if it had to be ended
---@param frames vmctl.TtrpcFrameStream on which an ordinary answer leaves at once
---@return integer? kind, string? payload, integer? flags of the frame that ends the stream; nil: it was sent
function M.run(entry, worker, frames)
  local result, refused = run(entry, worker, frames)
  if result == SENT then return nil end
  if refused then return wire.RESPONSE, envelope(failure(entry, refused)), 0 end
  if result == FINISHED then return wire.DATA, "", wire.CLOSE end
  return wire.RESPONSE, result, 0
end

return M
