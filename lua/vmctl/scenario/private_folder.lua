--- Private temporary folders that are removed when their process ends, even by a signal. A child process reads a pipe, which has no
--- writer once this process has ended, and then removes the folder. If that child was killed as well, the next process that makes
--- such a folder removes the old one: the folder's name holds its maker's process id and start time.
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

-- The start time of a process, in ticks since the boot; nil when there is no such process. Process ids are reused, so the start time
-- tells two processes of one id apart.
local function start_time(pid)
  local line = first_line(("/proc/%d/stat"):format(pid))
  local fields = line and line:match "^.*%) (.*)$" -- after the name, which may hold any character
  local n = 2
  for field in (fields or ""):gmatch "%S+" do
    n = n + 1
    if n == 22 then return math.tointeger(tonumber(field)) end
  end
end

-- The PID namespace of this process: other containers may share the folder.
local function pid_namespace()
  local found = core.fs.stat "/proc/self/ns/pid"
  return found and found.inode or 0
end

local function temporary_folder() return os.getenv "TMPDIR" or "/tmp" end

-- Parses a folder's name: "KIND-NAMESPACE.PID.START-XXXXXX", hexadecimal.
local function maker_of(name, kind)
  if name:sub(1, #kind + 1) ~= kind .. "-" then return nil end
  local where, pid, begin = name:sub(#kind + 2):match "^(%x+)%.(%x+)%.(%x+)%-%w+$"
  if where then return tonumber(where, 16), tonumber(pid, 16), tonumber(begin, 16) end
end

--- Removes the folders of this kind and user whose processes have ended. Does not wait.
---@param kind string
function M.sweep(kind)
  local root, here, uid = temporary_folder(), pid_namespace(), core.fs.identity()
  for _, name in ipairs(core.fs.list(root) or {}) do
    local where, pid, begin = maker_of(name, kind)
    if where == here and start_time(pid) ~= begin then
      local path = root .. "/" .. name
      local found = core.fs.stat(path, true)
      if found and found.type == "directory" and found.uid == uid then artefacts.remove(path) end
    end
  end
end

local swept = {}

--- Makes an empty folder of mode 0700 in TMPDIR. The first call for a kind in this process also removes the folders of ended
--- processes. Does not wait.
---@param kind string the beginning of its name
---@return vmctl.PrivateFolder|nil folder with path, close; string?, string?
function M.open(kind)
  if not swept[kind] then M.sweep(kind) end
  swept[kind] = true
  local _, _, pid = core.fs.identity()
  local prefix = ("%s/%s-%x.%x.%x"):format(temporary_folder(), kind, pid_namespace(), pid, start_time(pid) or 0)
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

--- Removes the folder and all in it. Idempotent, does not wait.
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
