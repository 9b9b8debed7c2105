--- vmctl doctor: reports what works on this machine, and what to install.
local doctor = require "vmctl.doctor"
local output = require "vmctl.cli.output"

local M = {}

function M.describe(command)
  command:summary "Tell what works on this machine."
  command:description("Tells which transports, accelerators and optional parts work on this machine, why others do not, and what to\n" ..
    "install; exit code 1 if guests cannot run.")
end

function M.run(opts)
  if not opts.json then return doctor.report() and 0 or 1 end
  local findings = doctor.check()
  output.result(opts, { findings = findings })
  for _, finding in ipairs(findings) do
    if finding.ok == false and not finding.optional then return 1 end
  end
  return 0
end

return M
