--- The journal of a guest with systemd, read by its journalctl as JSON (journalctl(1), systemd.journal-fields(7)).
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local json = require "vmctl.json"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local systemctl = require "vmctl.system.systemctl"
local texts = require "vmctl.text"

local M = {}

local TIMEOUT = 60              -- seconds for the entries that are there
local LINES = 1000              -- entries, by default
local MOST = 4 << 20            -- bytes of them that are kept
local LONGEST = 1 << 20         -- bytes of one entry
local STDERR = 4096

-- Without more of each entry: systemd writes about twenty fields into each.
local FIELDS = { "MESSAGE", "PRIORITY", "_SYSTEMD_UNIT", "UNIT", "SYSLOG_IDENTIFIER", "_COMM", "_PID", "_TRANSPORT" }

local known = {
  unit = "string|table", since = "string|number", ["until"] = "string|number", follow = "boolean", lines = "integer>=0",
  priority = "string|integer", boot = "boolean", identifier = "string", fields = "table", max_bytes = "integer>=1",
  timeout = "number", user = "string",
}

---@class vmctl.JournalOptions
---@field unit? string|string[] of these units alone
---@field since? string|number journalctl's text ("-5min", "2026-11-29 10:00"), or seconds since 1970
---@field until? string|number
---@field lines? integer the newest so many entries (1000; of a journal that is followed: 0, or those since `since`)
---@field priority? string|integer the least: "err", "warning" … or 0 to 7
---@field boot? boolean of this start of the guest alone (true)
---@field identifier? string of a program, by its own name
---@field fields? string[] further fields of the journal that `fields` of an entry shall have: "_CMDLINE" …
---@field max_bytes? integer of JSON that are kept of older entries (4 MiB)
---@field follow? boolean those that come as well
---@field timeout? number seconds for all (60); of a journal that is followed: for each entry (`next` 60, `entries` no limit)
---@field user? string as whom journalctl runs

---@class vmctl.JournalEntry
---@field time number seconds since 1970
---@field message string
---@field priority? integer 0 (the worst) to 7
---@field unit? string that has said it, or of which systemd speaks
---@field identifier? string the name that its program gives itself
---@field pid? integer
---@field cursor string its position in the journal
---@field fields table<string, any> as the journal has them

local function time_word(value) return type(value) == "number" and ("@%.6f"):format(value) or value end

local function units_of(opts)
  local list = type(opts.unit) == "table" and opts.unit or { opts.unit }
  for _, unit in ipairs(list) do
    if type(unit) ~= "string" or unit == "" or unit:find "%c" then error("journal: unit: a name or a list of names expected", 4) end
  end
  return list
end

local function words_of(opts)
  local fields = table.move(FIELDS, 1, #FIELDS, 1, {})
  for _, name in ipairs(opts.fields or {}) do
    if type(name) ~= "string" or not name:find "^[%u%d_]+$" then error("journal: fields: names of the journal's fields expected", 4) end
    fields[#fields + 1] = name
  end
  local words = { "journalctl", "--no-pager", "-q", "--all", "-o", "json", "--output-fields=" .. table.concat(fields, ",") }
  local function add(word) words[#words + 1] = word end
  for _, unit in ipairs(units_of(opts)) do add("--unit=" .. unit) end
  if opts.since then add("--since=" .. time_word(opts.since)) end
  if opts["until"] then add("--until=" .. time_word(opts["until"])) end
  if opts.priority then add("--priority=" .. tostring(opts.priority)) end
  if opts.identifier then add("--identifier=" .. opts.identifier) end
  if opts.boot ~= false then add "--boot" end
  if opts.follow then add "--follow" end
  if opts.lines or not opts.follow then add(("--lines=%d"):format(opts.lines or LINES)) end
  return words
end

-- A field has a text, a list of bytes where that is no text, several of these where an entry has it more than once.
local function text_of(value)
  if type(value) == "string" then return value end
  if type(value) ~= "table" then return "" end
  local parts = {}
  for i, each in ipairs(value) do
    if math.type(each) == "integer" and each >= 0 and each <= 255 then
      parts[i] = string.char(each)
    else
      parts[i] = text_of(each) .. "\n"
    end
  end
  return texts.trim_end(table.concat(parts))
end

local function number_of(value)
  local number = type(value) == "string" and #value <= 20 and value:find "^%d+$" and math.tointeger(tonumber(value))
  return number or nil
end

--- An entry of a line of JSON; nil for another line. Does not wait.
---@param line string
---@return vmctl.JournalEntry|nil
function M.parse(line)
  local fields = json.decode(line)
  if type(fields) ~= "table" or fields[1] ~= nil then return nil end
  local stamp = number_of(fields.__REALTIME_TIMESTAMP)
  if not stamp then return nil end
  local unit = fields.UNIT or fields._SYSTEMD_UNIT
  local identifier = fields.SYSLOG_IDENTIFIER or fields._COMM
  return {
    time = stamp / 1e6, message = text_of(fields.MESSAGE), priority = number_of(fields.PRIORITY), pid = number_of(fields._PID),
    unit = unit and text_of(unit), identifier = identifier and text_of(identifier), cursor = text_of(fields.__CURSOR), fields = fields,
  }
end

---@class vmctl.Journal a journal that is read as it comes
local methods = {}
local mt = { __name = "vmctl.Journal", __index = methods }

-- Splits received data into lines. A line that is too long is dropped.
local function take(self, data)
  local from = 1
  while true do
    local at = data:find("\n", from, true)
    local piece = data:sub(from, (at or 0) - 1)
    if self._size + #piece <= LONGEST then
      self._parts[#self._parts + 1] = piece
    else
      self._parts, self.skipped = {}, self.skipped + (at and 1 or 0)
    end
    self._size = self._size + #piece
    if not at then return end
    if self._size <= LONGEST then
      local line = table.concat(self._parts)
      local entry = M.parse(line)
      if entry and entry.cursor ~= self._passed then
        self._last = self._last + 1
        self._ready[self._last] = { entry, #line }
      end
    end
    self._parts, self._size, from = {}, 0, at + 1
  end
end

-- The failure for journalctl's end.
local function ended(self)
  local record, err, code = self._process:wait(TIMEOUT)
  if not record then return nil, err, code end
  if record.exit_code == 127 then return systemctl.lacks "journalctl" end
  -- Exit code 1 without a word: it has found no entry.
  if record.exit_code == 0 or record.exit_code == 1 and self._stderr == "" then return errors.fail("EOF", "journal: no more entries") end
  return errors.fail("EREMOTE", "journal: %s", record.error or log.last_words(self._stderr, STDERR))
end

local function next_entry(self, deadline)
  while self._first > self._last do
    if self._closed then return errors.fail("ECLOSED", "journal: closed") end
    local data, stream, code = self._process:read(deadline - core.now())
    if not data and code == "EOF" then return ended(self) end
    if not data then return nil, "journal: " .. stream, code end
    if stream == "stderr" then self._stderr = (self._stderr .. data):sub(-STDERR) else take(self, data) end
  end
  local found = self._ready[self._first]
  self._ready[self._first] = nil
  self._first = self._first + 1
  return found[1], found[2]
end

--- The next entry. Waits.
---@param timeout? number seconds (that of the journal, else 60)
---@return vmctl.JournalEntry|nil entry, string? message, string? code EOF, ETIMEDOUT, ECLOSED, ERESET: the guest was restarted; ENOTSUP
function methods:next(timeout)
  local entry, err, code = next_entry(self, core.now() + (timeout or self._limit or TIMEOUT))
  if not entry then return nil, err, code end
  return entry
end

--- An iterator over the entries, which ends where the journal does or is closed. Other failures raise. Each step waits.
---@return fun(): vmctl.JournalEntry|nil
function methods:entries()
  return function()
    local entry, err, code = next_entry(self, core.now() + (self._limit or math.huge))
    if entry then return entry end
    if code == "EOF" or code == "ECLOSED" or code == "ECANCELED" then return nil end
    error("journal: " .. err, 2)
  end
end

--- Ends it; a task that waits for an entry gets ECLOSED. Idempotent, never waits.
---@return true
function methods:close()
  self._closed = true
  self._process:close()
  return true
end

mt.__close, mt.__gc = methods.close, methods.close

local function open(exec, words, opts, limit)
  local process, err, code = exec:start(options.merge(words, { stdin = false, user = opts.user }))
  if not process then return nil, "journal: " .. err, code end
  return setmetatable({
    _process = process, _parts = {}, _size = 0, _ready = {}, _first = 1, _last = 0, _stderr = "", _limit = limit, skipped = 0,
  }, mt)
end

-- Collects all present entries. Of too many the oldest are dropped.
local function collect(journal, most, deadline)
  local list, sizes, first, last, bytes = {}, {}, 1, 0, 0
  while true do
    local entry, size, code = next_entry(journal, deadline)
    if not entry and code ~= "EOF" then return nil, size, code end
    if not entry then break end
    last = last + 1
    list[last], sizes[last], bytes = entry, size, bytes + size
    while bytes > most do
      bytes = bytes - sizes[first]
      list[first], sizes[first], first = nil, nil, first + 1
    end
  end
  local kept = table.move(list, first, last, 1, {})
  kept.dropped = first - 1 + journal.skipped
  return kept
end

-- The cursor of the newest entry, so that entries that come while journalctl starts are not missed.
local function find_end(exec, opts)
  local journal <close>, err, code = open(exec, { "journalctl", "--no-pager", "-q", "-o", "json", "--output-fields=PRIORITY", -- luacheck: ignore
    "--lines=1" }, opts)
  if not journal then return nil, err, code end
  local entry
  entry, err, code = journal:next()
  if not entry and code ~= "EOF" then return nil, err, code end
  return entry and entry.cursor or ""
end

local function follow(exec, words, opts)
  local from = ""
  if not opts.lines and not opts.since then
    local err, code
    from, err, code = find_end(exec, opts)
    if not from then return nil, err, code end
  end
  -- Not --after-cursor: with a filter it passes over the first entry that fits, as if that were the cursor's.
  if from ~= "" then words[#words + 1] = "--cursor=" .. from elseif not opts.lines then words[#words + 1] = "--no-tail" end
  local journal, why, how = open(exec, words, opts, opts.timeout)
  if journal then journal._passed = from end
  return journal, why, how
end

--- Reads a guest's journal. Waits for the entries that are there; with `follow` only until journalctl runs.
---@param exec table that runs commands
---@param opts? vmctl.JournalOptions
---@return vmctl.JournalEntry[]|vmctl.Journal|nil entries the oldest first, with `dropped`, the number of those that were too many; with
-- `follow` a journal with `next`, `entries` and `close`
---@return string? message, string? code ENOTSUP: the guest has no journalctl; EREMOTE: with its words; ETIMEDOUT …
function M.read(exec, opts)
  opts = options.check(opts, known, "journal", 3)
  local words = words_of(opts)
  if opts.follow then return follow(exec, words, opts) end
  local deadline = core.now() + (opts.timeout or TIMEOUT)
  local journal <close>, err, code = open(exec, words, opts) -- luacheck: ignore
  if not journal then return nil, err, code end
  return collect(journal, opts.max_bytes or MOST, deadline)
end

return M
