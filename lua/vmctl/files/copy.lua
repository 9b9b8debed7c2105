--- The copy itself: entries from a source to a sink, counted, hashed on the way, and compared with what the guest has.
---
--- A source has each(visit): visit(entry, read) for every entry, where entry has path (relative, "" is the top), type, mode, uid,
--- gid, mtime, size, link, and read(n) gives a file's content. A sink has put(entry, read), finish(), and close() for when it
--- comes to nothing. Either, on the guest's side, has hashes(paths).
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local log = require "vmctl.log"

local M = {}

local UNITS = { { 1 << 30, "GiB" }, { 1 << 20, "MiB" }, { 1 << 10, "KiB" } }
local SHOW_AGAIN = 0.2 -- seconds between two states of the progress line

--- A number of bytes for a person.
---@return string
function M.size(bytes)
  for _, unit in ipairs(UNITS) do
    if bytes >= unit[1] then return ("%.1f %s"):format(bytes / unit[1], unit[2]) end
  end
  return ("%d B"):format(bytes)
end

local function show(job, entry)
  local now = core.now()
  if now < job.shown + SHOW_AGAIN then return end
  job.shown = now
  local report = job.report
  local rate = report.bytes / math.max(now - job.began, 0.001)
  log.progress(("%s: %d files, %s, %s/s: %s"):format(job.title, report.files, M.size(report.bytes), M.size(rate // 1), entry.path))
end

-- The content of a file on its way: counted and hashed.
local function observed(job, entry, read)
  local hash = job.verify and core.sha256() or nil
  local function next_piece(n)
    local data, err, code = read(n)
    if not data then return nil, err, code end
    job.report.bytes = job.report.bytes + #data
    if hash then hash:update(data) end
    show(job, entry)
    if job.on_progress then job.on_progress(job.report, entry.path) end
    return data
  end
  return next_piece, hash
end

local counted = { file = "files", hard = "files", directory = "directories", link = "links" }

local function pass(job, entry, read)
  local kind = counted[entry.type]
  if not kind then
    table.insert(job.report.skipped, entry.path)
    return true
  end
  local hash
  if entry.type == "file" then read, hash = observed(job, entry, read) end
  local ok, err, code = job.sink:put(entry, read)
  if not ok then return nil, err, code end
  job.report[kind] = job.report[kind] + 1
  if hash then table.insert(job.hashes, { path = entry.path, hex = hash:hex() }) end
  return true
end

local function compare(job, hashes)
  local paths = {}
  for i, file in ipairs(job.hashes) do paths[i] = file.path end
  local there, err, code = hashes(paths)
  if not there then return nil, err, code end
  for i, file in ipairs(job.hashes) do
    if there[i] ~= file.hex then
      return errors.fail("EBADMSG", "%s: its check sum is another one than the guest's: it changed while it was copied, or the "
        .. "copy is broken", file.path)
    end
  end
  job.report.verified = #paths
  return true
end

--- Copies everything. Waits.
---@param what { title: string, source: table, sink: table, verify: (fun(paths: string[]): string[]?)?, on_progress: function? }
---@return { files: integer, directories: integer, links: integer, bytes: integer, seconds: number, skipped: string[],
-- verified: integer? }|nil report, string?, string?
function M.run(what)
  local report = { files = 0, directories = 0, links = 0, bytes = 0, skipped = {} }
  local job = {
    title = what.title, sink = what.sink, verify = what.verify, on_progress = what.on_progress, report = report, hashes = {},
    began = core.now(), shown = core.now(),
  }
  local ok, err, code = what.source:each(function(entry, read) return pass(job, entry, read) end)
  if ok then ok, err, code = what.sink:finish() end
  if ok and job.verify and #job.hashes > 0 then ok, err, code = compare(job, job.verify) end
  log.progress(nil)
  if not ok then return nil, err, code end
  report.seconds = core.now() - job.began
  return report
end

return M
