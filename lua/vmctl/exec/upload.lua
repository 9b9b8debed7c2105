--- Files that go into a guest first, since an agent of the reference cannot be given them with a command: the input of a command at
--- revision 0.1.9, which has none, and a command line that is too long for one argument. The command removes the file when it begins.
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local log = require "vmctl.log"
local quote = require "vmctl.exec.quote"
local random = require "vmctl.base.random"
local runner = require "vmctl.process.collect"
local task = require "vmctl.base.task"
local text = require "vmctl.text"

local M = {}

local PIECE = 4 << 20     -- bytes that a terminal session takes
local WORDS = 48 << 10    -- bytes that go into a command line, in base64
local SAID = 1000         -- bytes of a guest's output in a message
local NO_PROGRAM = 127    -- a shell's exit code
local GO = "vmctl-go\n"

-- $1: a name. Prints the folder that it makes.
local MAKE = [[for d in "${TMPDIR:-/tmp}" /var/tmp /dev/shm /run ""; do
if (umask 077 && mkdir -- "$d/$1") 2>/dev/null; then printf %s "$d/$1"; exit; fi; done
echo 'no folder to write to' >&2; exit 1]]
-- $1: the file, $2: bytes to come, $3: its size then. Bytes pass a raw terminal as they are.
local BY_TERMINAL = "stty raw -echo && printf '" .. GO:gsub("\n", "\\n") .. [[' && head -c "$2" >> "$1" && [ "$(wc -c < "$1")" -eq "$3" ] ]]
local BY_WORDS = [[printf %s "$2" | base64 -d >> "$1"]]
local BY_INPUT = [[cat >> "$1"]]

---@class vmctl.ExecUpload
local methods = {}
local mt = { __index = methods }

--- Makes the object; the file does not exist yet. Does not wait.
---@param client vmctl.ExecClient
---@param title string its name in messages
---@return vmctl.ExecUpload
function M.new(client, title)
  return setmetatable({ _client = client, _title = title, _parts = {}, _waiting = 0, _size = 0 }, mt)
end

local function failed(self, err, code) return nil, ("%s: %s"):format(self._title, err), code end

local function run(self, deadline, command)
  command.timeout, command.check = math.max(0, deadline - core.now()), true
  local result, err, code = self._client:run(command)
  if not result then return failed(self, err, code == "EEXIT" and "EREMOTE" or code) end
  return result
end

local function make_folder(self, deadline)
  local bytes, err, code = random.bytes(8)
  if not bytes then return failed(self, err, code) end
  local name = "vmctl-" .. ("%02x"):rep(#bytes):format(bytes:byte(1, -1))
  local result
  result, err, code = run(self, deadline, { "sh", "-c", MAKE, "sh", name })
  if not result then return nil, err, code end
  if result.stdout:sub(-#name) ~= name then return failed(self, "no folder was made", "EPROTO") end
  self.folder = result.stdout
  self.path = self.folder .. "/file"
  return true
end

-- Reads until the terminal is raw. Returns the output after that; nil, message, code and the output when the session is over.
local function await_raw(p, deadline)
  local said, at = "", nil
  while not at do
    local data, err, code = p:read(deadline - core.now())
    if not data then return nil, err, code, said end
    said = said:sub(-SAID) .. data
    at = select(2, said:find(GO, 1, true))
  end
  return said:sub(at + 1)
end

local function read_rest(p, said)
  local data = p:read(0)
  while data do
    said = (said .. data):sub(-SAID)
    data = p:read(0)
  end
  return log.one_line(text.trim_end(said), SAID)
end

-- Writes to a program's input, and waits for its end. A program that is missing, or fails, does not read.
local function write_and_wait(p, data, deadline)
  return task.scope(function(scope)
    local writer = task.spawn_in(scope, p.write, p, data, math.huge)
    local record, err, code = p:wait(deadline - core.now())
    writer:cancel()
    return record, err, code
  end)
end

-- Returns the exit code and the terminal's last words.
local function in_session(self, data, deadline)
  local p <close>, err, code = self._client:start { "sh", "-c", BY_TERMINAL, "sh", self.path, tostring(#data), -- luacheck: ignore
    tostring(self._size), tty = true, timeout = math.max(0, deadline - core.now()) }
  if not p then return nil, err, code end
  local said, why, how, last = await_raw(p, deadline)
  if not said and how ~= "EOF" then return nil, why, how end
  local record
  if said then record, err, code = write_and_wait(p, data, deadline) else record, err, code = p:wait(0) end
  if not record then return nil, err, code end
  return record.exit_code or -1, read_rest(p, said or last)
end

local function send_words(self, data, deadline)
  for at = 1, #data, WORDS do
    local piece = core.base64_encode(data:sub(at, at + WORDS - 1))
    local result, err, code = run(self, deadline, { "sh", "-c", BY_WORDS, "sh", self.path, piece })
    if not result then return nil, err, code end
  end
  return true
end

-- Sends data by a command's input, to an agent that gives commands one.
local function send_input(self, data, deadline)
  local p <close>, err, code = self._client:start { "sh", "-c", BY_INPUT, "sh", self.path } -- luacheck: ignore
  if not p then return failed(self, err, code) end
  local result
  result, err, code = runner.finish(p, { stdin = data, check = true }, deadline)
  if not result then return failed(self, err, code == "EEXIT" and "EREMOTE" or code) end
  return true
end

local function send(self, data, deadline)
  self._size = self._size + #data
  if self._client.revision ~= "0.1.9" then return send_input(self, data, deadline) end
  if not self._no_terminal then
    local exit_code, said, code = in_session(self, data, deadline)
    if not exit_code then return failed(self, said, code) end
    if exit_code == 0 then return true end
    if exit_code ~= NO_PROGRAM then return failed(self, said ~= "" and said or "exit code " .. exit_code, "EREMOTE") end
    self._no_terminal = true -- no stty there
  end
  return send_words(self, data, deadline)
end

-- Sends the gathered data.
local function flush(self, deadline)
  if not self.folder then
    local ok, err, code = make_folder(self, deadline)
    if not ok then return nil, err, code end
  end
  local data = table.concat(self._parts)
  self._parts, self._waiting = {}, 0
  return send(self, data, deadline)
end

--- Appends to the file. Waits now and then, while pieces of it are sent. (Only at 0.1.9 has a file more than one.)
---@param data string
---@param deadline number
---@return true|nil, string?, string? code EREMOTE with the guest's words …
function methods:write(data, deadline)
  for at = 1, #data, PIECE do
    local piece = data:sub(at, at + PIECE - 1)
    self._parts[#self._parts + 1] = piece
    self._waiting = self._waiting + #piece
    if self._waiting >= PIECE then
      local ok, err, code = flush(self, deadline)
      if not ok then return nil, err, code end
    end
  end
  return true
end

--- Sends the last piece. Waits.
---@return true|nil, string?, string?
function methods:finish(deadline)
  if self.folder and self._waiting == 0 then return true end
  local ok, err, code = flush(self, deadline)
  if not ok then return nil, err, code end
  return true
end

--- The bytes that were written, if none of them was sent yet.
---@return string|nil
function methods:content()
  return not self.folder and table.concat(self._parts) or nil
end

local function removal(self) return "rm -rf -- " .. quote.word(self.folder) end

--- A shell command that takes its input from the file, which it removes first.
---@param command string
---@return string
function methods:as_input(command)
  return ("exec < %s || exit; %s; %s"):format(quote.word(self.path), removal(self), command)
end

--- A shell command that runs the file's content, and removes the file first.
---@return string
function methods:as_command()
  return ('vmctl_s=$(cat -- %s) && %s && eval "$vmctl_s"'):format(quote.word(self.path), removal(self))
end

--- Removes the file in the background, if the command that removes it has not been started. Does not wait.
---@param timeout number
---@return vmctl.Task|nil task that removes it
function methods:discard(timeout)
  local folder = self.folder
  if not folder then return nil end
  self.folder = nil
  return background.spawn("exec", function()
    self._client:run { "rm", "-rf", "--", folder, timeout = timeout }
  end)
end

return M
