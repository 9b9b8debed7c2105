-- Programs in Go against vmctl, both ways. Usage: lua5.4 interop/run.lua, from the top folder, after `make`.
-- You will see a line per check; the last one counts them. What could not be tried is skipped, and never passes.

package.path = (arg[0]:match "^.*/" or "./") .. "?.lua;" .. package.path
local support = require "support"
local vmctl = require "vmctl"

local LIMIT = 480 -- seconds for all of it, builds included

local suites = { "stereos_server", "stereos_client", "l2", "ttrpc_server", "ttrpc_client", "socketforward", "cc_server", "cc_client",
  "yamux_server", "yamux_client", "protobuf" }

local function run_all(report)
  for _, name in ipairs(suites) do
    local ok, err = xpcall(require(name), debug.traceback, report)
    if not ok then report:check(name, false, err) end
  end
  return true
end

local report = support.report()
local ok, err = vmctl.run(vmctl.timeout, LIMIT, run_all, report)
if not ok then report:check("all within the time", false, err or "a suite ended early") end
os.exit(report:finish(), true)
