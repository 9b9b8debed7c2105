--- A scenario's verbs that move files, folders and connections between this machine and a guest.
local files = require "vmctl.files"
local forward = require "vmctl.forward"
local options = require "vmctl.base.options"

local M = {}

local copy_options = { timeout = "number" }

--- Copies a file, or the content of a folder, into the guest, with its mode. Makes missing parent folders. Waits.
---@param source string of this machine
---@param destination string a path in the guest: of the file, or of the folder that receives the content of `source`
---@param opts? { timeout: number? }|number seconds
function M:copy_to_guest(source, destination, opts)
  opts = options.check(opts, copy_options, "copy_to_guest")
  local vm = self:_running "copy_to_guest"
  local done, err = files.push(vm, source, destination, { exact = true, owner = "target",
    timeout = opts.timeout or self._run.timeout })
  if not done then self:_fail("copy_to_guest", err) end
  self._run:note("%s: copy_to_guest %s to %s", self.name, source, destination)
end

--- Copies a file, or the content of a folder, out of the guest. A copy among the artefacts is kept when the test passes. Waits.
---@param source string a path in the guest
---@param destination? string a path here: of the file, or of the folder that receives the content of `source`; by default a file or
-- folder of the same name among the artefacts
---@param opts? { timeout: number? }|number seconds
---@return string path of the copy
function M:copy_from_guest(source, destination, opts)
  opts = options.check(opts, copy_options, "copy_from_guest")
  local vm = self:_running "copy_from_guest"
  local own = not destination -- the folder of the artefacts may be reached by links of the user's
  destination = destination or self._run:file(source:match "([^/]+)/*$" or "root")
  local done, err = files.pull(vm, source, destination, { exact = true, owner = "mine", follow = own,
    timeout = opts.timeout or self._run.timeout })
  if not done then self:_fail("copy_from_guest", err) end
  self._run:keep(destination)
  self._run:note("%s: copy_from_guest %s to %s", self.name, source, destination)
  return destination
end

--- Reads a whole file of the guest. Waits.
---@param path string
---@param opts? { timeout: number? }|number seconds
---@return string content
function M:read_file(path, opts)
  opts = options.check(opts, copy_options, "read_file")
  local content, err = self:_running "read_file":read_file(path, { timeout = opts.timeout or self._run.timeout })
  if not content then self:_fail("read_file", err) end
  self._run:note("%s: read_file %s: %d bytes", self.name, path, #content)
  return content
end

--- Writes a file of the guest. Makes missing parent folders, and replaces an old file atomically. Waits.
---@param path string
---@param content string
---@param opts? { timeout: number?, mode: integer? }|number seconds; mode: by default that of the old file, or 0644
function M:write_file(path, content, opts)
  if type(content) ~= "string" then error("write_file: the content as a string expected, got " .. type(content), 2) end
  opts = options.check(opts, { timeout = "number", mode = "integer>=0<=4095" }, "write_file")
  local vm = self:_running "write_file"
  local ok, err = vm:write_file(path, content, { mode = opts.mode, timeout = opts.timeout or self._run.timeout })
  if not ok then self:_fail("write_file", err) end
  self._run:note("%s: write_file %s: %d bytes", self.name, path, #content)
end

--- Forwards a TCP port of this machine to one of the guest, until the machine is off or the test ends. Waits.
---@param port integer of the guest
---@param opts? { port: integer?, host: string?, guest_host: string? } port: of this machine (by default any free one); host: address of
-- this machine to listen on (127.0.0.1); guest_host: address in the guest to connect to (127.0.0.1)
---@return integer port of this machine
function M:forward_port(port, opts)
  opts = options.check(opts, { port = "integer>=0<=65535", host = "string", guest_host = "string" }, "forward_port")
  if math.type(port) ~= "integer" or port < 1 or port > 65535 then error("forward_port: a port from 1 to 65535 expected", 2) end
  local vm = self:_running "forward_port"
  local made, err = forward {
    from = { kind = "tcp", host = opts.host or "127.0.0.1", port = opts.port or 0 },
    to = vm:inside { kind = "tcp", host = opts.guest_host or "127.0.0.1", port = port },
  }
  if not made then self:_fail("forward_port", err) end
  self:_own(made)
  self._run:note("%s: forward_port %d: %s", self.name, port, made:address())
  return made:address().port
end

return M
