--- Formats the failures of a scenario: one text with everything that a reader needs, who has not seen the test run.
local log = require "vmctl.log"
local texts = require "vmctl.text"

local M = {}

local LINES, BYTES = 20, 4096 -- of the end of each text that is shown
local FRAMES = 100            -- of the stack that are searched for the user's line

local ROOM = debug.getinfo(1, "S").source:match "^(.*/)scenario/[^/]*$" or "@"

local function is_users(source)
  return source:sub(1, #ROOM) ~= ROOM and not source:find("/busted/", 1, true) and not source:find("/luassert/", 1, true)
end

--- True if an error is the one that the interpreter raises at Ctrl-C.
---@param err any
---@return boolean
function M.is_interrupt(err)
  return type(err) == "string" and err:find("interrupted!", 1, true) ~= nil
end

-- The stack level of the user's function that called, counted from the caller of this one; nil when there is none.
local function users_level()
  for level = 3, FRAMES do
    local info = debug.getinfo(level, "Sl")
    if not info then return nil end
    if info.currentline > 0 and is_users(info.source) then return level - 1, info end
  end
end

--- The line of the user's code that called: "spec/x_spec.lua:12: ". Frames of vmctl itself and of busted are passed over.
---@return string line # empty when there is none
function M.location()
  local level, info = users_level()
  return level and ("%s:%d: "):format(info.short_src, info.currentline) or ""
end

--- The local variables and upvalues of the user's function that called.
---@return table<string, any>
function M.locals()
  local found, level = {}, users_level()
  if not level then return found end
  local fn = debug.getinfo(level, "f").func
  for i = 1, math.huge do
    local name, value = debug.getupvalue(fn, i)
    if not name then break end
    if name ~= "_ENV" then found[name] = value end
  end
  for i = 1, math.huge do
    local name, value = debug.getlocal(level, i)
    if not name then break end
    if name:find "^[%a_]" then found[name] = value end
  end
  return found
end

--- The message of an error: a string, or the message in a test framework's object.
---@param err any
---@return string
function M.text_of(err)
  return type(err) == "table" and type(err.message) == "string" and err.message or tostring(err)
end

local function count_lines(text)
  local n = 1
  for _ in text:gmatch "\n" do n = n + 1 end
  return n
end

--- The end of a text, safe to show: no control bytes, no secrets.
---@param text string
---@param lines? integer 20
---@return string tail, integer shown lines, integer total lines
function M.tail(text, lines)
  lines = lines or LINES
  text = texts.trim_end(text)
  if text == "" then return "", 0, 0 end
  local total = count_lines(text)
  local tail = log.sanitize(log.mask(texts.tail(text, lines)), BYTES)
  return tail, math.min(lines, total), total
end

--- A titled part of a report.
---@param title string
---@param text string from the guest; nil: there is none
---@param lines? integer
---@return string
function M.section(title, text, lines)
  local tail, shown, total = M.tail(text or "", lines)
  if total == 0 then return ("  %s: nothing"):format(title) end
  local head = shown < total and ("  %s (the last %d of %d lines):\n"):format(title, shown, total) or ("  %s:\n"):format(title)
  return head .. "    | " .. tail:gsub("\n", "\n    | ")
end

--- The sections of a report for a command: its words and its output.
---@param shown string the command
---@param record? { stdout: string?, stderr: string? }
---@return string[]
function M.command_sections(shown, record)
  local list = { "  command: " .. log.one_line(log.mask(shown), BYTES) }
  if record then
    list[2] = M.section("stdout", record.stdout)
    list[3] = M.section("stderr", record.stderr)
  end
  return list
end

--- How a command ended: "exit code 3", "signal KILL".
---@param record { exit_code: integer?, signal: string?, error: string? }
---@return string
function M.outcome(record)
  return record.error or record.signal and "signal " .. record.signal or ("exit code %d"):format(record.exit_code)
end

return M
