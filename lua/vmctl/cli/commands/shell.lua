--- vmctl shell: opens a shell with a terminal in a target.
local guest_command = require "vmctl.cli.guest_command"
local targets = require "vmctl.cli.targets"

local M = { words = 1, json = false }

-- Runs the shell that the variable SHELL names, by default sh.
local DEFAULT = { "/bin/sh", "-c", 'exec "${SHELL:-/bin/sh}" -i' }

function M.describe(command)
  command:summary "Open a terminal in a target."
  command:description("Opens a shell, or the given command, in a terminal of its own: every key reaches it, its size follows.\n" ..
    "  vmctl shell web")
  command:argument("target", "A guest's name, an address, or host."):argname "TARGET"
  command:option("-C --cwd", "Its working directory."):argname "DIR"
  command:option("-u --user", "Run it as this user."):argname "USER"
end

function M.run(opts)
  local target, err, code = targets.exec(opts.target)
  if not target then return nil, err, code end
  local command = { cwd = opts.cwd, user = opts.user, env = { TERM = os.getenv "TERM" or "linux" } }
  local words = opts.rest and #opts.rest > 0 and opts.rest or DEFAULT
  for i, word in ipairs(words) do command[i] = word end
  return guest_command.terminal(target, command, {})
end

return M
