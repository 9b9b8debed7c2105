--- How long each spec file took when it last passed.
local cjson = require "cjson"
local core = require "vmctl.core"

local M = {}

local MOST = 16 << 20 -- bytes of the file

--- Reads them. An unreadable file counts as an empty one: then only the order of the files differs.
---@param path string
---@return table<string, number> seconds by spec file
function M.read(path)
  local file = io.open(path, "rb")
  if not file then return {} end
  local text = file:read(MOST) or ""
  file:close()
  local ok, all = pcall(cjson.decode, text)
  local seconds = {}
  for name, value in pairs(ok and type(all) == "table" and all or {}) do
    if type(name) == "string" and type(value) == "number" and value >= 0 then seconds[name] = value end
  end
  return seconds
end

--- Writes them; after a failure the old file stays.
---@param path string
---@param seconds table<string, number>
---@return true|nil, string?, string?
function M.write(path, seconds)
  local names, lines = {}, {}
  for name in pairs(seconds) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do lines[i] = ("%s: %.3f"):format(cjson.encode(name), seconds[name]) end
  return core.fs.replace(path, "{\n" .. table.concat(lines, ",\n") .. "\n}\n")
end

return M
