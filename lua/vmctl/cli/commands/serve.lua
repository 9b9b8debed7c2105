--- vmctl serve: runs guests for a script on another machine, which starts this through ssh.
local units = require "vmctl.cli.units"

local M = { json = false }

function M.describe(command)
  command:summary "Run guests for a script on another machine."
  command:description('Started by that script, for machine.launch { on = "ssh:HOST" } and `vmctl run --on ssh:HOST`: it speaks on its\n' ..
    "standard input and output. Its guests end when these do. It opens no port.")
  command:flag("--stdio", "Speak on standard input and output (there is no other way)."):target "stdio"
  command:option("--cache", "Keep the files that are sent in this folder (vmctl/files in the user's caches)."):argname "DIR"
  command:option("--cache-size", "Keep so many bytes of them (20G)."):argname("SIZE"):convert(units.bytes "--cache-size")
end

function M.run(opts)
  if not opts.stdio then return nil, "serve: --stdio expected: it is started by a script on another machine", "EINVAL" end
  local ok, err, code = require("vmctl.serve").stdio { cache = opts.cache, cache_bytes = opts.cache_size }
  if not ok then return nil, err, code end
  return 0
end

return M
