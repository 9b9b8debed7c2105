--- Checks the shape of a peer's values at the door; inside they are trusted.
local M = {}

local kinds = {
  integer = function(value) return math.type(value) == "integer" end,
  number = function(value) return type(value) == "number" end,
  string = function(value) return type(value) == "string" end,
  boolean = function(value) return type(value) == "boolean" end,
  any = function() return true end,
}

local is_array

local function check(value, want, where)
  if type(want) == "string" then
    local kind, optional = want:match "^(%a+)(%??)$"
    if value == nil and optional == "?" or kinds[kind](value) then return nil end
    return ("%s is no %s"):format(where, kind)
  end
  if value == nil and want.optional then return nil end
  if type(value) ~= "table" then return where .. " is no " .. (want.each and "list" or "object") end
  if want.each then
    if not is_array(value) then return where .. " is no list" end
    for i, item in ipairs(value) do
      local why = check(item, want.each, ("%s[%d]"):format(where, i))
      if why then return why end
    end
    return nil
  end
  if is_array(value) then return where .. " is no object" end
  for name, member in pairs(want) do
    if name ~= "optional" then
      local why = check(value[name], member, where .. "." .. name)
      if why then return why end
    end
  end
end

--- The reason why a decoded value has the wrong shape.
---@param value any as vmctl.json.decode gives it
---@param want string|table "integer", "number", "string", "boolean", "any", with "?" behind it where it may be absent; of an
-- object, what its members have to be (members that are not named are not looked at); { each = … } of a list; optional = true
-- where an object or a list may be absent
---@param where string how a message names it
---@return string|nil why nil: it is as it shall be
function M.wrong(value, want, where)
  is_array = is_array or require("vmctl.json").is_array
  return check(value, want, where)
end

return M
