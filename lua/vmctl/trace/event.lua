--- An event of a trace as a line of JSON.
local json = require "vmctl.json"

local M = {}

local ORDER = { "t", "s", "how", "address", "protocol", "dir", "type", "stream", "flags", "size", "call", "masked", "fill",
  "cut", "code", "bytes_in", "bytes_out", "count", "pid", "time", "version", "text", "data" }

local function encode_value(value)
  if math.type(value) == "float" then return ("%.6f"):format(value) end
  return json.encode(value) or '"?"'
end

--- The line of an event, with its members in the order that is best to read. Does not wait.
---@param ev string its kind
---@param record table its other members
---@return string
function M.encode(ev, record)
  local parts = { ('{"ev":"%s"'):format(ev) }
  for _, name in ipairs(ORDER) do
    if record[name] ~= nil then parts[#parts + 1] = (',"%s":%s'):format(name, encode_value(record[name])) end
  end
  return table.concat(parts) .. "}\n"
end

return M
