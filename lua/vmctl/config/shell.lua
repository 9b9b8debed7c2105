--- Does the steps of a push by commands in the guest, for guests without a control plane or whose control plane lacks a request.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local log = require "vmctl.log"
local mount_rules = require "vmctl.guest.mounts"
local scripts = require "vmctl.config.shell_scripts"
local shell_system = require "vmctl.config.shell_system"

local M = {}

local SECRETS = require("vmctl.guest.secrets").FOLDER
local IN_MEMORY = { tmpfs = true, ramfs = true, rootfs = true } -- rootfs: an initramfs
local SHARED = { virtiofs = true, ["9p"] = true }
local PIECE = 256 * 1024

local methods = {}
local mt = { __index = methods }

-- Removes all slashes at the end of a folder's path.
local function strip_slashes(path)
  local last = #path
  while last > 0 and path:byte(last) == 47 do last = last - 1 end
  return path:sub(1, last)
end

--- Makes an object that does steps through an exec client.
---@param exec table with run and probe
---@param root? string the folder of the guest that is taken for its /
function M.new(exec, root)
  return setmetatable({ _exec = exec, _root = root and strip_slashes(root) or "" }, mt)
end

local function seconds_left(deadline)
  return math.max(0, deadline - core.now())
end

-- Runs a script. Returns its output, or a failure with the end of its output.
function methods:_run(script, arguments, deadline, more)
  local command = { "sh", "-c", script, "sh", table.unpack(arguments) }
  for name, value in pairs(more or {}) do command[name] = value end
  command.timeout = seconds_left(deadline)
  local done, err, code = self._exec:run(command)
  if not done then return nil, err, code end
  if done.exit_code == 0 and not done.error then return done.stdout end
  local said = log.last_words(done.stderr):gsub("^sh: ", "")
  local how = done.error or done.signal and "killed by signal " .. done.signal or ("exit code %d"):format(done.exit_code)
  return nil, said ~= "" and said or how, "EREMOTE"
end

-- Runs the first command, which resolves the root folder's path; and finds out which agent the guest has.
function methods:_begin(deadline)
  if self._begun then return true end
  local revision, err, code = self._exec:probe(seconds_left(deadline))
  if not revision then return nil, err, code end
  if self._root ~= "" then
    local out
    out, err, code = self:_run('cd -P "$1" && pwd -P', { self._root }, deadline)
    if not out then return nil, "root " .. self._root .. ": " .. err, code end
    self._root = out:gsub("\n$", "")
    if self._root == "/" then self._root = "" end
  end
  self._revision, self._begun = revision, true
  return true
end

-- Gives a content in pieces, as a function, because some agents pass a short string of standard input inside the command line.
local function reader(step)
  if not step.source then
    local rest = step.content
    return function()
      local piece = rest
      rest = nil
      return piece
    end
  end
  local file, err, code, ended
  return function()
    if not file and not ended then file, err, code = fs.open(step.source, "r") end
    if not file then return nil, err, code end
    local piece, why, number = file:read(PIECE)
    if piece and piece ~= "" then return piece end
    file:drop()
    file, ended, err, code = nil, true, why, number
    return nil, err, code
  end
end

local function temporary(path)
  return ("%s/.vmctl-%08x%08x"):format(path:match "^(.*)/", math.random(0) & 0xffffffff, math.random(0) & 0xffffffff)
end

-- Writes a step's content to a path. Returns true and `changed`.
function methods:_replace_file(script, step, path, mode, owner, deadline, user)
  local out, err, code = self:_run(script, { path, temporary(path), mode and ("%o"):format(mode) or "", owner or "",
    tostring(step.size) }, deadline, { stdin = reader(step), user = user })
  if not out then return nil, err, code end
  return true, out:find("changed", 1, true) ~= nil
end

function methods:file(step, deadline)
  return self:_replace_file(scripts.REPLACE_FILE, step, self._root .. step.path, step.mode, step.owner, deadline)
end

function methods:config(step, deadline)
  return self:_replace_file(scripts.REPLACE_FILE, step, self._root .. step.path, step.mode, nil, deadline)
end

local function find_user(passwd, name)
  for line in passwd:gmatch "[^\n]+" do
    local who, uid, gid, home = line:match "^([^:]*):[^:]*:(%d+):(%d+):[^:]*:([^:]*)"
    if who == name then return { uid = uid, gid = gid, home = home } end
  end
end

-- Finds the ssh keys of a user of the guest: { path =, uid =, gid =, own = }.
function methods:_keys_path(step, deadline)
  local out, err, code = self:_run(scripts.USER, { step.user, self._root }, deadline)
  if not out then return nil, err, code end
  local own, passwd = out:match "^(%d+)\n(.*)$"
  local user = own and find_user(passwd, step.user)
  if not user then return errors.fail("EREMOTE", "there is no user '%s'", step.user) end
  if user.home:sub(1, 1) ~= "/" then return errors.fail("EREMOTE", "user '%s' has no home folder", step.user) end
  user.path = ("%s%s/.ssh/authorized_keys"):format(self._root, strip_slashes(user.home))
  user.own = own
  return user
end

-- The commands for a user's folder run as that user if the agent may switch users: the user controls the folder and the links in it.
function methods:ssh_key(step, deadline)
  local user, err, code = self:_keys_path(step, deadline)
  if not user then return nil, err, code end
  local ids, owner, become = user.uid .. ":" .. user.gid, nil, nil
  if user.own == "0" and user.uid ~= "0" then
    if self._revision == "0.1.9" then owner = ids else become = ids end
  end
  return self:_replace_file(scripts.KEYS, step, user.path, 384, owner, deadline, become)
end

-- Finds the mount that a path is on.
local function mount_of(path, mounts)
  local best
  for _, mount in ipairs(mounts) do
    local prefix = mount.path == "/" and "/" or mount.path .. "/"
    if (path .. "/"):sub(1, #prefix) == prefix and (not best or #mount.path >= #best.path) then best = mount end
  end
  return best
end

-- Makes sure that the secrets' folder is in memory, and mounts a tmpfs there if it is not.
function methods:_prepare_secrets(deadline)
  if self._secrets then return true end
  if self._revision == "0.1.9" then
    return errors.fail("ENOTSUP", "this agent gives commands no input: the value would be on a command line, for all to see")
  end
  local folder = self._root .. SECRETS
  local out, err, code = self:_run(scripts.SECRETS, { folder }, deadline)
  if not out then return nil, err, code end
  local real, mounts = out:match "^([^\n]*)\n(.*)$"
  local on = mount_of(real or folder, mount_rules.parse(mounts or ""))
  if not on or not IN_MEMORY[on.type] then
    out, err, code = self:_run(scripts.TMPFS, { folder }, deadline)
    if not out then
      return nil, ("%s is on a disk (%s), and no memory file system could be mounted there: %s"):format(folder,
        on and on.type or "unknown", err), code
    end
  end
  self._secrets = folder
  return true
end

function methods:secret(step, deadline)
  local ok, err, code = self:_prepare_secrets(deadline)
  if not ok then return nil, err, code end
  return self:_replace_file(scripts.REPLACE_FILE, step, self._secrets .. "/" .. step.name, step.mode, nil, deadline)
end

--- Checks the mount at a step's path: true if it is the step's, false if there is none. Waits.
---@return boolean|nil mounted, string?, string? code EBUSY: another share is mounted; EREMOTE: a link leads elsewhere
function methods:mounted(step, deadline)
  local ok, err, code = self:_begin(deadline)
  if not ok then return nil, err, code end
  local path = self._root .. step.path
  local out
  out, err, code = self:_run(scripts.MOUNTS, { path }, deadline)
  if not out then return nil, err, code end
  local on = mount_of(path, mount_rules.parse(out))
  if not on or on.path ~= path or not SHARED[on.type] then return false end -- a share may be mounted over it
  if on.source == step.tag and on.type == step.fs_type and on.read_only == step.read_only then return true end
  return errors.fail("EBUSY", "'%s' (%s%s) is mounted there", on.source, on.type, on.read_only and ", read-only" or "")
end

function methods:mount(step, deadline)
  local there, err, code = self:mounted(step, deadline)
  if there == nil then return nil, err, code end
  if there then return true, false end
  local how = (step.read_only and "ro" or "rw") .. ",nosuid,nodev"
  if step.fs_type == "9p" then how = how .. ",trans=virtio,version=9p2000.L" end
  local out
  out, err, code = self:_run(scripts.MOUNT, { self._root .. step.path, step.fs_type, how, step.tag }, deadline)
  if not out then return nil, err, code end
  return true, true
end

-- Compares a content with the file at a path: true if they differ.
function methods:_differs(step, path, mode, owner, deadline)
  local out, err, code = self:_run(scripts.COMPARE, { path, mode and ("%o"):format(mode) or "", owner or "" }, deadline,
    { stdin = reader(step) })
  if not out then return nil, err, code end
  return out:find("changed", 1, true) ~= nil
end

local differs = {
  file = function(self, step, deadline) return self:_differs(step, self._root .. step.path, step.mode, step.owner, deadline) end,
  config = function(self, step, deadline) return self:_differs(step, self._root .. step.path, step.mode, nil, deadline) end,
  secret = function(self, step, deadline)
    return self:_differs(step, ("%s%s/%s"):format(self._root, SECRETS, step.name), step.mode, nil, deadline)
  end,
  ssh_key = function(self, step, deadline)
    local user, err, code = self:_keys_path(step, deadline)
    if not user then return nil, err, code end
    return self:_differs(step, user.path, 384, user.uid, deadline)
  end,
  mount = function(self, step, deadline)
    local there, err, code = self:mounted(step, deadline)
    if there == nil then return nil, err, code end
    return not there
  end,
}

for _, kind in ipairs { "group", "user", "unit", "start" } do
  methods[kind], differs[kind] = shell_system[kind], shell_system.compare[kind]
end

methods.verify = shell_system.verify

--- Finds out if a step would change anything. Changes nothing. Waits.
---@return boolean|nil would_change, string? message, string? code EREMOTE: the guest's message …
function methods:compare(step, deadline)
  local ok, err, code = self:_begin(deadline)
  if not ok then return nil, err, code end
  return differs[step.kind](self, step, deadline)
end

--- Does a step. Waits.
---@return true|nil, boolean|string changed_or_message, string? code EREMOTE: the guest's message …
function methods:step(step, deadline)
  local ok, err, code = self:_begin(deadline)
  if not ok then return nil, err, code end
  return self[step.kind](self, step, deadline)
end

return M
