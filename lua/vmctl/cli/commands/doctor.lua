--- vmctl doctor: reports what works on this machine, and what to install.
local doctor = require "vmctl.doctor"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local machine = require "vmctl.machine"
local output = require "vmctl.cli.output"
local shape = require "vmctl.json.shape"

local M = {}

local ASK = 60 -- seconds
local SHAPE = { findings = { each = { name = "string", ok = "any", detail = "string", advice = "string?", optional = "any" } } }

function M.describe(command)
  command:summary "Tell what works on this machine."
  command:description("Tells which transports, accelerators and optional parts work on this machine, why others do not, and what to\n" ..
    "install; exit code 1 if guests cannot run. With --root: what is on a disk or in an image, and how a guest of it would start.")
  command:option("--root", "Look into this root: disk:FILE[#PARTITION], oci:DIR, dir:PATH …"):argname "WHAT"
  command:option("--on", "Ask vmctl on another machine: ssh:USER@HOST, or exec:COMMAND."):argname "WHERE"
  command:option("--ssh-option", "A word for ssh."):argname("WORD"):count "*"
end

-- The findings there, in the shape that doctor.check gives.
local function ask(opts)
  local host <close>, err, code = machine.host { opts.on, ssh_options = opts.ssh_option } -- luacheck: ignore
  if not host then return nil, err, code end
  local answer
  answer, err, code = host:call({ op = "doctor" }, ASK)
  if not answer then return nil, err, code end
  local problem = shape.wrong(answer, SHAPE, "it")
  if problem then return errors.fail("EPROTO", "%s: findings of another shape: %s", host.label, problem) end
  for _, finding in ipairs(answer.findings) do
    for name, value in pairs(finding) do finding[name] = type(value) == "string" and log.one_line(value) or value end
  end
  return answer.findings
end

function M.run(opts)
  local findings, err, code
  if opts.root and opts.on then return errors.fail("EINVAL", "--root is of this machine, and --on of another") end
  if opts.root then
    findings = doctor.root(opts.root)
  elseif opts.on then
    findings, err, code = ask(opts)
    if not findings then return nil, err, code end
  end
  if not opts.json then return doctor.report(nil, findings and { findings = findings }) and 0 or 1 end
  findings = findings or doctor.check()
  output.result(opts, { findings = findings })
  for _, finding in ipairs(findings) do
    if finding.ok == false and not finding.optional then return 1 end
  end
  return 0
end

return M
