--- All that is public, as the loaded modules have it: the parts of vmctl with their functions, and the classes that these speak
--- of. What users can call is asked of Lua itself; the source says what is written about it.
local block = require "doc.block"
local functions = require "doc.functions"
local source = require "doc.source"
local types = require "doc.types"

local M = {}

local META = "lua/vmctl/annotations/core.lua"

-- Public classes whose objects are fields of something.
local NOT_RETURNED = { "vmctl.Loop", "vmctl.ScenarioMachine" }

local function upvalue(fn, name)
  for i = 1, math.huge do
    local found, value = debug.getupvalue(fn, i)
    if not found then return nil end
    if found == name then return value end
  end
end

-- Modules that act when they are loaded, or that nobody but our own programs loads.
local function is_library(name)
  return not name:find "^vmctl%.annotations" and not name:find "^vmctl%.agent" and not name:find "^vmctl%.cli"
end

local function load_all()
  local paths = {}
  local pipe <close> = assert(io.popen "find lua/vmctl -name '*.lua' | sort") -- luacheck: ignore
  for path in pipe:lines() do
    local name = path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
    if is_library(name) then
      local ok, module = pcall(require, name)
      if ok and (type(module) == "table" or type(module) == "function") then paths[name] = path end
    end
  end
  return paths
end

-- Where a room's own text stands: of two modules that return the same table, the longer path has it.
local function path_of(paths, room)
  local best, value = paths[room], package.loaded[room]
  for name, path in pairs(paths) do
    if package.loaded[name] == value and (not best or #path > #best) then best = path end
  end
  return best
end

-- Every class that some function of a loaded module knows, by the name in its metatable; of two, the one nearer to the users.
local function find_metatables()
  local found, seen = {}, {}
  local function visit(value)
    if seen[value] then return end
    seen[value] = true
    if type(value) == "function" then
      for i = 1, 255 do
        local name, inner = debug.getupvalue(value, i)
        if not name then break end
        if type(inner) == "table" or type(inner) == "function" then visit(inner) end
      end
      return
    end
    local name = rawget(value, "__name")
    if type(name) == "string" and not name:find "%.%l" then
      found[name] = found[name] or {}
      table.insert(found[name], value)
    end
    for _, inner in next, value do
      if type(inner) == "table" or type(inner) == "function" then visit(inner) end
    end
    if debug.getmetatable(value) then visit(debug.getmetatable(value)) end
  end
  for name, module in pairs(package.loaded) do
    if name:find "^vmctl" and type(module) == "table" then visit(module) end
  end
  return found
end

-- An object may look its methods up by a function of its own.
local function methods_table(metatable)
  local index = rawget(metatable, "__index")
  if type(index) == "function" then index = upvalue(index, "methods") end
  return type(index) == "table" and index or {}
end

local function methods_of(metatable)
  local methods = {}
  for name, fn in pairs(methods_table(metatable)) do
    if type(name) == "string" and type(fn) == "function" and name:sub(1, 1) ~= "_" then
      local entry = functions.describe(fn, name)
      if entry then methods[#methods + 1] = functions.as_method(entry) end
    end
  end
  table.sort(methods, function(a, b) return a.name < b.name end)
  return methods
end

local function nearest(metatables)
  local best, depth
  for _, metatable in ipairs(metatables) do
    local methods = methods_of(metatable)
    local path = methods[1] and methods[1].path or "/////////"
    local deep = select(2, path:gsub("/", "/")) * 1000 + #path
    if not best or deep < depth then best, depth = methods, deep end
  end
  return best
end

-- The classes of Lua and of C: what annotations declare, and what metatables have.
local function all_classes(paths)
  local classes = {}
  for _, path in pairs(paths) do
    for name, class in pairs(source.classes(path)) do classes[name] = class end
  end
  for name, class in pairs(source.classes(META)) do classes[name] = class end
  for name, metatables in pairs(find_metatables()) do
    local class = classes[name] or { name = name, fields = {}, text = "", methods = {} }
    if class.path ~= META then class.methods = nearest(metatables) end
    class.path = class.path or class.methods[1] and class.methods[1].path
    classes[name] = class
  end
  return classes
end

local function constant(name, value, path)
  local found = source.assigned(path, name)
  local text = found and found.text or ""
  if type(value) == "table" then
    local keys = {}
    for key in pairs(value) do keys[#keys + 1] = tostring(key) end
    table.sort(keys)
    return { name = name, type = "table", text = text, keys = #keys <= 80 and keys or nil }
  end
  return { name = name, type = math.type(value) or type(value), text = text, value = type(value) ~= "userdata" and value or nil }
end

local function find(list, name)
  for _, entry in ipairs(list) do if entry.name == name then return entry end end
end

-- "As vmctl.exec.client has it": the method of that name, or of another name that the same function has here, of the class
-- which that function gives; "As vmctl.Control has it": of that class.
local function same_as(model, entry, siblings)
  local text = entry.block and entry.block.text or ""
  local part, name = text:match "^As (vmctl[%w_.]*)%.([%w_]+) has [it%w]+%."
  local other = part and model.parts[part]
  other = other and other.by_name[name]
  local class = other and other.block and other.block.returns[1] and types.classes(other.block.returns[1].type)()
  class = class or part and ("%s.%s"):format(part, name)
  local methods = class and model.classes[class] and model.classes[class].methods or {}
  local method = find(methods, entry.name)
  for _, sibling in ipairs(siblings) do
    if not method and sibling.fn == entry.fn then method = find(methods, sibling.name) end
  end
  if method then entry.block, entry.params = method.block, method.params end
end

-- A function of C that a module hands on: its docstring stands above the assignment.
local function native(name, paths)
  for _, path in ipairs(paths) do
    local found = source.assigned(path, name)
    if found then
      local entry = { name = name, params = {}, block = found, path = path, line = 0 }
      for i, param in ipairs(found.params) do entry.params[i] = param.name end
      return entry
    end
  end
  return { name = name, params = {}, path = paths[1], line = 0 }
end

local function add_part(model, name, module, path, names)
  local part = { name = name, path = path, functions = {}, fields = {}, by_name = {}, text = "" }
  local header = path and source.header(path)
  part.text = header and header.text or ""
  for key, value in pairs(names or module) do
    value = names and module[key] or value
    if type(key) == "string" and key:sub(1, 1) ~= "_" then
      if type(value) == "function" then
        local elsewhere = names and { path, "lua/vmctl/base/task.lua", "lua/vmctl/format.lua" } or { path }
        local entry = functions.describe(value, key, path) or native(key, elsewhere)
        part.functions[#part.functions + 1], part.by_name[key] = entry, entry
      elseif not model.parts[name .. "." .. key] then
        part.fields[#part.fields + 1] = constant(key, value, path)
      end
    end
  end
  table.sort(part.functions, function(a, b) return a.name < b.name end)
  table.sort(part.fields, function(a, b) return a.name < b.name end)
  model.parts[name] = part
end

local function mentioned(entries, into)
  for _, entry in ipairs(entries) do
    for _, list in ipairs(entry.block and { entry.block.params, entry.block.returns } or {}) do
      for _, value in ipairs(list) do
        for name in types.classes(value.type) do into[name] = into[name] or entry end
      end
    end
  end
end

-- The classes that public functions take or give, and those of their methods in turn.
local function reach(model)
  local names, todo = {}, {}
  for _, part in pairs(model.parts) do mentioned(part.functions, names) end
  for _, name in ipairs(NOT_RETURNED) do names[name] = names[name] or { name = name } end
  for name in pairs(names) do todo[#todo + 1] = name end
  while #todo > 0 do
    local name = table.remove(todo)
    local class = model.classes[name]
    if class and not model.reached[name] then
      model.reached[name] = class
      class.path = class.path or names[name].path
      local more = {}
      mentioned(class.methods, more)
      for _, field in ipairs(class.fields) do for other in types.classes(field.type) do more[other] = field end end
      if class.parent then more[class.parent] = { name = class.parent, path = class.path } end
      for other, entry in pairs(more) do
        names[other] = names[other] or entry
        todo[#todo + 1] = other
      end
    elseif not class then
      model.unknown[name] = names[name]
    end
  end
end

--- Reads everything. The modules must be loadable, the C core among them.
---@return { parts: table<string, table>, classes: table<string, table>, reached: table<string, table>,
-- unknown: table<string, table> } model parts by their public names, classes that these speak of, names of classes that
-- docstrings mention and nobody has
function M.read()
  local vmctl = require "vmctl"
  local paths = load_all()
  local model = { parts = {}, reached = {}, unknown = {} }
  model.classes = all_classes(paths)
  local index = getmetatable(vmctl).__index
  local rooms, top = upvalue(index, "rooms"), {}
  for name in pairs(upvalue(index, "functions")) do assert(vmctl[name]) end -- so that they are in the table
  for key in pairs(vmctl) do top[key] = not rooms[key] or nil end
  for room in pairs(rooms) do
    local name, module = "vmctl." .. room, vmctl[room]
    if type(module) == "function" then
      top[room] = true
    elseif room ~= "host" then
      add_part(model, name, module, path_of(paths, name))
    end
  end
  add_part(model, "vmctl.machine.image", require "vmctl.machine.image", paths["vmctl.machine.image"])
  add_part(model, "vmctl.host", {}, paths["vmctl.host"]) -- an object, not a module
  model.parts["vmctl.host"].text = model.parts["vmctl.host"].text .. "\n\nIts methods are those of vmctl.ExecClient."
  add_part(model, "vmctl", vmctl, paths["vmctl"], top)
  for _, part in pairs(model.parts) do for _, entry in ipairs(part.functions) do same_as(model, entry, part.functions) end end
  for _, class in pairs(model.classes) do for _, entry in ipairs(class.methods) do same_as(model, entry, class.methods) end end
  reach(model)
  return model
end

M.tells_waiting = block.tells_waiting

return M
