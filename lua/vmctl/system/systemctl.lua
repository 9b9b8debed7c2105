--- Calls of systemctl in a guest (systemctl(1)), and reports of units.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local texts = require "vmctl.text"

local M = {}

local TIMEOUT = 120                     -- seconds for a call
local REPORT = 10                       -- seconds for each question of a failure's report
local MOST = 1 << 20                    -- bytes of an answer that are kept
local LINES, BYTES, UNITS = 10, 2048, 5 -- of a journal's tail in a report; units that have one

local USER_BUS = [[
XDG_RUNTIME_DIR=/run/user/$(id -u); DBUS_SESSION_BUS_ADDRESS=unix:path=$XDG_RUNTIME_DIR/bus
export XDG_RUNTIME_DIR DBUS_SESSION_BUS_ADDRESS
exec "$@"]]

--- The failure of a call for a program of systemd's that a guest lacks. Does not wait.
---@param program string
---@return nil, string, string code ENOTSUP
function M.lacks(program)
  return errors.fail("ENOTSUP",
    'this guest has no %s: its services are not systemd\'s (those of OpenRC: vm:run { "rc-service", NAME, "start" })', program)
end

--- Runs a program of systemd's. Waits.
---@param exec table that runs commands
---@param words string[] with the program
---@param opts? { timeout: number?, user: string? } seconds (120); user: it acts on the service manager of that user
---@return table|nil record as of `run`, string?, string? code ENOTSUP: the guest has no such program
function M.call(exec, words, opts)
  opts = opts or {}
  local command = opts.user and { "sh", "-c", USER_BUS, "sh", words[1], "--user" } or { words[1] }
  table.move(words, 2, #words, #command + 1, command)
  command.user, command.timeout, command.max_output = opts.user, opts.timeout or TIMEOUT, MOST
  local record, err, code = exec:run(command)
  if not record then return nil, err, code end
  if record.exit_code == 127 then return M.lacks(words[1]) end
  return record
end

--- The message of a failed call, on one line. Does not wait.
---@param record table
---@return string
function M.words_of(record)
  local said = log.last_words(record.stderr ~= "" and record.stderr or record.stdout, BYTES)
  local more = said:find("\nSee \"systemctl status", 1, true) -- a report says it
  if more then said = said:sub(1, more - 1) end
  local how = record.error or record.signal and "killed by signal " .. record.signal or ("exit code %d"):format(record.exit_code)
  return said ~= "" and said or how
end

--- The properties in the output of `systemctl show`. A value may have several lines. Does not wait.
---@param text string
---@return table<string, string>
function M.parse(text)
  local parts, last = {}, nil
  for line in text:gmatch "[^\n]+" do
    local at = line:find("=", 1, true)
    local name = at and line:sub(1, at - 1)
    if name and not name:find "[^%w]" then
      last = { line:sub(at + 1) }
      parts[name] = last
    elseif last then
      last[#last + 1] = line
    end
  end
  local found = {}
  for name, lines in pairs(parts) do found[name] = table.concat(lines, "\n") end
  return found
end

--- The properties that systemd shows of a unit, or of itself. Waits.
---@param exec table
---@param unit? string nil: of systemd
---@param names? string[] nil: all
---@param opts? table as for `call`
---@return table<string, string>|nil, string?, string?
function M.show(exec, unit, names, opts)
  local words = { "systemctl", "--no-pager", "show" }
  for _, name in ipairs(names or {}) do
    words[#words + 1] = "-p"
    words[#words + 1] = name
  end
  if unit then
    words[#words + 1] = "--"
    words[#words + 1] = unit
  end
  local record, err, code = M.call(exec, words, opts)
  if not record then return nil, err, code end
  if record.exit_code ~= 0 then return errors.fail("EREMOTE", "show %s: %s", unit or "systemd", M.words_of(record)) end
  return M.parse(record.stdout)
end

local function indent(text) return "  | " .. text:gsub("\n", "\n  | ") end

-- Output of a program, or nil where it has none in time: a report does without.
local function ask(exec, words, opts)
  local record = M.call(exec, words, { timeout = REPORT, user = opts and opts.user })
  local said = record and texts.trim_end(texts.tail(record.stdout, LINES)) or ""
  return said ~= "" and log.sanitize(log.mask(said), BYTES) or nil
end

--- Reports of units for a failure's message: the state and the journal's tail of each, of the first five. Waits up to 10 seconds for each.
---@param exec table
---@param units string[]
---@param opts? { user: string? }
---@return string text begins with a line feed; "" if nothing is known
function M.report(exec, units, opts)
  local parts, deadline = {}, core.now() + REPORT * UNITS
  for i = 1, math.min(UNITS, #units) do
    if core.now() >= deadline then break end
    local unit = units[i]
    local state = M.show(exec, unit, { "ActiveState", "SubState", "Result" }, { timeout = REPORT, user = opts and opts.user })
    if not state then break end -- nobody answers
    if state.ActiveState then
      parts[#parts + 1] = ("\n%s is %s (%s), its result: %s"):format(unit, state.ActiveState, state.SubState, state.Result or "none")
    end
    local words = { "journalctl", "--no-pager", "-q", "-b", "-o", "short-monotonic", "-n", tostring(LINES), "-u", unit }
    local tail = ask(exec, words, opts)
    if tail then parts[#parts + 1] = ("\nthe journal of %s:\n%s"):format(unit, indent(tail)) end
  end
  return table.concat(parts)
end

--- The last lines of the whole journal, for a failure's report. Waits up to 10 seconds.
---@param exec table
---@return string|nil nil: the guest has none
function M.tail(exec)
  return ask(exec, { "journalctl", "--no-pager", "-q", "-b", "-o", "short-monotonic", "-n", tostring(LINES) })
end

--- Checks the name of a unit: a word of systemd's, and no option. Raises at the caller's caller. Does not wait.
---@param name any
---@param where string
---@return string
function M.check_name(name, where)
  if type(name) ~= "string" or name == "" or #name > 255 or name:find "[^%w:_.\\@-]" or name:sub(1, 1) == "-" then
    error(("%s: the name of a unit expected"):format(where), 3)
  end
  return name
end

return M
