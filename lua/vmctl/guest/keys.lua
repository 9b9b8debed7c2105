--- inject_ssh_key: replaces a user's authorized_keys as a whole (docs/wire/stereos.md#guest-actions). The user controls the home folder
--- and may have put links there, so links are not followed. A .ssh of another owner or mode, which sshd
--- would not use, is repaired.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local safe_file = require "vmctl.base.safe_file"
local users = require "vmctl.process.users"

local M = {}

local FILE_MODE, FOLDER_MODE = 384, 448 -- 0600, 0700

local types = {}
for _, name in ipairs {
  "ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
  "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
} do types[name] = true end

-- The reason why a key is invalid, or nil. Its blob begins with a length and the type again.
local function fault(line)
  if line:find "[%c\127]" then return "a control character" end
  local kind, blob = line:match "^(%S+) +(%S+)"
  if not types[kind or line:match "^%S+"] then return "it does not begin with a known type of key" end
  local bytes = blob and core.base64_decode(blob)
  if not bytes or bytes == "" then return "the key itself is no base64" end
  local ok, inner, rest = pcall(string.unpack, ">s4", bytes)
  if not ok or inner ~= kind or rest > #bytes then return "the key itself is not of the type that it names" end
end

--- Checks the text of an authorized_keys file: keys that begin with a known type, comments, empty lines.
---@param text string
---@return string|nil text with a line feed at its end, string?, string? code EINVAL
function M.check(text)
  local number, keys = 0, 0
  for line in (text:gsub("\n$", "") .. "\n"):gmatch "([^\n]*)\n" do
    number = number + 1
    local why
    if line:find "^ *#" then
      why = line:find "[%c\127]" and "a control character"
    elseif line:find "[^ ]" then
      why, keys = fault(line), keys + 1
    end
    if why then return errors.fail("EINVAL", "line %d of the keys: %s", number, why) end
  end
  if keys == 0 then return errors.fail("EINVAL", "there is no key in it") end
  return (text:match "^.*[^\n]" or "") .. "\n"
end

-- A user of the passwd file, by name alone.
local function find_user(name, root)
  if safe_file.unfit(name) or name:find("[:/]") then return errors.fail("EINVAL", "the user's name is not usable") end
  local user = users.resolve(name, root)
  if not user or user.name ~= name then return errors.fail("ENOENT", "there is no user '%s'", name) end
  local home = user.home or ""
  if home:sub(1, 1) ~= "/" or ("/" .. home .. "/"):find("/../", 1, true) then
    return errors.fail("EINVAL", "the home of user '%s' is no absolute path", name)
  end
  user.home = home:gsub("//+", "/"):gsub("(.)/$", "%1")
  return user
end

-- The folder above the home, and the path from there to .ssh. Folders above the home belong to root, and may be links.
local function find_ssh(user, root)
  local above, name = safe_file.split(user.home)
  local base, err, code = fs.real(root .. above)
  if not base then return nil, err, code end
  if name == "" then return base, ".ssh" end
  local home = fs.stat(base .. "/" .. name, true)
  if not home or home.type ~= "directory" then
    return errors.fail(home and "ENOTDIR" or "ENOENT", "the home of user '%s', %s, is %s", user.name, user.home,
      home and "no folder" or "not there")
  end
  return base, name .. "/.ssh"
end

local function inject(root, payload)
  local keys, err, code = M.check(payload.public_key)
  if not keys then return nil, err, code end
  local user
  user, err, code = find_user(payload.user, root)
  if not user then return nil, err, code end
  local base, ssh, why = find_ssh(user, root)
  if not base then return nil, ssh, why end
  return fs.replace_in(base, ssh, "authorized_keys", keys,
    { mode = FILE_MODE, folder_mode = FOLDER_MODE, uid = user.uid, gid = user.gid, lenient = root ~= "", repair = true })
end

--- The handler of inject_ssh_key.
---@param opts { root: string }
---@return fun(payload: table): true|nil, table|string, string? code EINVAL: a key, or the name; ENOENT: no such user
function M.handler(opts)
  return function(payload)
    local ok, changed, code = inject(opts.root, payload)
    if not ok then return nil, changed, code end
    return true, { changed = changed }
  end
end

return M
