--- vmctl completion: what a shell needs to complete our command lines.
local M = {}

function M.describe(command)
  command:summary "Print a shell's completion script."
  command:description 'Prints a completion script: eval "$(vmctl completion bash)"; vmctl completion zsh > "${fpath[1]}/_vmctl".'
  command:argument("shell", "bash, zsh or fish."):choices { "bash", "zsh", "fish" }
end

function M.run(opts)
  local parser = require("vmctl.cli").parser()
  io.stdout:write(parser["get_" .. opts.shell .. "_complete"](parser))
  return 0
end

return M
