--- The schemas of docs/command-line.md, and whether a document follows one: as much of JSON Schema as they use.
local json = require "vmctl.json"

local M = {}

--- The schemas of the document, by the heading above each.
---@return table<string, table>
function M.read(path)
  local file = assert(io.open(path))
  local schemas, heading, block = {}, nil, nil
  for line in file:lines() do
    if block and line == "```" then
      schemas[heading] = assert(json.decode(table.concat(block, "\n")))
      block = nil
    elseif block then
      block[#block + 1] = line
    elseif line == "```json" then
      block = {}
    else
      heading = line:match "^### (.+)$" or heading
    end
  end
  file:close()
  return schemas
end

local is = {
  object = function(v) return type(v) == "table" and not json.is_array(v) end,
  array = json.is_array,
  string = function(v) return type(v) == "string" end,
  integer = function(v) return math.type(v) == "integer" end,
  number = function(v) return type(v) == "number" end,
  boolean = function(v) return type(v) == "boolean" end,
}

local function one_of(value, list)
  for _, allowed in ipairs(list) do
    if allowed == value then return true end
  end
  return false
end

--- Raises, with the place, when a value does not follow a schema.
function M.check(value, schema, place)
  place = place or "document"
  if schema.type and not is[schema.type](value) then error(("%s: %s expected"):format(place, schema.type), 0) end
  if schema.enum and not one_of(value, schema.enum) then error(("%s: an unknown value"):format(place), 0) end
  for _, name in ipairs(schema.required or {}) do
    if value[name] == nil then error(("%s: member %s is missing"):format(place, name), 0) end
  end
  for i, item in ipairs(schema.items and value or {}) do M.check(item, schema.items, ("%s[%d]"):format(place, i)) end
  if not (schema.properties or schema.additionalProperties ~= nil) then return end
  for name, member in pairs(value) do
    local known = (schema.properties or {})[name]
    if not known then known = schema.additionalProperties end
    if known == false then error(("%s: member %s is not in the schema"):format(place, name), 0) end
    if type(known) == "table" then M.check(member, known, place .. "." .. name) end
  end
end

return M
