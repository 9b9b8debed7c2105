--- Validates a whole set before the first step: returns a list of steps, or the reason of a refusal. The rules are those of the
--- guest's side (docs/wire/stereos.md#guest-actions), so that the guest refuses no step of a push that has begun.
local config_file = require "vmctl.guest.config"
local errors = require "vmctl.errors"
local files = require "vmctl.config.files"
local jcard = require "vmctl.config.jcard"
local keys_file = require "vmctl.guest.keys"
local mount_rules = require "vmctl.guest.mounts"
local options = require "vmctl.base.options"
local secret_files = require "vmctl.guest.secrets"
local system = require "vmctl.config.system"
local wire = require "vmctl.stereos.wire"

local M = {}

local NAME_MAX, MODE_MAX = 255, 511
local OWNER_ONLY, READABLE = 384, 420     -- 0600, 0644

local kinds = {
  groups = "table", users = "table", files = "table", secrets = "table", ssh_keys = "table", mounts = "table", units = "table",
  config = "string",
}
local OF_SYSTEM = { group = true, user = true, unit = true, start = true } -- steps that only a running guest can do
local secret_members = { value = "string", mode = "integer>=0" }
local mount_members = { tag = "string", guest_path = "string", fs_type = "string", read_only = "boolean" }

local function wrong(text, ...)
  return errors.fail("EINVAL", text, ...)
end

local function sorted(map)
  local keys = {}
  for key in pairs(map) do
    if type(key) ~= "string" then return nil, key end
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end

local function plain(text)
  return (text:sub(1, 80):gsub("[%c\127-\255]", "?"))
end

local function add_keys(steps, keys, level)
  local users, odd = sorted(keys)
  if not users then error(("config.push: ssh_keys: a user's name expected, got %s"):format(type(odd)), level) end
  for _, user in ipairs(users) do
    local lines = keys[user]
    if type(lines) == "string" then lines = { lines } end
    for _, line in ipairs(type(lines) == "table" and lines or { false }) do
      if type(line) ~= "string" then error("config.push: ssh_keys: a key or a list of keys expected", level) end
    end
    if not user:find "^[%w_][%w_.-]*%$?$" then return wrong("ssh key: '%s' is no user's name", plain(user)) end
    local text, err, code = keys_file.check((table.concat(lines, "\n"):gsub("\r\n", "\n")))
    if not text then return nil, ("ssh key of %s: %s"):format(user, err), code end
    steps[#steps + 1] = { kind = "ssh_key", name = user, user = user, content = text, size = #text }
  end
  return true
end

-- Refuses secret names that our guests refuse, and those that other guests cannot write, because they write to NAME.tmp first.
local function secret_fault(name, mode)
  local why = secret_files.unfit(name)
  if why then return why end
  if #name > NAME_MAX - 4 or name:find "%c" or not utf8.len(name) then return "its name is not usable everywhere" end
  if mode and mode > MODE_MAX then
    return ("mode %d is over 0777: it is a number, and octal 0600 is 384"):format(mode)
  end
end

local function add_secrets(steps, secrets, level)
  local names, odd = sorted(secrets)
  if not names then error(("config.push: secrets: a name expected, got %s"):format(type(odd)), level) end
  for _, name in ipairs(names) do
    local secret = secrets[name]
    if type(secret) == "string" then secret = { value = secret } end
    options.check(secret, secret_members, "config.push: secrets", level + 1)
    if not secret.value then error("config.push: secrets: a value expected", level) end
    local fault = secret_fault(name, secret.mode)
    if fault then return wrong("secret %s: %s", plain(name), fault) end
    local mode = secret.mode ~= 0 and secret.mode or OWNER_ONLY
    steps[#steps + 1] = { kind = "secret", name = name, content = secret.value, size = #secret.value, mode = mode }
  end
  return true
end

local FS_TYPES = { virtiofs = true, ["9p"] = true }

-- The normalised path; or nil, message, code.
local function check_mount(mount)
  local tag = mount.tag or ""
  if tag == "" or #tag > NAME_MAX or tag:find "[%c%s\127]" or tag:find "^%-" or not utf8.len(tag) then
    return wrong "it has no usable tag"
  end
  if not FS_TYPES[mount.fs_type] then return wrong "fs_type 'virtiofs' or '9p' expected" end
  return mount_rules.check_path(mount.guest_path or "")
end

local function add_mounts(steps, mounts, level)
  local seen = {}
  for key in pairs(mounts) do
    if math.type(key) ~= "integer" then error("config.push: mounts: a list of mounts expected", level) end
  end
  for i, mount in ipairs(mounts) do
    options.check(mount, mount_members, "config.push: mounts", level + 1)
    local path, err, code = check_mount(mount)
    if path and seen[path] then path, err, code = wrong "it is there twice" end
    if not path then return nil, ("mount %s: %s"):format(plain(tostring(mount.guest_path or i)), err), code end
    seen[path] = true
    steps[#steps + 1] = { kind = "mount", name = path, tag = mount.tag, path = path, fs_type = mount.fs_type,
      read_only = mount.read_only or false }
  end
  return true
end

local function add_config(steps, text, keep_secrets)
  local removed
  if not keep_secrets and (text:lower():find "secr" or text:find "\\[uUx]") then -- a text without secrets need not be TOML
    local rest, what = jcard.without(text, "secrets")
    if not rest then
      return wrong("config: %s, so that it cannot be told where [secrets] ends (keep_secrets = true sends it as it is)", what)
    end
    text, removed = rest, what
  end
  steps[#steps + 1] = { kind = "config", name = "jcard.toml", path = config_file.PATH, content = text, size = #text,
    mode = READABLE, removed = removed or nil }
  return true
end

-- The control plane's request for a step, nil for files.
local requests = {
  secret = function(step) return "inject_secret", { name = step.name, value = step.content, mode = step.mode } end,
  ssh_key = function(step) return "inject_ssh_key", { user = step.user, public_key = step.content } end,
  mount = function(step)
    return "mount", { tag = step.tag, guest_path = step.path, fs_type = step.fs_type, read_only = step.read_only }
  end,
  config = function(step) return "set_config", { content = step.content } end,
}

-- A step whose request is longer than a line of the control plane may be is done by commands, if the target runs any.
local function check_way(step, ways, opts)
  if opts.root and OF_SYSTEM[step.kind] then return wrong("%s %s: it needs a running guest, and no 'root'", step.kind, step.name) end
  if not requests[step.kind] then
    if ways.exec then return true end
    return errors.fail("ENOTSUP", "%s %s: a %s needs a target that runs commands", step.kind, step.name, step.kind)
  end
  if not ways.stereos then return true end
  local line, err, code = wire.envelope(requests[step.kind](step))
  if line and #line + 1 > wire.MAX_LINE then
    line, err, code = nil, ("%d bytes with escapes, a line has at most %d"):format(#line + 1, wire.MAX_LINE), "ETOOBIG"
  end
  if line then return true end
  if not ways.exec then return nil, ("%s %s: %s"):format(step.kind, step.name, err), code end
  step.by_exec = true
  return true
end

-- Removals come first: a unit before its user, and the user before its group.
local function removals_first(steps)
  local list = {}
  for _, kind in ipairs { "unit", "user", "group" } do
    for _, step in ipairs(steps) do
      if step.remove and step.kind == kind then list[#list + 1] = step end
    end
  end
  for _, step in ipairs(steps) do
    if not step.remove then list[#list + 1] = step end
  end
  return list
end

--- Makes the steps, in this order: removals, groups and users (files may be theirs), mounts (later paths may be on them), files,
--- keys, secrets, units, and the configuration last: the guest acts on it at once, so that everything it refers to must exist.
---@param set table as the user gave it
---@param ways { exec: boolean, stereos: boolean } the protocols that the target speaks
---@param opts { keep_secrets: boolean?, root: string? }
---@param level integer whose line is named where the set is no such set
---@return table[]|nil steps, string?, string? code EINVAL, ETOOBIG, ENOENT, EACCES (a source), ENOTSUP
function M.steps(set, ways, opts, level)
  options.check(set, kinds, "config.push", level + 1)
  local steps, ok, err, code = {}, true, nil, nil
  for _, add in ipairs { { system.add_groups, set.groups }, { system.add_users, set.users }, { add_mounts, set.mounts },
    { files.add, set.files }, { add_keys, set.ssh_keys }, { add_secrets, set.secrets }, { system.add_units, set.units } } do
    if add[2] then ok, err, code = add[1](steps, add[2], level + 1) end
    if not ok then return nil, err, code end
  end
  if set.config then ok, err, code = add_config(steps, set.config, opts.keep_secrets) end
  if not ok then return nil, err, code end
  for _, step in ipairs(steps) do
    ok, err, code = check_way(step, ways, opts)
    if not ok then return nil, err, code end
  end
  return removals_first(steps)
end

return M
