--- A scenario's verbs that copy files and folders.
local files = require "vmctl.files"
local options = require "vmctl.base.options"

local M = {}

local copy_options = { timeout = "number" }

--- Copies a file, or what is in a folder, into the guest, with its mode. Folders on the way are made. Waits.
---@param source string of this machine
---@param destination string in the guest: the file's own path, or the folder that gets what is in `source`
---@param opts? { timeout: number }|number seconds
function M:copy_to_guest(source, destination, opts)
  opts = options.check(opts, copy_options, "copy_to_guest")
  local vm = self:_running "copy_to_guest"
  local done, err = files.push(vm, source, destination, { exact = true, owner = "target",
    timeout = opts.timeout or self._run.timeout })
  if not done then self:_fail("copy_to_guest", err) end
  self._run:note("%s: copy_to_guest %s to %s", self.name, source, destination)
end

--- Copies a file, or what is in a folder, out of the guest. Waits.
---@param source string in the guest
---@param destination? string the file's own path, or the folder that gets what is in `source`; by default a file or folder of
-- that name among the artefacts
---@param opts? { timeout: number }|number seconds
---@return string path where it is now
function M:copy_from_guest(source, destination, opts)
  opts = options.check(opts, copy_options, "copy_from_guest")
  local vm = self:_running "copy_from_guest"
  destination = destination or self._run:file(source:match "([^/]+)/*$" or "root")
  local done, err = files.pull(vm, source, destination, { exact = true, owner = "mine",
    timeout = opts.timeout or self._run.timeout })
  if not done then self:_fail("copy_from_guest", err) end
  self._run:note("%s: copy_from_guest %s to %s", self.name, source, destination)
  return destination
end

return M
