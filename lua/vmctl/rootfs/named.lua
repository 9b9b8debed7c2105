--- Images under names of this user's, as `vmctl image` keeps them: DATA/images/HASH-OF-NAME.json describes an image, and
--- DATA/images/DIGEST.erofs is a second name of the file in the cache. DATA is $XDG_DATA_HOME/vmctl.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local file_lock = require "vmctl.base.file_lock"
local fs = require "vmctl.base.fs"
local json = require "vmctl.json"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local private_folder = require "vmctl.base.private_folder"
local second_name = require "vmctl.rootfs.second_name"
local shape = require "vmctl.json.shape"

local M = {}

local LONGEST, SHOWN = 200, 100   -- bytes of a name; of one in a message
local MOST = 1 << 20              -- bytes of a description
local LOCK_LIMIT = 60             -- seconds

local SHAPE = { name = "string", digest = "string", arch = "string", from = "string", created = "integer", config = {} }

--- Tells if a text can be the name of an image: "tool", "debian:12", "localhost:5000/some/tool:1". Does not wait.
---@param name string
---@return true|nil, string?, string? code EINVAL
function M.check_name(name)
  if #name <= LONGEST and name:find "^%w[%w._:/@-]*$" and not name:find "^sha256:" and not name:find "%.%." then return true end
  return errors.fail("EINVAL", "'%s': an image's name has letters, digits, '.', '_', '-', ':', '/' and '@', %d at most",
    log.one_line(name, SHOWN), LONGEST)
end

local function folder() return private_folder.data("images", true) end

local function place(home, name) return ("%s/%s.json"):format(home, core.sha256(name):hex()) end

local function file_of(home, digest) return ("%s/%s.erofs"):format(home, digest:sub(8)) end

-- Reads a description. The folder is this user's alone; the file's content is checked nevertheless.
local function read(home, path)
  local text = core.fs.read(path, MOST)
  local entry = text and json.decode(text)
  if type(entry) ~= "table" or shape.wrong(entry, SHAPE, "it") or not entry.digest:find "^sha256:%x+$" then return nil end
  entry.path = file_of(home, entry.digest)
  return entry
end

local function lock(home) return file_lock.take(home .. "/.lock", LOCK_LIMIT) end

--- The images that have names, by their names. Waits for the file system alone.
---@return { name: string, digest: string, arch: string, from: string, created: integer, config: table, has_init: string?,
--- path: string }[]|nil entries
---@return string?, string? code EACCES: the folder is not this user's alone
function M.list()
  local home, err, code = private_folder.data "images"
  if not home and code == "ENOENT" then return {} end
  if not home then return nil, err, code end
  local entries = {}
  for _, name in ipairs(fs.list(home) or {}) do
    entries[#entries + 1] = #name == 69 and name:find "^%x+%.json$" and read(home, home .. "/" .. name) or nil
  end
  table.sort(entries, function(a, b) return a.name < b.name end)
  return entries
end

--- Finds an image by its name, or by its digest or the beginning of that ("sha256:" and six digits at least). Waits for the file
--- system alone.
---@param reference string
---@return table|nil entry as in `list`, string?, string? code ENOENT, EINVAL: several begin so
function M.find(reference)
  local entries, err, code = M.list()
  if not entries then return nil, err, code end
  local found
  for _, each in ipairs(entries) do
    if each.name == reference then return each end
    if #reference >= 13 and each.digest:sub(1, #reference) == reference then
      if found and found.digest ~= each.digest then return errors.fail("EINVAL", "several images begin with %s", reference) end
      found = each
    end
  end
  if found then return found end
  local names = {}
  for i, each in ipairs(entries) do names[i] = each.name end
  local near = #reference <= SHOWN and options.nearest(reference, names)
  return errors.fail("ENOENT", "there is no image '%s' here (%s)", log.one_line(reference, SHOWN),
    near and ("did you mean '%s'?"):format(near) or "vmctl image ls shows which are")
end

--- The failure of taking a name that another image has. Does not wait.
---@return nil, string, string
function M.taken(name)
  return errors.fail("EEXIST", "an image '%s' is there already (vmctl image rm %s removes it)", name, name)
end

--- Keeps an image under a name. Waits.
---@param name string
---@param image table of vmctl.rootfs.image
---@param opts { from: string, replace: boolean? } from: what it was made of, a root's text (the init of "dir:" and "tar:" is started);
-- replace: an image of that name loses it
---@return table|nil entry, string?, string? code EEXIST: another image has that name; EINVAL
function M.keep(name, image, opts)
  local ok, err, code = M.check_name(name)
  local home, held
  if ok then home, err, code = folder() end
  if home then held, err, code = lock(home) end
  if not held then return nil, err, code end
  local guard <close> = held -- luacheck: ignore
  local path = place(home, name)
  local before = read(home, path)
  if before and not opts.replace and before.digest ~= image.digest then
    return M.taken(name)
  end
  local is_system = opts.from:find "^dir:" or opts.from:find "^tar:"
  local entry = { name = name, digest = image.digest, arch = image.arch, from = opts.from, created = os.time(), config = image.config,
    has_init = is_system and image.has_init or nil }
  ok, err, code = second_name.give(image.path, file_of(home, image.digest))
  if ok then ok, err, code = fs.replace(path, assert(json.encode(entry))) end
  if not ok then return nil, err, code end
  M.sweep(home)
  entry.path = file_of(home, image.digest)
  return entry
end

--- Removes files without a name: of images that have lost theirs, and of killed processes. The lock is held.
---@param home string
function M.sweep(home)
  local used = {}
  for _, each in ipairs(M.list() or {}) do used[each.digest:sub(8)] = true end
  for _, name in ipairs(fs.list(home) or {}) do
    local digest, rest = name:match "^(%x+)%.erofs(.*)$"
    if digest and (rest ~= "" or not used[digest]) then fs.remove(home .. "/" .. name) end
  end
end

--- Removes a name from an image; the file is removed with its last name. Waits.
---@param name string
---@return true|nil, string?, string? code ENOENT
function M.forget(name)
  local home, err, code = folder()
  local held, ok
  if home then held, err, code = lock(home) end
  if not held then return nil, err, code end
  local guard <close> = held -- luacheck: ignore
  ok, err, code = fs.remove(place(home, name))
  if not ok then return nil, err, code end
  M.sweep(home)
  return true
end

return M
