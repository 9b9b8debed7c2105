--- A scenario's verbs that copy files and folders.
local core = require "vmctl.core"
local options = require "vmctl.options"
local pipeline = require "vmctl.pipeline"

local M = {}

local copy_options = { timeout = "number" }

local function split(path)
  path = path:gsub("(.)/+$", "%1")
  return path:match "^(.*)/[^/]*$" or ".", path:match "[^/]+$" or path
end

local function checked(self, verb, stages, opts)
  stages.check, stages.timeout = true, opts.timeout or self._group._timeout
  local done, err = pipeline.run(stages)
  if not done then self:_fail(verb, err) end
end

-- In a folder's place or as a new one: what is in `source` is then in `destination`.
local function copy_folder_in(self, vm, source, destination, opts)
  checked(self, "copy_to_guest", {
    { "tar", "-C", source, "-cf", "-", "." },
    { "sh", "-c", 'mkdir -p -- "$1" && tar -C "$1" -xf -', "sh", destination, on = vm },
  }, opts)
end

local function copy_file_in(self, vm, source, mode, destination, opts)
  checked(self, "copy_to_guest", {
    { "cat", source },
    { "sh", "-c", 'mkdir -p -- "$(dirname -- "$1")" && cat > "$1" && chmod "$2" "$1"', "sh", destination, ("%o"):format(mode), on = vm },
  }, opts)
end

--- Copies a file, or what is in a folder, into the guest, with its mode. Folders on the way are made.
---@param source string of this machine
---@param destination string in the guest: the file's own path, or the folder that gets what is in `source`
---@param opts? { timeout: number }|number seconds
function M:copy_to_guest(source, destination, opts)
  opts = options.check(opts, copy_options, "copy_to_guest")
  local vm = self:_running "copy_to_guest"
  local found, err = core.fs.stat(source)
  if not found then self:_fail("copy_to_guest", err) end
  if found.type == "directory" then
    copy_folder_in(self, vm, source, destination, opts)
  else
    copy_file_in(self, vm, source, found.mode & 511, destination, opts) -- 0777
  end
  self._group:note("%s: copy_to_guest %s to %s", self.name, source, destination)
end

-- "file" or "directory", of something in the guest.
local function type_inside(self, vm, path, timeout)
  local done, err = vm:run { "sh", "-c", 'if [ -d "$1" ]; then echo directory; elif [ -e "$1" ]; then echo file; fi', "sh", path,
    timeout = timeout }
  if not done then self:_fail("copy_from_guest", err) end
  local found = done.stdout:match "%a+"
  if not found then self:_fail("copy_from_guest", path .. ": there is no such file in the guest") end
  return found
end

--- Copies a file, or what is in a folder, out of the guest.
---@param source string in the guest
---@param destination? string the file's own path, or the folder that gets what is in `source`; by default a file or folder of
-- that name among the artefacts
---@param opts? { timeout: number }|number seconds
---@return string path where it is now
function M:copy_from_guest(source, destination, opts)
  opts = options.check(opts, copy_options, "copy_from_guest")
  local vm = self:_running "copy_from_guest"
  local timeout = opts.timeout or self._group._timeout
  local kind = type_inside(self, vm, source, timeout)
  destination = destination or self._group._artefacts:file((select(2, split(source))))
  if kind == "directory" then
    checked(self, "copy_from_guest", {
      { "tar", "-C", source, "-cf", "-", ".", on = vm },
      -- Who wrote the archive is not trusted: no owners, no absolute names, nothing outside.
      { "sh", "-c", 'mkdir -p -- "$1" && tar -C "$1" --no-same-owner -xf -', "sh", destination },
    }, opts)
  else
    checked(self, "copy_from_guest", {
      { "cat", source, on = vm }, { "sh", "-c", 'cat > "$1"', "sh", destination },
    }, opts)
  end
  self._group:note("%s: copy_from_guest %s to %s", self.name, source, destination)
  return destination
end

return M
