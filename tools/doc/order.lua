--- Where each part and class is found in the reference: page, heading, anchor.
local topics = require "doc.topics"

local M = {}

-- The part on whose page a class stands: the one whose folder the class is in, else vmctl itself.
local function home(model, class)
  local best, length = "vmctl", 0
  for name, part in pairs(model.parts) do
    local folder = part.path and part.path:gsub("init%.lua$", ""):gsub("%.lua$", "")
    local path = class.path or ""
    if folder and name ~= "vmctl" and path:sub(1, #folder) == folder and #folder > length then best, length = name, #folder end
  end
  if class.name:find "^vmctl%.Scenario" then best = "vmctl.scenario" end
  return best
end

--- Orders a model.
---@param model table of doc.model
---@return { kinds: table[], kind_of: table<string, string>, classes: table<string, table[]>, home: table<string, string> } order
-- kinds: { name, part … } with each part once; classes: by part, sorted
function M.of(model)
  local order = { kinds = {}, kind_of = {}, classes = {}, home = {} }
  local further = { "Further" }
  for _, kind in ipairs(topics.kinds) do
    local known = { kind[1] }
    for i = 2, #kind do
      if model.parts[kind[i]] then
        known[#known + 1], order.kind_of[kind[i]] = kind[i], kind[1]:lower()
      end
    end
    order.kinds[#order.kinds + 1] = known
  end
  for name in pairs(model.parts) do
    order.classes[name] = {}
    if not order.kind_of[name] then
      further[#further + 1], order.kind_of[name] = name, "further"
    end
  end
  if #further > 1 then order.kinds[#order.kinds + 1] = further end
  for name, class in pairs(model.reached) do
    order.home[name] = home(model, class)
    table.insert(order.classes[order.home[name]], class)
  end
  for _, list in pairs(order.classes) do table.sort(list, function(a, b) return a.name < b.name end) end
  return order
end

local function has(list, name)
  for _, entry in ipairs(list) do if entry.name == name then return true end end
  return false
end

--- Where a name leads to, from any page of the reference.
---@param model table
---@param order table
---@param name string "vmctl.machine.launch", "vmctl.Machine", "vmctl.Machine:run", "vmctl.stereos.client"
---@return string|nil href nil: nothing public has that name
function M.href(model, order, name)
  local class, method = name:match "^(vmctl%.%u%w*)[:.]?([%w_]*)$"
  local part, item = name, nil
  if class and model.reached[class] then
    part = order.home[class]
    local known = model.reached[class]
    if method ~= "" then
      if not has(known.methods, method) then return nil end
      local colon = true
      for _, entry in ipairs(known.methods) do if entry.name == method then colon = entry.method end end
      item = class:match "%u%w*$" .. (colon and ":" or ".") .. method
    elseif #known.methods + #known.fields > 0 then
      item = ("Class_%s"):format(class:match "%u%w*$")
    end
  elseif not model.parts[part] then
    part, item = name:match "^(.*)%.([%w_]+)$"
    local known = part and model.parts[part]
    if not known then return nil end
    if not has(known.functions, item) then
      if not has(known.fields, item) then return nil end
      item = "Fields"
    end
  end
  return ("../%s/%s.html%s"):format(order.kind_of[part], part, item and "#" .. item or "")
end

return M
