--- Users and groups from /etc/passwd and /etc/group. No NSS: the static agent has none, and guests rarely do.
local errors = require "vmctl.errors"

local M = {}

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
  local number = math.tointeger(tonumber(key))
  for _, fields in ipairs(list) do
    if fields[1] == key then return fields end
  end
  for _, fields in ipairs(list) do
    if number and tonumber(fields[3]) == number then return fields end
  end
end

local function user_id(who, prefix)
  local entry = find(records(prefix .. "/etc/passwd"), who)
  if entry then
    return { uid = math.tointeger(tonumber(entry[3])), gid = math.tointeger(tonumber(entry[4])), name = entry[1],
      home = entry[6] }
  end
  local uid = who:match "^%d+$" and math.tointeger(tonumber(who))
  return uid and { uid = uid, gid = uid } or nil
end

local function group_id(group, prefix)
  local entry = find(records(prefix .. "/etc/group"), group)
  if entry then return math.tointeger(tonumber(entry[3])) end
  return group:match "^%d+$" and math.tointeger(tonumber(group)) or nil
end

local function supplementary(name, gid, prefix)
  local groups = { gid }
  for _, fields in ipairs(records(prefix .. "/etc/group")) do
    for member in (fields[4] or ""):gmatch "[^,]+" do
      local id = math.tointeger(tonumber(fields[3]))
      if member == name and id and id ~= gid then groups[#groups + 1] = id end
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
