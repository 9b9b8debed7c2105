--- Targets: one shape for all objects that reach a guest. Users pass a machine, a client of either protocol, or both in a table.
local M = {}

local function has(value, name)
  local kind = type(value)
  return (kind == "table" or kind == "userdata") and type(value[name]) == "function"
end

--- The class of an object, as its metatable names it.
---@return string|nil
function M.class(value)
  local meta = getmetatable(value)
  return type(meta) == "table" and rawget(meta, "__name") or nil
end

--- Tells if a value runs commands: a machine, an exec client, vmctl.host.
function M.is_exec(value) return has(value, "run") and has(value, "start") end

--- Tells if a value is a client of the StereOS control plane.
function M.is_stereos(value) return has(value, "get_health") end

--- Tells if a value is a machine.
function M.is_machine(value) return M.class(value) == "vmctl.Machine" end

--- Its name in errors.
function M.label(value)
  if M.is_machine(value) then return value.name end
  return tostring(value.address or value)
end

local function both(value, where, level)
  local self = { label = value.label }
  for name, fits in pairs { exec = M.is_exec, stereos = M.is_stereos } do
    if value[name] ~= nil and not fits(value[name]) then error(("%s: '%s' is no such client"):format(where, name), level) end
    self[name] = value[name]
  end
  self.label = self.label or M.label(self.exec or self.stereos)
  self.machine = M.is_machine(self.exec) and self.exec or nil
  return self
end

--- Makes a target. Raises at the line that `level` names if the value is none.
---@param value any a machine, an exec client, vmctl.host, a stereos client, or { exec =, stereos =, label = }
---@param where string the beginning of the message
---@param level? integer as for `error`; 3, the caller of the calling function
---@return { exec: table?, machine: vmctl.Machine?, label: string }
function M.resolve(value, where, level)
  level = level or 3 -- `both` is called in this function's place, so the level is the same there
  if M.is_exec(value) or M.is_stereos(value) then
    local name = M.is_exec(value) and "exec" or "stereos"
    return both({ [name] = value }, where, level)
  elseif type(value) == "table" and not getmetatable(value) and (value.exec or value.stereos) then
    return both(value, where, level)
  end
  error(("%s: a machine, a client or { exec =, stereos = } expected, got %s"):format(where, M.class(value) or type(value)),
    level)
end

return M
