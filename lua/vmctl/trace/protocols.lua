--- The protocols as traces know them: by their formats, with the names of their types. No function here waits.
local M = {}

--- Protocols whose messages are lines of text.
M.by_line = { stereos = true, qmp = true, qga = true }

-- Modules that hold formats; those that are not loaded can not be in use.
local formats = {
  { "exec", "vmctl.exec.wire" }, { "ttrpc", "vmctl.ttrpc.wire" }, { "cc", "vmctl.cc.wire" },
  { "l2", "vmctl.l2.port" },
}

local ttrpc_types = { "request", "response", "data" }

-- Where the names of a protocol's types stand.
local names = { exec = "vmctl.exec.wire", cc = "vmctl.cc.wire" }
local inverted = {}

--- The protocol of a frame format, or nil.
---@param format vmctl.Format?
---@return string?
function M.of_format(format)
  for _, entry in ipairs(formats) do
    local module = package.loaded[entry[2]]
    if format and type(module) == "table" and module.format == format then return entry[1] end
  end
end

--- The frame format of a protocol, to play its messages; nil for a protocol that has none here.
---@param protocol string?
---@return vmctl.Format?
function M.format_of(protocol)
  for _, entry in ipairs(formats) do
    if entry[1] == protocol then
      local ok, module = pcall(require, entry[2])
      return ok and module.format or nil
    end
  end
end

local function invert(types)
  local by_number = {}
  for name, number in pairs(types) do by_number[number] = name end
  return by_number
end

--- The name of a frame's type, or its number as text.
---@param protocol string?
---@param number integer
---@return string
function M.type_name(protocol, number)
  if protocol == "ttrpc" then return ttrpc_types[number] or tostring(number) end
  if names[protocol] and not inverted[protocol] then
    local ok, module = pcall(require, names[protocol])
    inverted[protocol] = invert(ok and module.types or {})
  end
  return inverted[protocol] and inverted[protocol][number] or tostring(number)
end

return M
