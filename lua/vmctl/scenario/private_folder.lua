--- Private temporary folders that never outlive the process that made them. A child removes a folder when this process ends without
--- having done so: the pipe that it reads has no writer then. Where that child was killed as well, the next process that makes a
--- folder finds the old one, whose name tells its maker, and removes it.
local artefacts = require "vmctl.scenario.artefacts"
local core = require "vmctl.core"
local process = require "vmctl.process"

local M = {}

---@class vmctl.PrivateFolder
local methods = {}
local mt = { __name = "vmctl.PrivateFolder", __index = methods }

local REMOVER = 'cat >/dev/null; rm -rf -- "$1"'

local function first_line(path)
  local file <close> = io.open(path) -- luacheck: ignore
  return file and file:read "l"
end

-- When a process began, in ticks since the boot; nil when there is none. A number of a process is used again, with another beginning.
local function beginning_of(pid)
  local line = first_line(("/proc/%d/stat"):format(pid))
  local fields = line and line:match "^.*%) (.*)$" -- behind the name, which may hold anything
  local n = 2
  for field in (fields or ""):gmatch "%S+" do
    n = n + 1
    if n == 22 then return math.tointeger(tonumber(field)) end
  end
end

-- The space of process numbers that ours is one of: other containers may share the folder.
local function space()
  local found = core.fs.stat "/proc/self/ns/pid"
  return found and found.inode or 0
end

local function temporary_folder() return os.getenv "TMPDIR" or "/tmp" end

-- A name's maker: "KIND-SPACE.PID.BEGINNING-XXXXXX", hexadecimal.
local function maker_of(name, kind)
  if name:sub(1, #kind + 1) ~= kind .. "-" then return nil end
  local where, pid, begin = name:sub(#kind + 2):match "^(%x+)%.(%x+)%.(%x+)%-%w+$"
  if where then return tonumber(where, 16), tonumber(pid, 16), tonumber(begin, 16) end
end

--- Removes folders of this kind whose makers, processes of this user, are gone. Does not wait.
---@param kind string
function M.sweep(kind)
  local root, here, uid = temporary_folder(), space(), core.fs.identity()
  for _, name in ipairs(core.fs.list(root) or {}) do
    local where, pid, begin = maker_of(name, kind)
    if where == here and beginning_of(pid) ~= begin then
      local path = root .. "/" .. name
      local found = core.fs.stat(path, true)
      if found and found.type == "directory" and found.uid == uid then artefacts.remove(path) end
    end
  end
end

local swept = {}

--- Makes an empty folder of mode 0700, in TMPDIR. The first one of a kind in this process removes those that were left behind. Does not
--- wait.
---@param kind string what its name begins with
---@return vmctl.PrivateFolder|nil folder with path, close; string?, string?
function M.open(kind)
  if not swept[kind] then M.sweep(kind) end
  swept[kind] = true
  local _, _, pid = core.fs.identity()
  local prefix = ("%s/%s-%x.%x.%x"):format(temporary_folder(), kind, space(), pid, beginning_of(pid) or 0)
  local path, err, code = core.fs.temporary(prefix)
  if not path then return nil, err, code end
  local remover
  remover, err, code = process.spawn { "sh", "-c", REMOVER, "sh", path, stdin = "pipe" }
  if not remover then
    artefacts.remove(path)
    return nil, err, code
  end
  return setmetatable({ path = path, _remover = remover }, mt)
end

--- Removes it, and all in it. Idempotent, does not wait.
---@return true
function methods:close()
  if self._remover then
    artefacts.remove(self.path)
    self._remover:close()
  end
  self._remover = nil
  return true
end

mt.__close = methods.close
mt.__gc = methods.close

return M
