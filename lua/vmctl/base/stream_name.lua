--- Tells vmctl.trace the protocol of a stream. The protocols' code calls it; without a trace it does nothing.
local M = {}

local function nothing() end

--- Names the protocol of a stream: `naming.name(stream, "stereos")`. Framed protocols are known by their formats as well.
---@type fun(stream: vmctl.Stream, protocol: string)
M.name = nothing

--- Sets the recorder's function for `name`; nil removes it.
---@param fn? fun(stream: vmctl.Stream, protocol: string)
function M.set(fn)
  M.name = fn or nothing
end

return M
