--- Source files: the docstring above a line, a function's text, the functions of a file that only declares.
local block = require "doc.block"

local M = {}

local files = {}

--- A file's lines.
---@param path string
---@return string[]
function M.lines(path)
  if not files[path] then
    local lines = {}
    local file <close> = assert(io.open(path)) -- luacheck: ignore
    for line in file:lines() do lines[#lines + 1] = line end
    files[path] = lines
  end
  return files[path]
end

--- The docstring that ends right above a line.
---@param path string
---@param line integer
---@return table|nil block of doc.block
function M.above(path, line)
  local lines, first = M.lines(path), nil
  local i = line - 1
  while i > 0 and lines[i]:find "^%s*%-%-" do
    if lines[i]:find "^%s*%-%-%-" then first = i end
    i = i - 1
  end
  if not first then return nil end
  return block.parse(table.move(lines, first, line - 1, 1, {}))
end

--- The comment with which a file begins.
---@param path string
---@return table|nil block
function M.header(path)
  local lines = M.lines(path)
  local last = 0
  while lines[last + 1] and lines[last + 1]:find "^%-%-" do last = last + 1 end
  return last > 0 and M.above(path, last + 1) or nil
end

--- The docstring of an assignment `anything.NAME = …` at the file's top level.
---@param path string
---@param name string
---@return table|nil block
function M.assigned(path, name)
  for i, line in ipairs(M.lines(path)) do
    local to = line:match "^[%a_][%w_]*[.:]([%a_][%w_]*)%s*=" or line:match "^function [%w_]+[.:]([%w_]+)"
    if to == name then
      local found = M.above(path, i)
      if found then return found end
    end
  end
end

--- The text of some lines.
---@param path string
---@param first integer
---@param last integer
---@return string
function M.body(path, first, last)
  return table.concat(M.lines(path), "\n", first, last)
end

-- A declaration in a file of annotations: `function Stream:read(n, timeout) end`.
local function declaration(line)
  local owner, mark, name, args = line:match "^function ([%w_]+)([.:])([%w_]+)%((.-)%) end"
  if not owner then return nil end
  local params = {}
  for param in args:gmatch "[%w_.]+" do params[#params + 1] = param end
  return owner, { name = name, method = mark == ":", params = params }
end

--- The classes that a file declares, with the methods it declares for them.
---@param path string
---@return table<string, { name: string, text: string, fields: table[], methods: table[], path: string }>
function M.classes(path)
  local classes, owners = {}, {}
  for i, line in ipairs(M.lines(path)) do
    local owner, fn = declaration(line)
    if owner and owners[owner] then
      fn.block, fn.path, fn.line = M.above(path, i), path, i
      table.insert(owners[owner].methods, fn)
    elseif not line:find "^%s*%-%-" and i > 1 then
      local found = M.lines(path)[i - 1]:find "^%s*%-%-" and M.above(path, i)
      if found and found.class then
        local class = found.class
        class.text = found.text .. (found.text ~= "" and class.text ~= "" and "\n" or "") .. class.text
        class.methods, class.path = {}, path
        classes[class.name] = class
        owners[line:match "^local ([%w_]+)" or ""] = class
      end
    end
  end
  return classes
end

return M
