--- ttrpc on the wire: frames and envelopes (docs/wire/ttrpc.md#frame, docs/wire/ttrpc.md#envelope-schemas). No function here waits.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local protobuf = require "vmctl.protobuf"

local M = {
  MAX = 4194304,                           -- bytes of an envelope or of a stream's message; the header is not counted
  RESERVED = 1 << 24,                      -- a length from here on has a first byte other than zero
  LAST_ID = 0xffffffff,
  REQUEST = 1, RESPONSE = 2, DATA = 3,     -- types
  REMOTE_CLOSED = 1, REMOTE_OPEN = 2, NO_DATA = 4,
  CLOSE = 1 | 4,                           -- flags of a Data frame that only ends the input
}

M.format = core.format { order = "length", length = 4, stream = 4, type = 1, flags = 1, max = M.MAX }

--- A frame as its bytes, for those who write it themselves.
---@return string
function M.frame(kind, payload, id, flags)
  return (">I4I4BB"):pack(#payload, id, kind, flags) .. payload
end

-- Bytes of an envelope, if they fit into a frame.
local function fitting(bytes, err, code)
  if not bytes then return nil, err, code end
  if #bytes > M.MAX then
    return errors.fail("ETOOBIG", "message length %d exceed maximum message size of %d", #bytes, M.MAX)
  end
  return bytes
end

--- The envelope of a request.
---@param request { service: string, method: string, payload: string?, timeout_nano: integer?, metadata: table[]? }
---@param type_name? string of a message that is the payload
---@param message? table
---@return string|nil, string?, string? code ETOOBIG, EINVAL (a text that is not UTF-8), ENOTSUP (no protobuf)
function M.encode_request(request, type_name, message)
  return fitting(protobuf.encode("ttrpc.Request", request, type_name and "payload", type_name, message))
end

---@return { service: string, method: string, payload: string, timeout_nano: integer, metadata: table[] }|nil, string?, string?
function M.decode_request(bytes)
  return protobuf.decode("ttrpc.Request", bytes)
end

--- The envelope of an answer.
---@param payload? string
---@param status? { code: integer, message: string, details: table[]? } absent: success
---@return string|nil, string?, string? code ETOOBIG, EINVAL, ENOTSUP
function M.encode_response(payload, status)
  if not status and (payload == nil or payload == "") then return "" end
  return fitting(protobuf.encode("ttrpc.Response", { status = status, payload = payload }))
end

local NOTHING = {}

--- The envelope of a successful answer with a message in it. Errors as `encode_response`.
---@param type_name string
---@param message table
function M.encode_result(type_name, message)
  return fitting(protobuf.encode("ttrpc.Response", NOTHING, "payload", type_name, message))
end

local SUCCESS = { payload = "" }

---@param type_name? string of the message that is the payload, which becomes a table unless it is empty
---@return { status: table?, payload: string|table }|nil, string?, string?
function M.decode_response(bytes, type_name)
  if bytes == "" then return SUCCESS end
  return protobuf.decode("ttrpc.Response", bytes, type_name and "payload", type_name)
end

-- Pairs in the order of the keys: equal calls give equal bytes.
local function add_pairs(list, key, values)
  if type(values) ~= "table" then values = { values } end
  for _, value in ipairs(values) do list[#list + 1] = { key = key:lower(), value = tostring(value) } end
end

--- Metadata for the wire. Keys become lower case: receivers do not see others (docs/wire/ttrpc.md#request-fields).
---@param metadata table<string, string|string[]>
---@return table[]
function M.pairs_of(metadata)
  local keys, list = {}, {}
  for key in pairs(metadata) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    local low_a, low_b = a:lower(), b:lower()
    return low_a < low_b or low_a == low_b and a < b
  end)
  for _, key in ipairs(keys) do add_pairs(list, key, metadata[key]) end
  return list
end

--- Metadata for handlers: a list of values for each key, in the order in which they came.
---@param list? table[]
---@return table<string, string[]>
function M.metadata_of(list)
  local metadata = {}
  for _, pair in ipairs(list or {}) do
    local key = pair.key:lower()
    local values = metadata[key]
    if values then values[#values + 1] = pair.value else metadata[key] = { pair.value } end
  end
  return metadata
end

--- The remaining time for the wire; 0 where none is left, which must not be sent: there it means no limit.
---@param left number seconds
---@return integer|nil nanoseconds nil: no limit
function M.timeout_nano(left)
  left = left * 1e9
  if left < 1 then return 0 end
  return left < 2.0 ^ 63 and math.tointeger(left // 1) or nil
end

return M
