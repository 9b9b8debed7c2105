--- Option tables: an unknown name or a wrong type is a mistake of the program and raises at its line.
local M = {}

local function fits(value, want)
  if type(want) == "table" then
    for _, choice in ipairs(want) do
      if value == choice then return true end
    end
    return false, "one of " .. table.concat(want, ", ")
  end
  for kind in want:gmatch "[^|]+" do
    if kind == "any" or type(value) == kind or math.type(value) == kind then return true end
  end
  return false, (want:gsub("|", " or "))
end

--- Checks options; raises at the line of the caller's caller.
---@param opts table
---@param known table<string, string|table> types by name: "number", "string|table", "integer", "any", or a list of choices
---@param where string
---@return table opts
function M.check(opts, known, where)
  if type(opts) ~= "table" then error(("%s: a table of options expected, got %s"):format(where, type(opts)), 3) end
  for name, value in pairs(opts) do
    local want = known[name]
    if not want then error(("%s: unknown option '%s'"):format(where, tostring(name)), 3) end
    local ok, expected = fits(value, want)
    if not ok then error(("%s: option '%s': %s expected, got %s"):format(where, name, expected, type(value)), 3) end
  end
  return opts
end

return M
