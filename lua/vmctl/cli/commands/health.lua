--- vmctl health: shows the health report of a guest's control plane.
local log = require "vmctl.log"
local output = require "vmctl.cli.output"
local targets = require "vmctl.cli.targets"
local units = require "vmctl.cli.units"

local M = {}

function M.describe(command)
  command:summary "Ask a guest how it is."
  command:description "Asks a guest's StereOS control plane how it is, and how its agents are; exit code 1 unless all is well."
  command:argument("target", "A guest's name or an address."):argname "TARGET"
  command:option("--timeout", "Seconds (10)."):argname("SECONDS"):convert(units.seconds "--timeout"):default "10"
end

local GOOD = { ready = true, healthy = true }

local function describe(health)
  local lines = { ("%s, up %d s"):format(health.state, health.uptime_seconds or 0) }
  for _, agent in ipairs(health.agents or {}) do
    local how = agent.running and "running" or "not running"
    lines[#lines + 1] = ("  %s: %s, restarts %d%s"):format(agent.name, how, agent.restarts or 0,
      agent.error and agent.error ~= "" and ", " .. agent.error or "")
  end
  return log.sanitize(table.concat(lines, "\n"))
end

function M.run(opts)
  local client <close>, err, code = targets.stereos(opts.target) -- luacheck: ignore
  if not client then return nil, err, code end
  local health
  health, err, code = client:get_health { timeout = opts.timeout }
  if not health then return nil, err, code end
  output.result(opts, health, describe(health))
  for _, agent in ipairs(health.agents or {}) do
    if not agent.running then return 1 end
  end
  return GOOD[health.state] and 0 or 1
end

return M
