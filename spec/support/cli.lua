--- The vmctl command as a user starts it, and a terminal to start it in.
local vmctl = require "vmctl"

local M = {}

M.PROGRAM = "bin/vmctl"
M.LIMIT = 20

--- A folder for the guests of these specs, not the user's.
function M.environment(folder)
  return { XDG_RUNTIME_DIR = folder }
end

--- Runs it to its end.
---@param words string[] its arguments; stdin, env
---@return { stdout: string, stderr: string, exit_code: integer }
function M.run(words)
  local command = { M.PROGRAM, table.unpack(words) }
  command.stdin, command.env, command.timeout = words.stdin or "", words.env, words.timeout or M.LIMIT
  return assert(vmctl.host:run(command))
end

local terminal = {}
terminal.__index = terminal

--- A terminal by tmux, with a shell in it.
---@param folder string for its socket
---@param env table<string, string>
function M.terminal(folder, env)
  local self = setmetatable({ _socket = folder .. "/tmux" }, terminal)
  local variables = { TERM = "xterm", PS1 = "$ " }
  for name, value in pairs(env) do variables[name] = value end
  assert(vmctl.host:run { "tmux", "-f", "/dev/null", "-S", self._socket, "new-session", "-d", "-x", "90", "-y", "20", "/bin/sh",
    env = variables, check = true })
  return self
end

function terminal:_tmux(...)
  local command = { "tmux", "-S", self._socket, ... }
  command.check = true
  return assert(vmctl.host:run(command)).stdout
end

--- Types: words are sent as they are, but names of keys ("Enter", "C-c") as these keys.
function terminal:type(...)
  self:_tmux("send-keys", ...)
end

function terminal:resize(columns, rows)
  self:_tmux("resize-window", "-x", tostring(columns), "-y", tostring(rows))
end

--- Waits until the screen shows a Lua pattern.
---@return string screen
function terminal:wait(pattern, timeout)
  local deadline = vmctl.now() + (timeout or 10)
  while true do
    local screen = self:_tmux("capture-pane", "-p")
    if screen:find(pattern) then return screen end
    if vmctl.now() > deadline then error(("the terminal never showed '%s', but:\n%s"):format(pattern, screen), 2) end
    vmctl.sleep(0.05)
  end
end

function terminal:close()
  vmctl.host:run { "tmux", "-S", self._socket, "kill-server" }
end

terminal.__close = terminal.close

return M
