--- Two streams, one to read and one to write, as the one that carries a yamux session: the pipes of a child, or our own standard streams.
local M = {}

---@class vmctl.PipePair
local methods = {}
local mt = { __name = "vmctl.PipePair", __index = methods }

--- Makes it. It owns both streams.
---@param input vmctl.Stream
---@param output vmctl.Stream
---@param label string
function M.new(input, output, label)
  return setmetatable({ _input = input, _output = output, _label = label }, mt)
end

for _, name in ipairs { "read_exact", "read_line" } do
  --- As vmctl.Stream has it.
  methods[name] = function(self, ...) return self._input[name](self._input, ...) end
end

--- As vmctl.Stream has it.
function methods:write(...) return self._output:write(...) end

--- As vmctl.Stream has it.
function methods:label() return self._label end

--- Closes both. Idempotent, never waits.
function methods:close()
  self._input:close()
  self._output:close()
end

return M
