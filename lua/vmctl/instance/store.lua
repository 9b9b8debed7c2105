--- The store of instances: a private folder for each in $XDG_DATA_HOME/vmctl/instances, with
---   spec.json    its description; written before the folder gets its name, and never changed
---   root.erofs   the image that it was made of, a second name of the file in the cache
---   disk.*       its writes to its root
---   state.json   how far its owner, the process that runs it, has come, and how its last run ended
---   lock         held by the owner as long as it lives, and by a process that removes the instance
---   owner.log    the owner's messages
--- A name that begins with a point is no instance: it is being made, or being removed.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local file_lock = require "vmctl.base.file_lock"
local fs = require "vmctl.base.fs"
local json = require "vmctl.json"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local private_folder = require "vmctl.base.private_folder"
local shape = require "vmctl.json.shape"
local share_home = require "vmctl.machine.share_home"

local M = {}

local MOST = 1 << 20                -- bytes of a file
local LOCK_LIMIT = 60               -- seconds
local PROBE = 1                     -- seconds for which others may look whether a lock is held
local GOING, MAKING = ".gone-", ".new-"

local SPEC = { version = "integer", name = "string", created = "integer", options = {}, root = {} }
local STATE = { phase = "string", at = "integer", error = "string?", pid = "integer?", ready = "number?", folder = "string?" }

--- Checks the name of an instance. Does not wait.
---@param name string
---@return true|nil, string?, string? code EINVAL
function M.check_name(name)
  if share_home.is_name(name) and name ~= "host" then return true end
  return errors.fail("EINVAL", "'%s': an instance's name has letters, digits, '_', '-' and '.', 40 at most%s", log.one_line(name, 60),
    name == "host" and ", and host is this machine" or "")
end

--- A suggestion of a similar name, for a message; "" if there is none. Does not wait.
---@param name string
---@param names string[]
---@return string
function M.guess(name, names)
  local near = #name <= 100 and options.nearest(name, names)
  return near and (" (did you mean '%s'?)"):format(near) or ""
end

--- The names of the instances. Does not wait, but for the file system.
---@return string[]
function M.names()
  local home = private_folder.data "instances"
  local names = {}
  for _, name in ipairs(home and fs.list(home) or {}) do
    if share_home.is_name(name) then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

--- The folder of an instance. Does not wait, but for the file system.
---@param name string
---@return string|nil path, string?, string? code ENOENT: there is no such instance; EINVAL; EACCES
function M.folder(name)
  local ok, err, code = M.check_name(name)
  local home
  if ok then home, err, code = private_folder.data "instances" end
  if home then ok, err, code = private_folder.check(home .. "/" .. name) end
  if home and ok then return home .. "/" .. name end
  if code ~= "ENOENT" then return nil, err, code end
  return errors.fail("ENOENT", "there is no instance '%s'%s", name, M.guess(name, M.names()))
end

-- Its folder is this user's alone, but a file may be damaged.
local function read(path, want)
  local text, err, code = core.fs.read(path, MOST)
  if not text then return nil, err, code end
  local value = json.decode(text)
  local why = shape.wrong(value, want, "it")
  if why then return errors.fail("EPROTO", "%s: %s", path, why) end
  return value
end

--- The description that an instance was made from. Does not wait, but for the file system.
---@param name string
---@return { name: string, created: integer, root: table, options: table, image: { digest: string, name: string? }? }|nil
---@return string?, string? code ENOENT, EPROTO
function M.read(name)
  local folder, err, code = M.folder(name)
  if not folder then return nil, err, code end
  return read(folder .. "/spec.json", SPEC)
end

--- Writes an instance's description into its folder. Does not wait, but for the file system.
---@return true|nil, string?, string?
function M.write(folder, spec) return fs.replace(folder .. "/spec.json", assert(json.encode(spec))) end

--- Writes the owner's state; the lock is held. Does not wait, but for the file system.
---@param folder string
---@param state { phase: "starting"|"running"|"stopped"|"failed", error: string?, pid: integer?, ready: number?, folder: string? }
---@return true|nil, string?, string?
function M.set_state(folder, state)
  state.at = os.time()
  return fs.replace(folder .. "/state.json", assert(json.encode(state)))
end

-- Locks

--- Takes the lock of an instance. Waits for a second at most: a check if an instance runs holds it for a moment.
---@param folder string
---@return userdata|nil lock, string?, string? code EBUSY: it runs
function M.lock(folder) return file_lock.take(folder .. "/lock", PROBE) end

-- Tells if the owner lives.
local function is_held(folder)
  local file <close> = core.fs.open(folder .. "/lock")
  if not file then return false end
  local ok, _, code = file:lock(false)
  return not ok and code == "EBUSY"
end

--- The state of an instance. Does not wait, but for the file system.
---@param folder string
---@return { phase: "created"|"starting"|"running"|"stopped"|"failed", at: integer?, error: string?, pid: integer?, ready: number?,
--- folder: string? } state
-- at: seconds of the epoch; pid: QEMU's; folder: of its sockets; error: why it has failed
function M.state(folder)
  local held = is_held(folder)
  local state = read(folder .. "/state.json", STATE) or { phase = "created" }
  local was_live = state.phase == "starting" or state.phase == "running"
  if held and not was_live then return { phase = "starting", at = state.at } end
  if was_live and not held and not is_held(folder) then
    return { phase = "failed", at = state.at, error = "the process that ran it was killed" }
  end
  return state
end

--- The failure of reaching an instance that has no sockets here. Does not wait, but for the file system.
---@param name string
---@param folder string
---@return nil, string, string code ENOENT
function M.unreachable(name, folder)
  local state = M.state(folder)
  if state.phase == "starting" then return errors.fail("ENOENT", "the instance '%s' is being started", name) end
  if state.phase == "running" then
    return errors.fail("ENOENT", "the instance '%s' runs with its sockets in %s: another $XDG_RUNTIME_DIR is set here", name,
      state.folder or "another folder")
  end
  return errors.fail("ENOENT", "the instance '%s' does not run (vmctl start %s starts it)", name, name)
end

-- Making and removing

local function sweep(home)
  local root <close>, err, code = fs.root(home) -- luacheck: ignore
  if not root then return nil, err, code end
  for _, name in ipairs(fs.list(home) or {}) do
    if name:find(GOING, 1, true) == 1 or name:find(MAKING, 1, true) == 1 then root:remove_all("/" .. name) end
  end
  return true
end

local function spare(home, mark) return ("%s/%s%012x"):format(home, mark, math.random(0) & 0xffffffffffff) end

-- Runs a function while no other process makes or removes an instance; removes leftovers of killed processes.
local function alone(fn)
  local home, err, code = private_folder.data("instances", true)
  local held
  if home then held, err, code = file_lock.take(home .. "/.lock", LOCK_LIMIT) end
  if not held then return nil, err, code end
  local guard <close> = held -- luacheck: ignore
  sweep(home)
  return fn(home)
end

--- The failure of making an instance that exists. Does not wait.
---@return nil, string, string
function M.taken(name)
  return errors.fail("EEXIST", "an instance '%s' is there already (vmctl rm %s removes it)", name, name)
end

--- Makes the folder of an instance: all of it, or nothing. Waits.
---@param name string
---@param fill fun(folder: string): any, string?, string? fills a folder that has another name until then
---@return string|nil path, string?, string? code EEXIST
function M.make(name, fill)
  return alone(function(home)
    local path, new = home .. "/" .. name, spare(home, MAKING)
    if private_folder.lstat(path) then return M.taken(name) end
    local ok, err, code = private_folder.make(new)
    if ok then ok, err, code = fill(new) end
    if ok then ok, err, code = fs.rename(new, path) end
    if ok then return path end
    sweep(home)
    return nil, err, code
  end)
end

--- Removes an instance that does not run. Waits.
---@param folder string
---@return true|nil, string?, string? code EBUSY: it runs; ENOENT
function M.remove(folder)
  return alone(function(home)
    local held <close>, err, code = M.lock(folder) -- luacheck: ignore
    if not held then return nil, err, code end
    local ok
    ok, err, code = fs.rename(folder, spare(home, GOING))
    if not ok then return nil, err, code end
    sweep(home)
    return true
  end)
end

return M
