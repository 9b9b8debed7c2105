--- What a stream speaks, as the protocols' own code tells vmctl.trace. While nothing is traced, telling it does nothing.
local M = {}

local function nothing() end

--- Says what a stream speaks: `naming.name(stream, "stereos")`. Framed protocols are known by their formats as well.
---@type fun(stream: vmctl.Stream, protocol: string)
M.name = nothing

--- Puts the recorder's function in the place of `name`; nil takes it away.
---@param fn? fun(stream: vmctl.Stream, protocol: string)
function M.set(fn)
  M.name = fn or nothing
end

return M
