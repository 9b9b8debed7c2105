--- Answers, built by a handler: `response():success():uint64(handle):build()` (docs/wire/cc-ipc.md#answer-frames).
local encoder = require "vmctl.cc.encoder"

local M = {}

---@class vmctl.CcResponse : vmctl.CcEncoder
local methods = setmetatable({}, { __index = encoder.methods })
local mt = { __name = "vmctl.CcResponse", __index = methods }

---@class vmctl.CcFileAnswer
---@field most integer bytes of the file
---@field read fun(): string|nil, ...
local file_methods = {}
local file_mt = { __name = "vmctl.CcFileAnswer", __index = file_methods }

--- Sends it. Waits.
---@return boolean|nil done false: nothing was sent, string?, string?
function file_methods:send(stream, kind, timeout)
  return self._opened:send_counted(stream, kind, self.most, timeout)
end

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

--- An answer that holds a part of a file, which goes to the client past this process.
---@param opened vmctl.WaitingFile
---@param most integer bytes
---@param read fun(): string|nil, ... gives the answer where that is not possible, or a handler's failure
---@return vmctl.CcFileAnswer
function M.file(opened, most, read)
  return setmetatable({ _opened = opened, most = most, read = read }, file_mt)
end

--- Tells if a value is an answer with a part of a file.
function M.is_file(value)
  return getmetatable(value) == file_mt
end

--- Tells if a value is a builder.
function M.is_response(value)
  return getmetatable(value) == mt
end

return M
