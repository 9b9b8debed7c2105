--- Users and groups from /etc/passwd and /etc/group. No NSS: the static agent has none, and guests rarely do.
local core = require "vmctl.core"
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
    return uid and gid and { uid = uid, gid = gid, name = entry[1], home = entry[6], shell = entry[7] } or nil
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
---@return { uid: integer, gid: integer, groups: integer[], name: string?, home: string?, shell: string? }|nil found, string?
---@return string? code EINVAL
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

local LOGIN = { "HOME", "USER", "LOGNAME", "SHELL", "PATH" } -- variables that a login sets
local PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

local function given(text)
  return text ~= nil and text ~= "" and text or nil
end

--- Adds the variables that a login sets for a user. The home of an unknown user is "/".
---@param who { uid: integer, name: string?, home: string?, shell: string? } as from resolve
---@return table<string, string> variables HOME, USER, LOGNAME, SHELL, PATH
function M.login(who)
  local name = who.name or (who.uid == 0 and "root" or tostring(who.uid))
  return {
    HOME = given(who.home) or (who.uid == 0 and "/root" or "/"), USER = name, LOGNAME = name,
    SHELL = given(who.shell) or "/bin/sh", PATH = PATH,
  }
end

-- The logins of users that were asked for, as long as /etc/passwd stays as it is: commands are started often.
local known = { users = {} }

local function login_of(who)
  local there = core.fs.stat "/etc/passwd"
  local version = there and there.changed .. ":" .. there.inode .. ":" .. there.size
  if known.version ~= version then known = { version = version, users = {} } end
  if known.users[who] == nil then
    local found = user_id(who, "")
    known.users[who] = found and M.login(found) or false
  end
  return known.users[who] or {}
end

local function is_missing(env, name, inherited)
  local value = env[name]
  if value == nil and inherited then value = inherited(name) end
  return not value
end

--- Completes the environment of a command as a login would. Reads /etc/passwd; does not wait.
---@param env table<string, string|false> changed in place; existing variables stay
---@param user? string whose command it is, as for resolve; by default the user that this process runs as
---@param inherited? fun(name: string): string? of the variables that `env` says nothing of, those that the command has
function M.complete(env, user, inherited)
  local missing = {}
  for i = 1, #LOGIN do
    if is_missing(env, LOGIN[i], inherited) then missing[#missing + 1] = LOGIN[i] end
  end
  if #missing == 0 then return end
  local login = login_of(user and user:match "^([^:]+)" or tostring((core.fs.identity())))
  for _, name in ipairs(missing) do env[name] = login[name] or env[name] end
end

return M
