--- The files of this machine that QEMU's arguments name. Arguments are a language of their own, so this looks for what may be a path.
local core = require "vmctl.core"

local M = {}

local LONGEST = 4096    -- bytes of a path
local CHAIN = 64        -- files of a disk at most: one stands on another

local function absolute(path)
  if path:sub(1, 1) == "/" then return path end
  return (core.fs.real "." or "") .. "/" .. path
end

local function stat(path) return core.fs.stat(path) end

-- What an argument may name: each value between commas, each text of its JSON, all with and without a prefix such as "unix:".
local function candidates(argument)
  local list = {}
  if argument:sub(1, 1) == "{" then
    for text in argument:gmatch '"([^"]*)"' do list[#list + 1] = text end
    return list
  end
  local escaped = argument:gsub(",,", "\0")
  for piece in escaped:gmatch "[^,]+" do
    list[#list + 1] = ((piece:match "^[%w._-]+=(.*)$" or piece):gsub("%z", ","))
  end
  for i = 1, #list do
    local behind = list[i]:match "^%a[%w-]*:(.*)$"
    if behind then list[#list + 1] = behind end
  end
  return list
end

local function may_be_path(text)
  return text ~= "" and #text < LONGEST and not text:find("\0", 1, true) and (text:find("/", 1, true) or stat(text)) ~= nil
end

-- The file that a qcow2 disk stands on, as its header names it.
local function backing_of(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local head = file:read(20) or ""
  local name
  if #head == 20 and head:sub(1, 4) == "QFI\xfb" then
    local at, size = (">I8I4"):unpack(head, 9)
    if at > 0 and size > 0 and size < LONGEST and file:seek("set", at) then name = file:read(size) end
  end
  file:close()
  return name
end

local function next_below(path)
  local name = backing_of(path)
  if not name or name:find("^json:") then return nil end
  name = name:match "^file:(.*)$" or name
  if name:sub(1, 1) ~= "/" then name = (path:match "^(.*/)" or "") .. name end
  return stat(name) and name or nil
end

-- The disks below a disk. Opens only files, which no reader waits for.
local function add_chain(list, path)
  for _ = 1, CHAIN do
    local found = stat(path)
    path = found and found.type == "file" and next_below(path) or nil
    if not path then return end
    list[#list + 1] = { path = path, type = "file", write = false }
  end
end

local function folder_of(path) return path:match "^(.+)/[^/]*$" or "/" end

-- What is at a path, and the folder in which something is made: a file that is not there, a socket in place of an old one.
local function look_at(path)
  local list, found = {}, stat(path)
  if found then list[1] = { path = path, type = found.type, write = true } end
  if found and found.type ~= "socket" then return list end
  local folder = folder_of(path)
  found = stat(folder)
  if found and found.type == "directory" then list[#list + 1] = { path = folder, type = found.type, write = true } end
  return list
end

--- What arguments name: files, folders, sockets and devices that are there, and folders in which something may be made. Does not
--- wait, but for this machine's disks.
---@param arguments string[]
---@return { path: string, type: string, write: boolean }[] write: false for a disk that another stands on
function M.of(arguments)
  local list, seen = {}, {}
  for _, argument in ipairs(arguments) do
    for _, text in ipairs(candidates(argument)) do
      for _, each in ipairs(may_be_path(text) and look_at(absolute(text)) or {}) do
        if not seen[each.path] then
          seen[each.path] = true
          list[#list + 1] = each
          add_chain(list, each.path)
        end
      end
    end
  end
  return list
end

return M
