--- Copies entries from a source to a sink, counts and hashes them, and compares the check sums with those of the guest.
---
--- A source has each(visit, job), which calls visit(entry, read) for every entry. An entry has path (relative, "" is the top), type,
--- mode, uid, gid, mtime, nsec, size, link, and for a sparse file map and real_size. read(n) gives a file's content; again(), where
--- the source has it, reads from the beginning. The source reports entries that change or vanish to job.note. A sink has
--- put(entry, read), finish() and close(failed); its fields holes and hard say whether it keeps holes and hard links. The one of the
--- two that is on the guest's side has hashes(top, paths).
local content = require "vmctl.files.content"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local log = require "vmctl.log"

local M = {}

local UNITS = { { 1 << 30, "GiB" }, { 1 << 20, "MiB" }, { 1 << 10, "KiB" } }
local SHOW_AGAIN = 0.2 -- seconds between two updates of the progress line
local MOST_NOTES = 10000 -- entries of each list of a report
local MOST_NAMES = 256 << 20 -- bytes of all paths, links' targets and folders' attributes: those of files and folders are kept to the end

--- Formats a number of bytes for a person.
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

local function counted(job, entry, read)
  return function(n)
    local data, place, code = read(n)
    if not data or data == "" then return data, place, code end
    local report = job.report
    report.bytes = report.bytes + #data
    if report.bytes > job.max_bytes then
      return errors.fail("ETOOBIG", "%s: more than %d bytes in all (max_bytes)", entry.path, job.max_bytes)
    end
    show(job, entry)
    if job.on_progress then job.on_progress(report, entry.path) end
    return data, place
  end
end

-- The content for the sink: holes become zeros when the sink has no holes.
local function put_file(job, entry, read)
  read = counted(job, entry, entry.map and content.parts(entry.map, read) or read)
  local sum
  if job.verify then read, sum = content.hashed(entry, read) end
  local sent = entry
  if entry.map and not job.sink.holes then
    read = content.filled(entry, read)
    sent = setmetatable({ map = false, size = entry.real_size }, { __index = entry })
  end
  local ok, err, code = job.sink:put(sent, read)
  if not ok then return nil, err, code end
  if sum then
    table.insert(job.hashes, { path = entry.path, hex = sum(), size = entry.real_size or entry.size, mtime = entry.mtime })
  end
  return true
end

-- A file that became shorter while it was sent is sent again, from a temporary copy.
local function put_again(job, entry, again)
  job.note("changed", entry.path)
  local file, size, code = content.spool(again())
  if not file then return nil, size, code end
  local guard <close> = file -- luacheck: ignore
  local still = setmetatable({ size = size, map = false }, { __index = entry })
  return put_file(job, still, function(n) return file:read(n) or "" end)
end

local kinds = { file = "files", hard = "files", directory = "directories", link = "links" }

-- Folders keep their extended attributes to the end.
local function kept_bytes(entry)
  local bytes = 0
  for name, value in pairs(entry.type == "directory" and entry.xattrs or {}) do bytes = bytes + #name + #value end
  return bytes
end

local function check(job, entry)
  job.entries = job.entries + 1
  job.names = job.names + #entry.path + #(entry.link or "") + kept_bytes(entry)
  if job.entries > job.max_entries then return errors.fail("ETOOBIG", "more than %d entries (max_entries)", job.max_entries) end
  if job.names > MOST_NAMES then return errors.fail("ETOOBIG", "names of more than %d bytes in all", MOST_NAMES) end
  if job.entries == 1 and job.top and (entry.path ~= "" or entry.type ~= job.top) then
    return errors.fail("EPROTO", "a %s was to come, and a %s came", job.top, entry.path == "" and entry.type or "part of one")
  end
  return true
end

local function pass(job, entry, read, again)
  local ok, err, code = check(job, entry)
  if not ok then return nil, err, code end
  local kind = kinds[entry.type]
  if not kind then
    job.note("skipped", entry.path)
    return true
  end
  if entry.type == "file" then
    ok, err, code = put_file(job, entry, read)
    if code == "ESHRUNK" and again then ok, err, code = put_again(job, entry, again) end
  else
    ok, err, code = job.sink:put(entry)
  end
  if not ok then return nil, err, code end
  job.report[kind] = job.report[kind] + 1
  return true
end

-- Handles sums that differ. The sum of a file that has changed in the guest meanwhile must differ.
local function differs(job, files)
  local states = job.states and job.states(files) or {}
  for i, file in ipairs(files) do
    local now = states[i]
    local moved = now and (now.size ~= file.size or now.mtime ~= file.mtime or file.size == 0)
    if not moved and not job.noted[file.path] then
      return errors.fail("EBADMSG", "%s: its check sum is another one than the guest's: the copy is broken", file.path)
    end
    job.note("changed", file.path)
  end
  return true
end

local function compare(job)
  local paths, odd = {}, {}
  for i, file in ipairs(job.hashes) do paths[i] = file.path end
  local there, err, code = job.verify(paths)
  if not there then return nil, err, code end
  for i, file in ipairs(job.hashes) do
    if not there[i] and not job.states then
      return errors.fail("EBADMSG", "%s: it is not there", file.path)
    elseif not there[i] then
      job.note("vanished", file.path)
    elseif there[i] ~= file.hex then odd[#odd + 1] = file end
  end
  job.report.verified = #paths - #odd
  if #odd == 0 then return true end
  return differs(job, odd)
end

local function new_job(what)
  local report = { files = 0, directories = 0, links = 0, bytes = 0, skipped = {}, changed = {}, vanished = {} }
  local job = {
    title = what.title, sink = what.sink, verify = what.verify, states = what.states, on_progress = what.on_progress, top = what.top,
    max_bytes = what.max_bytes or math.maxinteger, max_entries = what.max_entries or math.maxinteger, entries = 0, names = 0,
    report = report, hashes = {}, noted = {}, began = core.now(), shown = core.now(),
  }
  function job.note(list, path)
    if job.noted[path] == list or #report[list] >= MOST_NOTES then return true end
    job.noted[path] = list
    table.insert(report[list], path)
    return true
  end
  return job
end

--- Copies all entries. Waits.
---@param what { title: string, source: table, sink: table, verify: (fun(paths: string[]): (string|false)[]?)?,
--- states: (fun(files: table[]): { size: integer, mtime: integer }[]?)?, on_progress: function?, top: string?, max_bytes: integer?,
--- max_entries: integer? } verify: the sums that the guest has now; states: the guest's sizes and times of files whose sum differs: a
-- file that has changed is reported; top: the type of the first entry
---@return { files: integer, directories: integer, links: integer, bytes: integer, seconds: number, skipped: string[],
--- changed: string[], vanished: string[], verified: integer? }|nil report, string?, string?
function M.run(what)
  local job = new_job(what)
  local ok, err, code = what.source:each(function(...) return pass(job, ...) end, job)
  if ok then ok, err, code = what.sink:finish() end
  if ok and job.verify and #job.hashes > 0 then ok, err, code = compare(job) end
  log.progress(nil)
  if not ok then return nil, err, code end
  job.report.seconds = core.now() - job.began
  return job.report
end

return M
