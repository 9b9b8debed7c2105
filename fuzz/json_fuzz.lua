-- Properties that hold for any text that is decoded as JSON. Returns a function that raises when one does not.
local json = require "vmctl.json"

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end -- 3.0 is written as 3
  if json.is_array(a) ~= json.is_array(b) then return false end
  for key, value in pairs(a) do
    if not same(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

return function(bytes)
  local value, err, code = json.decode(bytes)
  if value == nil then
    assert(type(err) == "string" and code == "EPROTO", "a failure without a reason")
    return
  end
  local text, why, how = json.encode(value)
  if not text then return assert(how == "EINVAL", why) end -- a null inside a list, for instance
  assert(not text:find "[\r\n]" and utf8.len(text), "more than a line")
  local again = json.decode(text)
  assert(same(value, again), "another value")
end
