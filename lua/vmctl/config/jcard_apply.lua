--- Applies a jcard.toml as the reference's host does beside sending it: each of [secrets] becomes a secret, with ${VAR} from this
--- process' environment, and each [[shared]] a mount of the tag share0, share1 …
--- (docs/wire/stereos.md#seen-with-the-real-client-and-a-rebuilt-daemon). No function here waits.
local errors = require "vmctl.errors"
local jcard = require "vmctl.config.jcard"

local M = {}

local FS_TYPE = "9p" -- of shares that QEMU gives

local function expand(text)
  return (text:gsub("%${([^}]+)}", function(name) return os.getenv(name) or "" end))
end

local function secrets_of(section, secrets)
  for _, pair in ipairs(section.pairs) do
    local value = jcard.string(pair.value)
    if not value then return errors.fail("EINVAL", "config: [secrets] %s is no string", pair.key) end
    secrets[pair.key] = expand(value)
  end
  return true
end

local function mount_of(section, number)
  local mount = { tag = "share" .. number, fs_type = FS_TYPE }
  for _, pair in ipairs(section.pairs) do
    local flag = pair.value:match "^(%l+)"
    if pair.key == "guest" then mount.guest_path = jcard.string(pair.value) end
    if pair.key == "readonly" then mount.read_only = flag == "true" end
    if pair.key == "readonly" and flag ~= "true" and flag ~= "false" then mount.guest_path = nil end
  end
  if mount.guest_path then return mount end
  return errors.fail("EINVAL", "config: [[shared]] number %d: a text as 'guest', and true or false as 'readonly' expected", number + 1)
end

--- The secrets and mounts that a jcard.toml asks for.
---@param text string
---@return { secrets: table<string, string>, mounts: table[] }|nil found, string?, string? code EINVAL
function M.read(text)
  local sections, why = jcard.sections(text)
  if not sections then return errors.fail("EINVAL", "config: %s", why) end
  local found = { secrets = {}, mounts = {} }
  for _, section in ipairs(sections) do
    local ok, err, code = true, nil, nil
    if section.name == "secrets" then
      ok, err, code = secrets_of(section, found.secrets)
    elseif section.name == "shared" then
      ok, err, code = mount_of(section, #found.mounts)
      found.mounts[#found.mounts + 1] = ok
    elseif section.name == "" then
      for _, pair in ipairs(section.pairs) do
        if pair.key == "secrets" or pair.key == "shared" then
          return errors.fail("EINVAL", "config: '%s' is applied as a section of its own, not as a value", pair.key)
        end
      end
    end
    if not ok then return nil, err, code end
  end
  return found
end

--- A set with the secrets and mounts of its configuration. Those of the set itself take precedence, and its mounts come first.
---@param set table
---@return table|nil set a new one, string?, string? code EINVAL
function M.apply(set)
  if type(set) ~= "table" or type(set.config) ~= "string" then return set end -- its check reports the mistake
  local found, err, code = M.read(set.config)
  if not found then return nil, err, code end
  local whole = {}
  for name, value in pairs(set) do whole[name] = value end
  for name, value in pairs(set.secrets or {}) do found.secrets[name] = value end
  local mounts = {}
  for _, list in ipairs { set.mounts or {}, found.mounts } do
    for _, mount in ipairs(list) do mounts[#mounts + 1] = mount end
  end
  whole.secrets, whole.mounts = found.secrets, mounts
  return whole
end

return M
