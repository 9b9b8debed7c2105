--- The calls of core.fs, made by worker threads while the task waits: a share whose server is gone, or a disk that does not
--- answer, holds up only the caller. The functions and methods are those of
--- core.fs, with the same results (EINVAL for a NUL byte in a path), and ETIMEDOUT (30 s, or the task's own limit), EBUSY (too many calls
--- hang) and ECANCELED.
--- In a cancelled task a call is made, but its end is not waited for, so that a closing object can remove its files.
local core = require "vmctl.core"

local M = {}

local raw, work = core.fs, core.work

for _, name in ipairs {
  "chmod", "chown", "filesystem", "folders", "list", "listen", "mkdir", "mount", "read", "real", "remove", "rename", "replace",
  "replace_in",
  "stat", "symlink", "sync", "unmount",
} do
  local fn = assert(raw[name], name)
  M[name] = function(...) return work(nil, name, fn, ...) end
end

M.identity, M.temporary, M.watch = raw.identity, raw.temporary, raw.watch

--- A file of a root. On a local file system it is read and written at once; sync always uses a worker.
---@class vmctl.WaitingFile: vmctl.File
local files = {}
local files_mt = { __name = "vmctl.WaitingFile", __index = files }

--- A folder that stands for "/". Calls that stay on a local file system are made at once.
---@class vmctl.WaitingRoot: vmctl.Root
local roots = {}
local roots_mt = { __name = "vmctl.WaitingRoot", __index = roots }

local function wrap_file(file)
  return setmetatable({ _file = file, _quick = file:quick() }, files_mt)
end

local function add_file_methods(class, names, waits)
  for name in names:gmatch "%S+" do
    files[name] = function(self, ...)
      local file = self._file
      if self._quick and not waits then return file[name](file, ...) end
      return work(nil, name, class[name], file, ...)
    end
  end
end

-- A near root (see core.fs) fails with EXDEV, and has done nothing, where it would have to leave its file system.
local function add_root_methods(class, names, waits)
  for name in names:gmatch "%S+" do
    roots[name] = function(self, ...)
      local near = not waits and self._near
      if near then
        local result, more, code = near[name](near, ...)
        if result or code ~= "EXDEV" then return result, more, code end
      end
      return work(nil, name, class[name], self._root, ...)
    end
  end
end

local class_of = { root = assert(raw.root "/") }
class_of.file = assert(class_of.root:open("/", "rd"))

add_file_methods(class_of.file, "read read_counted write seek truncate stat chmod chown chtimes extent close")
add_file_methods(class_of.file, "sync", true)
add_root_methods(class_of.root, "stat list mkdir remove rename symlink link readlink chmod chown chtimes real xattrs set_xattr")
add_root_methods(class_of.root, "remove_all", true)

class_of.file:close()
class_of.root:close()

--- Sends a part of it as a frame. See write_file_frame of vmctl.Stream. Waits.
---@return boolean|nil done false: it has to be read and written, string?, string?
function files:send_counted(stream, type, most, timeout)
  return self._quick and stream:write_file_frame(type, self._file, most, timeout)
end

--- Closes it without waiting for that.
function files:drop()
  if self._quick then self._file:close() else core.work_later("close", self._file.close, self._file) end
end

files_mt.__close = files.drop
files_mt.__gc = files.drop

local function open_near(self, path, letters, mode)
  if not self._near then return nil, nil, "EXDEV" end
  return self._near:open(path, letters, mode)
end

--- root:open(path, letters, mode) as vmctl.Root has it. Waits.
---@return vmctl.WaitingFile|nil, string?, string?
function roots:open(path, letters, mode)
  local file, err, code = open_near(self, path, letters, mode)
  if code == "EXDEV" then
    file, err, code = work(nil, "open", self._root.open, self._root, path, letters, mode)
  end
  if not file then return nil, err, code end
  return wrap_file(file)
end

--- Closes it. Does not wait: its descriptor has nothing to be written.
function roots:close()
  if self._near then self._near:close() end
  return self._root:close()
end

roots_mt.__close = roots.close

--- Opens a folder as a root. Waits.
---@param path string
---@param strict? boolean see core.fs.root
---@return vmctl.WaitingRoot|nil, string?, string?
function M.root(path, strict)
  local root, err, code = work(nil, "root", raw.root, path, strict)
  if not root then return nil, err, code end
  return setmetatable({ _root = root, _near = root:near() }, roots_mt)
end

--- Tells if a folder is on a local file system, whose calls need no worker. Waits.
---@param path string
---@return boolean|nil, string?, string? code of a folder that cannot be opened, or does not answer
function M.is_local(path)
  local root <close>, err, code = M.root(path) -- luacheck: ignore
  if not root then return nil, err, code end
  return root._near ~= nil
end

--- Opens a file by its path; a relative one is looked up in the working folder. Waits, but not for the other end of a FIFO.
---@param path string
---@param letters? string see vmctl.Root's open
---@param mode? integer of a file that is made
---@return vmctl.WaitingFile|nil, string?, string?
function M.open(path, letters, mode)
  if path:sub(1, 1) ~= "/" then
    local here, err, code = M.real "."
    if not here then return nil, err, code end
    path = here .. "/" .. path
  end
  local root <close> = assert(raw.root "/") -- that file system answers
  local file, err, code = work(nil, "open", root.open, root, path, letters, mode)
  if not file then return nil, err, code end
  return wrap_file(file)
end

return M
