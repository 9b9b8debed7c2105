--- Finds the interpreter of a program: of a script, or of a dynamically linked one.
local core = require "vmctl.core"

local M = {}

local HEAD = 4096        -- bytes of a program that are looked at
local PT_INTERP = 3      -- ELF: the entry of the program headers that names the dynamic loader
local PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

-- The loader of an ELF file of 64 or 32 bits. Offsets are those of the ELF specification, "ELF header" and "Program header".
local function loader(head)
  local wide, little = head:byte(5) == 2, head:byte(6) ~= 2
  local order, word = little and "<" or ">", wide and "I8" or "I4"
  local at_headers, at_sizes = wide and 33 or 29, wide and 55 or 43
  if #head < at_sizes + 3 then return nil end
  local offset = string.unpack(order .. word, head, at_headers)
  local size, count = string.unpack(order .. "I2I2", head, at_sizes)
  if offset < 0 or offset > HEAD then return nil end
  for i = 0, math.min(count, 64) - 1 do
    local at = offset + i * size + 1
    if at + 40 > #head then return nil end
    if string.unpack(order .. "I4", head, at) == PT_INTERP then
      local from = string.unpack(order .. word, head, at + (wide and 8 or 4)) + 1
      return from > 0 and from <= #head and string.match(head:sub(from, from + 255), "^(/[^%z]+)%z") or nil
    end
  end
end

local function interpreter(path)
  local file = io.open(path, "rb")
  local head = file and file:read(HEAD)
  if file then file:close() end
  if not head then return nil end
  if head:sub(1, 4) == "\127ELF" then return loader(head) end
  return head:match "^#![ \t]*([^ \t\r\n%z]+)"
end

local function find(name, search)
  if name:find("/", 1, true) then return name end
  for folder in ((search or PATH) .. ":"):gmatch "([^:]*):" do
    local file = (folder == "" and "." or folder) .. "/" .. name
    local there = core.fs.stat(file)
    if there and there.type == "file" then return file end
  end
end

--- The interpreter that a program names and that is not there. Reads files; does not wait.
---@param name string a program, looked up in PATH unless it has a slash
---@param search? string the PATH that it is looked up in
---@return string|nil path
function M.missing(name, search)
  local path = find(name, search)
  local there = path and core.fs.stat(path)
  local named = there and there.type == "file" and interpreter(path)
  return named and not core.fs.stat(named) and named or nil
end

return M
