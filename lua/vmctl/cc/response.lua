--- Answers, built by a handler: `response():success():uint64(handle):build()` (docs/wire/cc-ipc.md#answer-frames).
local encoder = require "vmctl.cc.encoder"

local M = {}

---@class vmctl.CcResponse : vmctl.CcEncoder
local methods = setmetatable({}, { __index = encoder.methods })
local mt = { __name = "vmctl.CcResponse", __index = methods }

--- The code byte of a success, which stands in front of the fields.
function methods:success()
  return self:uint8(0)
end

--- The payload, without a header.
---@return string
function methods:build()
  return self:bytes()
end

--- An empty builder with the methods of an encoder.
---@return vmctl.CcResponse
function M.new()
  return setmetatable({ _n = 0 }, mt)
end

--- Says if a value is a builder.
function M.is_response(value)
  return getmetatable(value) == mt
end

return M
