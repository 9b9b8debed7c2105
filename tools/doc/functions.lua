--- The description of one public function: its docstring, parameters, values, and where it is.
local block = require "doc.block"
local source = require "doc.source"

local M = {}

-- A source's path from the project's root on, wherever LUA_PATH begins.
local function relative(chunk)
  return chunk:match "^@.-(lua/vmctl/.*)$" or chunk:sub(2)
end

-- Comments for maintainers above a function: `--`, without the third dash, says that it is not for users.
-- So does a heading that names others as the callers ("For the hub", "What the connection calls") for all below it.
local function is_ours(path, line)
  local lines = source.lines(path)
  for i = line, 2, -1 do
    local who = lines[i - 1] == "" and lines[i + 1] == "" and (lines[i]:match "^%-%- For (.+)$" or lines[i]:match "^%-%- What (.+) calls?$")
    if who then return who ~= "users" and who ~= "handlers" end
  end
  local before = source.lines(path)[line - 1] or ""
  return before:find "^%s*%-%-" ~= nil and source.above(path, line) == nil
end

local function parameters(fn, info)
  local names = {}
  for i = 1, info.nparams do names[i] = debug.getlocal(fn, i) end
  if info.isvararg then names[#names + 1] = "..." end
  return names
end

-- The module that a function knows by a local name.
local function known_module(fn, wanted)
  for i = 1, 255 do
    local name, value = debug.getupvalue(fn, i)
    if not name then return nil end
    if name == wanted then return type(value) == "table" and value end
  end
end

-- A function that only hands its arguments on to a module, which it loads or which its text names, is documented there.
local function forwards_to(fn, entry)
  local module, name = entry.body:match 'return %(?require%s*%(?%s*"([%w_.]+)"%s*%)?%.([%w_]+)%('
  local target = module and package.loaded[module]
  if not module and entry.block and entry.block.text:find "See vmctl%.[%w_.]+%.?%s*$" then
    module, name = entry.body:match "return ([%w_]+)%.([%w_]+)%("
    target = module and known_module(fn, module)
  end
  return type(target) == "table" and type(target[name]) == "function" and target[name] or nil
end

local function without_reference(text)
  return (text:gsub("%s*See vmctl%.[%w_.]+%.?%s*$", ""):gsub("%s*See vmctl%.[%w_.]+%.(%s)", "%1"))
end

local function take_type(entry, found)
  if not found.type or found.type:sub(1, 4) ~= "fun(" then return end
  entry.block = { text = found.text, class = nil }
  entry.block.params, entry.block.returns = block.of_function(found.type)
  entry.params = {}
  for i, param in ipairs(entry.block.params) do entry.params[i] = param.name end
end

-- The docstring of the function that does the work completes that of the one users call.
local function complete(entry, inner)
  local own = entry.block or { text = "", params = {}, returns = {} }
  local theirs = inner.block or { text = "", params = {}, returns = {} }
  local text = without_reference(own.text)
  if theirs.text ~= "" and not text:find(theirs.text, 1, true) then
    text = text .. (text == "" and "" or "\n\n") .. theirs.text
  end
  if #own.params == 0 and entry.params[1] == "..." then entry.params = inner.params end
  local mine = {}
  for _, name in ipairs(entry.params) do mine[name] = true end
  for _, param in ipairs(#own.params == 0 and theirs.params or {}) do
    if mine[param.name] then own.params[#own.params + 1] = param end
  end
  entry.block = { text = text, params = own.params, returns = #own.returns > 0 and own.returns or theirs.returns }
end

--- Describes a function that Lua has.
---@param fn function
---@param name string under which users find it
---@param path? string where it is assigned that name
---@return table|nil entry { name, params: string[], block?, path, line, body }; nil: it is C's
function M.describe(fn, name, path)
  local info = debug.getinfo(fn, "Su")
  if info.what == "C" then return nil end
  local entry = {
    fn = fn, name = name, params = parameters(fn, info), path = relative(info.source), line = info.linedefined,
  }
  entry.body = source.body(entry.path, info.linedefined, info.lastlinedefined)
  local assigned = path and source.assigned(path, name)
  entry.block = source.above(entry.path, entry.line)
  if assigned and (not entry.block or assigned.type) then entry.block = assigned end
  if entry.block then take_type(entry, entry.block) end
  entry.ours = is_ours(entry.path, entry.line)
  local inner = forwards_to(fn, entry)
  if inner then complete(entry, M.describe(inner, name) or { params = {} }) end
  return entry
end

--- Makes a method of it: `self` is not for readers.
---@param entry table
---@return table entry
function M.as_method(entry)
  if entry.params[1] and not entry.method then table.remove(entry.params, 1) end
  entry.method = true
  return entry
end

return M
