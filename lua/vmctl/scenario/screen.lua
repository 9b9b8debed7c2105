--- A scenario's verbs for a guest's screen, keyboard and consoles, and for interactive use of a guest.
local options = require "vmctl.base.options"
local poll = require "vmctl.scenario.poll"
local search = require "vmctl.text.search"
local texts = require "vmctl.text"

local M = {}

local wait_options = { timeout = "number", interval = "number>0" }

local function terminal() return require "vmctl.scenario.terminal" end

-- Calls a method of the vm for a verb, and raises when it fails.
local function ask(self, verb, method, ...)
  local vm = self:_running(verb)
  local ok, err = vm[method](vm, ...)
  if not ok then self:_fail(verb, err) end
end

--- Saves a screenshot as a PNG file among the artefacts. It is kept when the test passes, too. Waits.
---@param name? string of the file; by default the machine's name
---@return string path
function M:screenshot(name)
  self:_running "screenshot"
  local path = self._run:file(name or self.name, ".png")
  ask(self, "screenshot", "screendump", path)
  self._run:keep(path)
  self._run:note("%s: screenshot %s", self.name, path)
  return path
end

--- Presses keys together: "ctrl-alt-delete", "ret". Waits.
---@param keys string
function M:send_key(keys)
  ask(self, "send_key", "send_key", keys)
  self._run:note("%s: send_key %s", self.name, keys)
end

--- Types a text on the guest's keyboard. Waits.
---@param text string
function M:send_chars(text)
  ask(self, "send_chars", "send_chars", text)
  self._run:note("%s: send_chars of %d bytes", self.name, #text)
end

--- Writes a text to the guest's serial console. Waits.
---@param text string
function M:send_console(text)
  ask(self, "send_console", "console_write", text, self._run.timeout)
end

--- Waits until the console's output matches a Lua pattern, which takes 2 KiB of it at most. Output that was kept counts, too; of a
--- machine that started from a snapshot that is the output since then.
---@param pattern string
---@param opts? { timeout: number?, plain: boolean? }|number
---@return string match
function M:wait_for_console_text(pattern, opts)
  opts = options.check(opts, { timeout = "number", plain = "boolean" }, "wait_for_console_text")
  local vm = self:_running "wait_for_console_text"
  local found, err = vm:wait_console(pattern, { timeout = opts.timeout or self._run.timeout, plain = opts.plain })
  if not found then self:_fail("wait_for_console_text", err) end
  return found
end

-- Reads the kernel's copy of a text screen: /dev/vcsaN begins with rows and columns, /dev/vcsN has the characters as bytes.
local TTY = [[for file in "/dev/vcsa$1" "/dev/vcs$1"; do
  [ -e "$file" ] || { echo "$file is not there" >&2; exit 1; }
done
head -c 2 "/dev/vcsa$1" && cat "/dev/vcs$1"]]

local function lines_of(screen)
  local rows, columns = screen:byte(1, 2)
  local lines = {}
  for row = 1, rows do
    local from = 3 + (row - 1) * columns
    lines[row] = screen:sub(from, from + columns - 1):match "^.*[^ %z]" or ""
  end
  return table.concat(lines, "\n"):match "^.*[^\n]" or ""
end

local function tty_text(vm, number, timeout)
  local record, err, code = vm:run { "sh", "-c", TTY, "sh", tostring(number), timeout = timeout }
  if not record then return nil, err, code end
  if record.exit_code ~= 0 or #record.stdout < 2 then return nil, texts.trim_end(record.stderr) end
  return lines_of(record.stdout)
end

local function check_number(verb, number)
  if math.type(number) ~= "integer" or number < 1 or number > 63 then error(verb .. ": a tty's number from 1 to 63 expected", 3) end
end

--- The text on a virtual terminal of the guest (/dev/tty1 …). It is read from the kernel, so the guest needs no display. Waits.
--- Raises when the guest has no such terminal.
---@param number integer of the tty, from 1
---@return string text lines without trailing spaces
function M:get_tty_text(number)
  check_number("get_tty_text", number)
  local text, err = tty_text(self:_running "get_tty_text", number, self._run.timeout)
  if not text then self:_fail("get_tty_text", ("tty%d: %s"):format(number, err)) end
  return text
end

--- Waits until the text on a virtual terminal of the guest matches a Lua pattern.
---@param number integer of the tty, from 1
---@param pattern string
---@param opts? { timeout: number?, interval: number? }|number seconds
---@return string match
function M:wait_until_tty_matches(number, pattern, opts)
  check_number("wait_until_tty_matches", number)
  opts = options.check(opts, wait_options, "wait_until_tty_matches")
  local vm = self:_running "wait_until_tty_matches"
  return poll.wait(self, "wait_until_tty_matches", ("'%s' on tty%d"):format(pattern, number), opts, function(left)
    local text, err, code = tty_text(vm, number, left)
    if not text then return nil, err, code end
    local match = search.find(text, pattern)
    return match and (match:match(pattern) or match), text == "" and "an empty screen" or text
  end)
end

--- Runs an interactive shell of the guest on this program's terminal, to look around during a test. Waits until the shell ends. The
--- time does not count towards the test's limit.
---@param command? string[]|string "sh" by default
function M:shell_interact(command)
  local vm = self:_running "shell_interact"
  local ok, err = terminal().interact(vm, command or { "sh", "-i" })
  if not ok then self:_fail("shell_interact", err) end
end

--- Connects the guest's serial console to this program's terminal, and shows the kept output first. Waits until Ctrl-] is typed or
--- the console ends. The time does not count towards the test's limit.
function M:console_interact()
  local vm = self:_running "console_interact"
  local ok, err = terminal().console(vm)
  if not ok then self:_fail("console_interact", err) end
end

return M
