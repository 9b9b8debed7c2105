--- The server's verdict on a frame: the table of docs/wire/ttrpc.md#state-machines, with the answers of
--- docs/wire/ttrpc.md#error-answers. Looks at a connection's state and changes only its last id; never waits, never raises.
local status = require "vmctl.ttrpc.status"
local wire = require "vmctl.ttrpc.wire"

local M = {}

local CODES = status.codes
local EVEN = "StreamID must be odd for client initiated streams"
local REUSED = "StreamID cannot be re-used and must increment"
local MOST_HELD = 64 << 20 -- bytes of all requests that a connection's handlers hold

local INACTIVE = "StreamID is no longer active"

---@class vmctl.TtrpcState
---@field streams table<integer, table> entries by id: `unary`, `input_over`
---@field live integer how many
---@field held integer bytes of their requests
---@field last integer the highest id of a request so far
---@field any_id boolean? requests may come with their ids in any order; an id that is not open may come again
---@field most integer streams at a time
---@field draining boolean new requests are refused
---@field find fun(service: string, method: string): table?, boolean the method; true if there is the service

-- A verdict is one of
--   "ignore"
--   "refuse", code, text, entry?    the entry's stream is given up as well
--   "data", entry                   the frame is for this stream
--   "start", request, method

-- Data for a unary method is refused, and the method goes on (docs/wire/ttrpc.md#known-weaknesses-of-the-reference, 1).
local function judge_data(state, id, flags)
  local entry = state.streams[id]
  if not entry or entry.unary then return "refuse", CODES.INVALID_ARGUMENT, INACTIVE end
  if not entry.input_over then return "data", entry end
  if flags & wire.NO_DATA ~= 0 then return "ignore" end -- repeats that the input has ended
  return "refuse", CODES.INVALID_ARGUMENT, INACTIVE, entry
end

-- nil: the id is accepted, and marked as used.
local function judge_id(state, id)
  local taken = id <= state.last
  if state.any_id then taken = state.streams[id] ~= nil end
  if taken then return "refuse", CODES.INVALID_ARGUMENT, REUSED, state.streams[id] end
  state.last = math.max(state.last, id)
  if state.draining then return "refuse", CODES.UNAVAILABLE, "the server is shutting down" end
end

-- The method, or nil and how the request is refused.
local function admit(state, service_name, method_name, payload)
  local method, has_service = state.find(service_name, method_name)
  if not has_service then return nil, CODES.UNIMPLEMENTED, "service " .. service_name end
  if not method then return nil, CODES.UNIMPLEMENTED, "method " .. method_name end
  if state.live >= state.most then
    return nil, CODES.RESOURCE_EXHAUSTED, ("%d streams are open on this connection"):format(state.live)
  end
  if state.live > 0 and state.held + #payload > MOST_HELD then
    return nil, CODES.RESOURCE_EXHAUSTED, ("requests of %d bytes are at work on this connection"):format(state.held)
  end
  return method
end

local function judge_request(state, payload, id)
  local verdict, code, text, entry = judge_id(state, id)
  if verdict then return verdict, code, text, entry end
  local request, err = wire.decode_request(payload)
  if not request then return "refuse", CODES.INVALID_ARGUMENT, "unmarshal request error: " .. tostring(err) end
  local method
  method, code, text = admit(state, request.service, request.method, request.payload)
  if not method then return "refuse", code, text end
  return "start", request, method
end

--- The verdict on a decoded request.
---@param state vmctl.TtrpcState
---@param id integer
---@param service_name string
---@param method_name string
---@param payload string
---@return table|nil method it is to be started; nil: the other values are a verdict
---@return string?, any, any, any verdict
function M.judge_call(state, id, service_name, method_name, payload)
  if id % 2 == 0 then return nil, "refuse", CODES.INVALID_ARGUMENT, EVEN end
  local verdict, code, text, entry = judge_id(state, id)
  if verdict then return nil, verdict, code, text, entry end
  local method
  method, code, text = admit(state, service_name, method_name, payload)
  if method then return method end
  return nil, "refuse", code, text
end

--- The verdict on a frame.
---@param state vmctl.TtrpcState
---@return string verdict, any, any, any
function M.judge(state, kind, payload, id, flags)
  if id % 2 == 0 then return "refuse", CODES.INVALID_ARGUMENT, EVEN end
  if kind == wire.DATA then return judge_data(state, id, flags) end
  if kind == wire.REQUEST then return judge_request(state, payload, id) end
  return "ignore"
end

return M
