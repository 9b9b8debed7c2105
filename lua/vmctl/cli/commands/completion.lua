--- vmctl completion: prints the script with which a shell completes our command lines.
local output = require "vmctl.cli.output"

local M = { json = false }

-- argparse generates the completion of subcommands and options. The scripts call `vmctl list` and
-- `vmctl ps` for names of guests.
local NAMES = {
  bash = [==[
_vmctl_and_names() {
  _vmctl "$@"
  local word="${COMP_WORDS[COMP_CWORD]}"
  if [ "$COMP_CWORD" -ge 2 ] && [[ "$word" != -* ]]; then
    COMPREPLY+=($(compgen -W "$(vmctl list --names 2>/dev/null; vmctl ps --names 2>/dev/null)" -- "$word"))
  fi
}
complete -F _vmctl_and_names -o bashdefault -o default vmctl
]==],
  zsh = [[
_vmctl_and_names() {
  (( CURRENT > 2 )) && compadd -- ${(f)"$(vmctl list --names 2>/dev/null; vmctl ps --names 2>/dev/null)"}
  _vmctl "$@"
}
compdef _vmctl_and_names vmctl
]],
  fish = [[
complete -c vmctl -n 'test (count (commandline -opc)) -gt 1' -a '(vmctl list --names 2>/dev/null; vmctl ps --names 2>/dev/null)'
]],
}

function M.describe(command)
  command:summary "Print a shell's completion script."
  command:description 'Prints a completion script: eval "$(vmctl completion bash)"; vmctl completion zsh > "${fpath[1]}/_vmctl".'
  command:argument("shell", "bash, zsh or fish."):choices { "bash", "zsh", "fish" }
end

function M.run(opts)
  local parser = require("vmctl.cli").parser()
  output.write(parser["get_" .. opts.shell .. "_complete"](parser), NAMES[opts.shell])
  return 0
end

return M
