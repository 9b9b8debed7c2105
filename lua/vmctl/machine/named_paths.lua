--- The files of this machine that QEMU's arguments name. Arguments are a language of their own, so each text that may be a path counts.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local log = require "vmctl.log"

local M = {}

local LONGEST = 4096    -- bytes of a path
local CHAIN = 64        -- files of a disk at most, each the backing file of another
local SHOWN = 200       -- bytes of a path in a message

local function absolute(path)
  if path:sub(1, 1) == "/" then return path end
  return (core.fs.real "." or "") .. "/" .. path
end

local function stat(path) return core.fs.stat(path) end

local function real(path) return core.fs.real(path) or path end

local function folder_of(path) return path:match "^(.+)/[^/]*$" or "/" end

-- The texts of an argument that may be paths: each value between commas, each text of its JSON, with and without a prefix as "unix:".
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

-- The beginnings of files whose format may name other files in a way that this does not read.
local OPAQUE = { ["KDMV"] = "VMDK", ["COWD"] = "VMDK", ["# Disk DescriptorFile"] = "VMDK", ["QED\0"] = "QED" }
local QCOW2, HEADER = "QFI\xfb", 104
local EXTERNAL_DATA = 1 << 2    -- of a qcow2's incompatible features

local function refuse(path, why)
  return errors.fail("EACCES", "launch: the disk %s %s (qemu-img convert makes one file of it)", path, why)
end

-- The backing file of a disk, as its header names it: nil for none, false and a reason where it cannot be read.
local function backing_of(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local guard <close> = file -- luacheck: ignore
  local head = file:read(HEADER) or ""
  for magic, name in pairs(OPAQUE) do
    if head:sub(1, #magic) == magic then return false, ("is of the format %s, which may name any file"):format(name) end
  end
  if #head < 20 or head:sub(1, 4) ~= QCOW2 then return nil end
  local version, at, size = (">I4I8I4"):unpack(head, 5)
  local features = version >= 3 and #head >= 80 and (">I8"):unpack(head, 73) or 0
  if features & EXTERNAL_DATA ~= 0 then return false, "has its data in another file" end
  if at == 0 or size == 0 then return nil end
  local name = size < LONGEST and at < 1 << 31 and file:seek("set", at) and file:read(size)
  if not name or name:find("\0", 1, true) then return false, "has a header that is damaged" end -- QEMU would open what is before a NUL
  name = name:match "^file:(.*)$" or name
  if name:find "^[^/]*:" then return false, "stands on what is no file of this machine" end
  return name
end

local function is_below(path, folder) return path == folder or path:sub(1, #folder + 1) == (folder == "/" and "/" or folder .. "/") end

-- Tells if this file may be a backing file: arguments name it or a folder of it, or it is in the folder of the disk above it.
local function is_allowed(path, above, named)
  if is_below(path, folder_of(above)) then return true end
  for known in pairs(named) do
    if is_below(path, real(known)) then return true end
  end
  return false
end

-- Adds the backing files of a disk. Opens regular files only, which no reader waits for. A guest that may write its raw disk could write
-- such a header, and disks come from elsewhere: a name in a header is not one that the user has given.
local function add_chain(list, path, named)
  for _ = 1, CHAIN do
    local found = stat(path)
    if not found or found.type ~= "file" then return true end
    local name, why = backing_of(path)
    if name == nil then return true end
    if not name then return refuse(path, why) end
    if name:sub(1, 1) ~= "/" then name = folder_of(path) .. "/" .. name end
    if not stat(name) then return true end -- QEMU will say so
    local below = real(name)
    if not is_allowed(below, real(path), named) then
      return refuse(path, ("stands on %s: name that in `paths`"):format(log.one_line(name, SHOWN)))
    end
    list[#list + 1] = { path = name, type = "file", write = false }
    path = name
  end
  return refuse(path, "stands on too many others")
end


-- The file at a path, and the folder in which something is made: a file that is not there, a socket in place of an old one.
local function look_at(path)
  local list, found = {}, stat(path)
  if found then list[1] = { path = path, type = found.type, write = true } end
  if found and found.type ~= "socket" then return list end
  local folder = folder_of(path)
  found = stat(folder)
  if found and found.type == "directory" then list[#list + 1] = { path = folder, type = found.type, write = true } end
  return list
end

-- Tells if an argument tells that its disk is raw, so that QEMU does not look into it.
local function is_raw(argument)
  if argument:sub(1, 1) == "{" then return argument:find '"driver"%s*:%s*"raw"' ~= nil end
  local options = "," .. argument .. ","
  return options:find(",format=raw,", 1, true) ~= nil or options:find(",driver=raw,", 1, true) ~= nil
end

--- The paths that arguments name: files, folders, sockets and devices, folders where something may be made, and backing files of
--- disks. Does not wait, but for this machine's disks.
---@param arguments string[]
---@return { path: string, type: string, write: boolean }[]|nil list write: false for a backing file
---@return string? message, string? code EACCES: the header of a disk names a file that no argument names, and that is not in its folder
function M.of(arguments)
  local list, named, disks = {}, {}, {}
  for _, argument in ipairs(arguments) do
    for _, text in ipairs(candidates(argument)) do
      for _, each in ipairs(may_be_path(text) and look_at(absolute(text)) or {}) do
        if not named[each.path] then list[#list + 1] = each end
        named[each.path] = true
        if not is_raw(argument) then disks[each.path] = true end
      end
    end
  end
  for i = 1, #list do
    local ok, err, code = true, nil, nil
    if disks[list[i].path] then ok, err, code = add_chain(list, list[i].path, named) end
    if not ok then return nil, err, code end
  end
  return list
end

return M
