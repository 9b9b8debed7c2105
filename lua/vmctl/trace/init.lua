--- Records the messages of streams in a file: `VMCTL_TRACE=file` (or `start`) records every session of this program, a line of JSON an
--- event, `print` shows it to a person, and vmctl.replay plays one side of it back.
---
--- Secrets are left out: those in the protocols' messages (values of environments and secrets, keys, configuration, a command's
--- input, files), and the texts of log.hide. Of bytes that are no message of a protocol known here (forwarded sockets, protocols of
--- your own, cc, Ethernet) only the size is kept, unless `raw = true`.
local options = require "vmctl.base.options"

local M = {}

local recorder
local version -- while vmctl itself is still being loaded

local start_options = { max_size = "integer>=4096", data_max = "integer>=0<=4194304", raw = "boolean" }

--- Begins to record. The file is this user's alone (mode 0600), and is appended to. Does not wait.
---@param path string
---@param opts? { max_size: integer?, data_max: integer?, raw: boolean? } bytes of the file (256 MiB), beyond which records are
-- dropped and counted; bytes of a message that are kept (1 MiB); also keep bytes in which secrets cannot be recognised
---@return true|nil, string?, string? code EBUSY (it is recording), EINVAL (no regular file), EPERM (another user's), ELOOP …
function M.start(path, opts)
  if type(path) ~= "string" then error("trace.start: a path expected, got " .. type(path), 2) end
  opts = options.check(opts, start_options, "trace.start")
  if recorder then return nil, ("trace to %s: already recording to %s"):format(path, recorder.path), "EBUSY" end
  local made, err, code = require("vmctl.trace.record").new(path, opts, version or (package.loaded["vmctl"] or {})._VERSION)
  if not made then return nil, "trace: " .. err, code end
  recorder = made
  return true
end

--- Ends recording. Idempotent, never waits.
---@return { records: integer, dropped: integer }|nil counts nil: it was not recording
function M.stop()
  local ended = recorder
  recorder = nil
  return ended and ended:close()
end

--- The state of the recording: the counts of recorded and of missing events (a full disk, the limit of its size). Does not wait.
---@return { records: integer, dropped: integer, code: string? }|nil counts code: why records were dropped last; nil: not recording
function M.status()
  return recorder and { records = recorder.records, dropped = recorder.dropped, code = recorder._why }
end

--- The file that is being recorded to, or nil.
---@return string?
function M.path()
  return recorder and recorder.path
end

--- Starts the trace that VMCTL_TRACE asks for, when vmctl is loaded. Reports on standard error if that fails.
---@param loading string vmctl's version
function M.from_environment(loading)
  version = loading
  local path = os.getenv "VMCTL_TRACE"
  if not path or path == "" or recorder then return end
  local ok, err = M.start(path)
  if not ok then io.stderr:write(("vmctl: VMCTL_TRACE: %s\n"):format(err)) end
end

--- The records of a trace: `for record in assert(trace.read(path)) do`. See vmctl.trace.read.
function M.read(path)
  if type(path) ~= "string" then error("trace.read: a path expected, got " .. type(path), 2) end
  return require("vmctl.trace.read").read(path)
end

--- A view, whose `format(record)` gives records in order as lines for a person. See vmctl.trace.show.
---@param opts? { width: integer? }
function M.view(opts)
  return require("vmctl.trace.show").new(options.check(opts, { width = "integer>=1" }, "trace.view"))
end

--- One record as a line for a person.
---@param record vmctl.TraceRecord
---@return string
function M.format(record)
  return require("vmctl.trace.show").new():format(record)
end

local print_options = { width = "integer>=1", session = "string" }

--- Writes a trace for a person. Does not yield.
---@param path string
---@param out? { write: fun(self, text: string) } standard output by default
---@param opts? { width: integer?, session: string? } bytes of a message that are shown (100); one session alone, by its id
---@return integer|nil lines, string?, string? as `read`
function M.print(path, out, opts)
  opts = options.check(opts, print_options, "trace.print")
  local records, err, code, file = M.read(path)
  if not records then return nil, err, code end
  local closing <close> = file -- luacheck: ignore
  local view, count = M.view { width = opts.width }, 0
  out = out or io.stdout
  for record in records do
    local text = view:format(record) -- of all of them: a text depends on the records before
    if not opts.session or record.s == opts.session then
      out:write(text, "\n")
      count = count + 1
    end
  end
  return count
end

return M
