--- Frame formats: the positions of the type, the length and the payload of a message.
local core = require "vmctl.core"

local M = {}

--- Compiles a frame format, for `set_format` of a stream and the `format` of dial and listen. Does not wait.
---@param layout { type: 0|1|2|nil, length: 4|nil, max: integer, limits: table<integer, integer>?, order: "type"|"length"|nil,
--- stream: 0|4|nil, flags: 0|1|nil } type, length, stream, flags: bytes of each field of the header; max: bytes of a payload;
-- limits: by type, where it is not max; order: which field comes first
---@return vmctl.Format
M.format = core.format

return M.format
