--- inject_secret: writes each secret to a file in memory; a secret must not reach a disk (docs/wire/stereos.md#guest-actions).
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local safe_file = require "vmctl.base.safe_file"

local M = {}

--- The folder of the secrets.
M.FOLDER = "/run/stereos/secrets"

local MODE, HIGHEST, FOLDER_MODE = 384, 511, 448 -- 0600, 0777, 0700
local NAME_LENGTH = 255
local MEMORY = { tmpfs = true, ramfs = true }
local MOUNT_OPTIONS = "mode=0700,size=16m"

--- The reason why a name is invalid, nil for a valid one. agentd makes an environment variable of each file, and skips names that begin
--- with a dot, like those of our temporary files.
---@param name string
---@return string? why
function M.unfit(name)
  local why = safe_file.unfit(name)
  if why then return why end
  if #name > NAME_LENGTH then return ("longer than %d bytes"):format(NAME_LENGTH) end
  if name:find("/", 1, true) then return "it has a '/'" end
  if name:find("..", 1, true) then return "it has '..'" end
  if name:sub(1, 1) == "." then return "it begins with a dot" end
end

-- Refuses decimal 600, a likely mistake for 0600: to the kernel it is 01130.
local function check_mode(mode)
  if mode <= HIGHEST then return true end
  local meant = ("%d"):format(mode):match "^[0-7][0-7][0-7]$"
  local hint = meant and ("; octal 0%s is %d"):format(meant, tonumber(meant, 8)) or ""
  return errors.fail("EINVAL", "mode %d (octal 0%o) is over 0777: a decimal number is expected%s", mode, mode, hint)
end

-- Makes the folder: in memory, by a mount unless the guest has a root folder of its own, and accessible to its owner only.
local function prepare(folder, in_root)
  local real, err, code = safe_file.folder(folder, { folder_mode = FOLDER_MODE, repair = true })
  if not real or in_root then return real, err, code end
  local kind
  kind, err, code = fs.filesystem(real)
  if not kind then return nil, err, code end
  if MEMORY[kind] then return real end
  local ok
  ok, err, code = fs.mount("tmpfs", real, "tmpfs", "nosuid,nodev,noexec", MOUNT_OPTIONS)
  if ok then return real end
  return nil, ("%s is not in memory, and can not be: %s"):format(folder, err), code
end

local function inject(folder, in_root, payload)
  local why = M.unfit(payload.name)
  if why then return errors.fail("EINVAL", "the secret's name is not usable: %s", why) end
  local ok, err, code = check_mode(payload.mode)
  if not ok then return nil, err, code end
  local real
  real, err, code = prepare(folder, in_root)
  if not real then return nil, err, code end
  return fs.replace_in("/", real, payload.name, payload.value, { mode = payload.mode ~= 0 and payload.mode or MODE })
end

--- The handler of inject_secret.
---@param opts { root: string, secrets_dir: string? }
---@return fun(payload: table): true|nil, table|string, string? code EINVAL: the name or the mode
function M.handler(opts)
  local folder = opts.root .. (opts.secrets_dir or M.FOLDER)
  return function(payload)
    local ok, changed, code = inject(folder, opts.root ~= "", payload)
    if not ok then return nil, changed, code end
    return true, { changed = changed }
  end
end

return M
