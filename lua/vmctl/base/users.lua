--- Users and groups from /etc/passwd and /etc/group. No NSS: the static agent has none, and guests rarely do.
local errors = require "vmctl.errors"

local M = {}

local HIGHEST = 0xfffffffe -- the number above it means "leave as it is" to the kernel

local function id(text)
  local number = text and text:match "^%d+$" and math.tointeger(tonumber(text))
  return number and number <= HIGHEST and number or nil
end

local function records(path)
  local list = {}
  local file = io.open(path, "r")
  if not file then return list end
  for line in file:lines() do
    local fields = {}
    for field in (line .. ":"):gmatch "([^:]*):" do fields[#fields + 1] = field end
    list[#list + 1] = fields
  end
  file:close()
  return list
end

local function find(list, key)
  local number = id(key)
  for _, fields in ipairs(list) do
    if fields[1] == key then return fields end
  end
  for _, fields in ipairs(list) do
    if number and id(fields[3]) == number then return fields end
  end
end

local function user_id(who, prefix)
  local entry = find(records(prefix .. "/etc/passwd"), who)
  if entry then
    local uid, gid = id(entry[3]), id(entry[4])
    return uid and gid and { uid = uid, gid = gid, name = entry[1], home = entry[6] } or nil
  end
  local uid = id(who)
  return uid and { uid = uid, gid = uid } or nil
end

local function group_id(group, prefix)
  local entry = find(records(prefix .. "/etc/group"), group)
  return id(entry and entry[3] or group)
end

local function supplementary(name, gid, prefix)
  local groups = { gid }
  for _, fields in ipairs(records(prefix .. "/etc/group")) do
    for member in (fields[4] or ""):gmatch "[^,]+" do
      local number = id(fields[3])
      if member == name and number and number ~= gid then groups[#groups + 1] = number end
    end
  end
  return groups
end

--- Resolves "uid", "uid:gid", "name" or "name:group". With a group the supplementary groups are that group alone; an unknown
-- uid has the gid of the same number.
---@param spec string
---@param prefix? string a root folder other than "/"
---@return { uid: integer, gid: integer, groups: integer[], name: string?, home: string? }|nil, string?, string? EINVAL
function M.resolve(spec, prefix)
  prefix = prefix or ""
  local who, group = spec:match "^([^:]+):([^:]+)$"
  local found = user_id(who or spec, prefix)
  if not found then return errors.fail("EINVAL", "unknown user '%s'", who or spec) end
  if group then
    local gid = group_id(group, prefix)
    if not gid then return errors.fail("EINVAL", "unknown group '%s'", group) end
    found.gid = gid
    found.groups = { gid }
  else
    found.groups = found.name and supplementary(found.name, found.gid, prefix) or { found.gid }
  end
  return found
end

return M
