--- Finds gaps of the documentation: a public function without a docstring, values that are not described, a wait that is not mentioned,
--- names that are not those of the code.
local block = require "doc.block"

local M = {}

-- Sentences that begin so describe the result.
local VALUE = {
  "^The ", "^A ", "^An ", "^How ", "^Where ", "^Which ", "^Has ", "^Says ", "^Tells ", "^True ", "^Returns ", "^[^.]*%f[%a]returns ",
}

-- Calls in a function's own text that wait. Others wait as well; these are those that tell for certain.
local WAITING = {
  ":read_line%(", ":read_exact%(", ":read_frames?%(", ":write_frames?%(", ":accept%(", ":recv%(", ":wait%(", ":join%(",
  "dial%.dial%(", "core%.sleep%(", ":flush%(", ":wait_ready%(",
}

-- The statements of the function itself: what functions inside it return is not its value.
local function own_text(body)
  local first, rest = body:match "^([^\n]*)\n?(.*)$"
  rest = rest:gsub("%-%-[^\n]*", ""):gsub("%f[%w]function%b()[^\n]*%f[%w]end%f[%W]", "")
  rest = rest:gsub("(\n?)( *)([^\n]*%f[%w]function%f[%W][^\n]*)\n(.-)\n%2end", function(nl, indent, head)
    return nl .. indent .. head
  end)
  return first .. "\n" .. rest
end

local function gives_values(body)
  for rest in own_text(body):gmatch "%f[%w_]return%f[^%w_]([^\n]*)" do
    local value = rest:gsub("^%s+", "")
    if value ~= "" and not value:find "^end" and not value:find "^true%f[%W]%s*$" and not value:find "^self%s*$" then return true end
  end
  return false
end

local function says_value(doc)
  if #doc.returns > 0 then return true end
  for _, pattern in ipairs(VALUE) do if doc.text:find(pattern) then return true end end
  return false
end

local function takes_timeout(doc)
  for _, param in ipairs(doc.params) do
    if param.name == "timeout" or param.type:find "%f[%w_]timeout%f[^%w_]" then return true end
  end
  for _, value in ipairs(doc.returns) do if value.text:find "ETIMEDOUT" then return true end end
  return false
end

local function may_wait(entry)
  if takes_timeout(entry.block) then return true end
  local body = own_text(entry.body or "")
  for _, pattern in ipairs(WAITING) do if body:find(pattern) then return true end end
  return false
end

local function wrong_names(entry, complain)
  local names = {}
  for _, name in ipairs(entry.params) do names[name] = true end
  for _, param in ipairs(entry.block.params) do
    local name = param.name:match "^[^.]+" or param.name
    if not names[name] and not names["..."] and name ~= "..." then
      complain(entry, ("@param %s: it has no such parameter"):format(param.name))
    end
  end
end

--- Looks at one function.
---@param entry table of doc.functions
---@param complain fun(entry: table, text: string)
function M.entry(entry, complain)
  if entry.ours then return end
  local doc = entry.block
  if not doc or doc.text == "" then return complain(entry, "no docstring") end
  if gives_values(entry.body or "") and not says_value(doc) then
    complain(entry, "it gives values, and the docstring does not say which")
  end
  if may_wait(entry) and not block.tells_waiting(doc.text) then
    complain(entry, "it may wait, and the docstring does not say whether")
  end
  wrong_names(entry, complain)
end

--- Looks at everything.
---@param model table of doc.model
---@return string[] complaints "FILE:LINE: NAME: REASON", sorted
function M.all(model)
  local list = {}
  local owner
  local function complain(entry, text)
    list[#list + 1] = ("%s:%d: %s%s: %s"):format(entry.path or "?", entry.line or 0, owner, entry.name, text)
  end
  for name, part in pairs(model.parts) do
    owner = name .. "."
    for _, entry in ipairs(part.functions) do M.entry(entry, complain) end
  end
  for name, class in pairs(model.reached) do
    owner = name .. ":"
    for _, entry in ipairs(class.methods) do M.entry(entry, complain) end
  end
  owner = ""
  for name, entry in pairs(model.unknown) do complain(entry, ("its docstring speaks of %s, which is nowhere"):format(name)) end
  table.sort(list)
  return list
end

return M
