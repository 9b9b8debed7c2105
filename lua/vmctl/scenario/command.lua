--- Parses a command of a test: the words to run, the text to show, and the expected exit.
local failure = require "vmctl.scenario.failure"
local options = require "vmctl.base.options"
local signals = require "vmctl.signals"

local M = {}

-- A pipeline fails with any of its parts where the shell knows how (dash does not).
local STRICT = "set -eu; if (set -o pipefail) 2>/dev/null; then set -o pipefail; fi; "

local NOT_EXECUTABLE, NOT_FOUND = 126, 127
local BY_SIGNAL = 128               -- a shell says 128 + n for a command that signal n ended
local LAST_SIGNAL = 31              -- of those that end a program by mistake

---@class vmctl.ScenarioCommand : vmctl.Command an exact list of words, or one shell command with `strict`
---@field strict? boolean the list is one shell command: true: under `set -eu` and pipefail, as a string; false: plain `sh -c`
---@field exit_code? integer for fail and wait_until_fails: the only exit code that counts as a failure
---@field signal? string|integer for fail and wait_until_fails: the only signal that counts as a failure

local function misuse(verb, text, ...)
  error(("%s%s: %s"):format(failure.location(), verb, text:format(...)), 0)
end

local function quoted(word)
  return word:find "^[%w%-_./:=,+@%%]+$" and word or ("'%s'"):format((word:gsub("'", "'\\''")))
end

-- Gives the words to run, the text to show, and true when a shell reads them.
local function words_of(verb, given)
  local line, is_strict = given, true
  if type(given) == "table" and given.strict ~= nil then
    if type(given.strict) ~= "boolean" then misuse(verb, "option 'strict': true or false expected") end
    line, is_strict = given[1], given.strict
    if type(line) ~= "string" or given[2] ~= nil then misuse(verb, "'strict' is for one shell command, given as one string") end
  end
  if type(line) == "string" then return { "sh", "-c", (is_strict and STRICT or "") .. line }, line, true end
  local words, shown = {}, {}
  for i, word in ipairs(given) do words[i], shown[i] = word, quoted(tostring(word)) end
  return words, table.concat(shown, " "), false
end

--- Parses a command. Raises at the user's line when it is malformed.
---@param verb string
---@param given vmctl.ScenarioCommand|string
---@param timeout? number seconds, for a command without a time-out of its own
---@return table command for vm:run
---@return string shown text for people
---@return { exit_code: integer?, signal: string?, is_shell: boolean } wanted
function M.read(verb, given, timeout)
  if type(given) ~= "string" and type(given) ~= "table" then
    misuse(verb, "a command expected, a list or a string, got %s", type(given))
  end
  local words, shown, is_shell = words_of(verb, given)
  local command = options.merge({ timeout = timeout }, type(given) == "table" and given or nil, words)
  local wanted = { exit_code = command.exit_code, signal = command.signal, is_shell = is_shell }
  if wanted.signal then wanted.signal = signals.name(signals.number(wanted.signal)) end
  command.strict, command.exit_code, command.signal = nil, nil, nil
  return command, shown, wanted
end

--- True if a command has succeeded.
---@param record table
---@return boolean
function M.is_success(record)
  return record.exit_code == 0 and not record.error
end

-- The signal that ended the command or, by the shell's exit code, a part of it.
local function signal_of(record, wanted)
  if record.signal then return record.signal end
  local number = wanted.is_shell and record.exit_code - BY_SIGNAL or 0
  return number >= 1 and number <= LAST_SIGNAL and signals.name(number) or nil
end

local function is_asked_for(record, wanted)
  if wanted.signal and signal_of(record, wanted) ~= wanted.signal then return false end
  return not wanted.exit_code or record.exit_code == wanted.exit_code
end

--- True if a command failed as the test expects: with the given exit code or signal or, without these, with an exit code of its
--- own. A command that is missing, cannot be started, or was ended by a signal has not failed in this sense.
---@param record table
---@param wanted table as `read` gives it
---@return boolean is_failure
---@return string? why_not
function M.is_failure(record, wanted)
  if wanted.exit_code or wanted.signal then
    return is_asked_for(record, wanted), ("%s was wanted"):format(wanted.signal and "signal " .. wanted.signal
      or ("exit code %d"):format(wanted.exit_code))
  elseif M.is_success(record) then
    return false, "it succeeded"
  elseif record.error or record.exit_code == NOT_EXECUTABLE or record.exit_code == NOT_FOUND then
    return false, "the command could not be started, which is no failure of its own; exit_code = N asks for it"
  elseif signal_of(record, wanted) then
    return false, ("signal %s ended it, which is no failure of its own; exit_code or signal asks for it"):format(
      signal_of(record, wanted))
  end
  return true
end

return M
