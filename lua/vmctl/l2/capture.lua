--- The captures of a switch: pcapng files and pipes, which the switch holds until it is closed.
local log = require "vmctl.log"
local options = require "vmctl.base.options"

local M = {}

local known = {
  snaplen = "integer>=14<=69632", max_bytes = "integer>=131072", files = "integer>=1<=1000", filter = "string",
}

-- A capture that was closed is held no longer.
local function forget_closed(switch)
  for capture in pairs(options.merge(switch._captures)) do
    if not capture:is_open() then switch._captures[capture] = nil end
  end
end

--- Writes each incoming frame once, in the pcapng format, with one interface per port. A frame has the flag "inbound", and what the
--- faults did to it as a comment: "b: delayed by 0.050000 s; c: dropped (loss)". It never blocks: 4 MiB wait for a pipe's reader, and
--- further frames are left out and counted. A file is created, or emptied; mode 0600. A FIFO need not have a reader: each reader gets a
--- capture of its own, from its start. "-" is the standard output, if that is a pipe, a file or a socket. When a file cannot be
--- written, because the disk is full for instance, that is logged once, `status` says it, and the file ends behind its last whole
--- frame. The capture lasts until it or the switch is closed, also if the handle is not kept.
---@param path string
---@param opts? { snaplen: integer?, max_bytes: integer?, files: integer?, filter: string? } snaplen: bytes of each frame that are kept;
--- max_bytes: of a file; files: so many files of that size are kept, PATH, PATH.1 and so on (1: the capture ends there, and later frames
--- are counted as left out); filter: an expression as tcpdump's, which needs libpcap
---@return vmctl.Capture|nil capture with `close()`, which returns how many frames there were; and `status()`: frames, frames
--- that were left out, bytes that wait; or nil, message and code of the error that ended it
---@return string?, string? code ENOENT, EINVAL (no file or FIFO; a wrong filter), ENOSYS (no libpcap), EPERM, ECLOSED …
function M.capture(switch, path, opts)
  if type(path) ~= "string" then error("capture: a path expected, got " .. type(path), 2) end
  opts = options.check(opts, known, "switch:capture")
  if opts.files and not opts.max_bytes then error("capture: 'files' needs 'max_bytes'", 2) end
  if switch._closed then return switch:_fail_closed "capture" end
  forget_closed(switch)
  local capture, err, code = switch._core:capture(path, opts.snaplen and math.tointeger(opts.snaplen), opts.max_bytes
    and math.tointeger(opts.max_bytes), opts.files and math.tointeger(opts.files), opts.filter)
  if not capture then return nil, err, code end
  switch._captures[capture] = { path = path }
  return capture
end

--- Logs that a capture has ended, once.
function M.hear(switch)
  for capture, about in pairs(switch._captures) do
    local ok, err = capture:status()
    if not ok and not about.told then
      about.told = true
      log.error("l2: %s: the capture to %s has ended: %s", switch.name, about.path, err)
    end
  end
end

return M
