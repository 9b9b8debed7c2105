--- Reports which parts of vmctl work on this machine, why others do not, and which packages to install: `vmctl.doctor.report()`.
---
--- It inspects files and devices, and runs QEMU for its version and features. It opens no connection and changes nothing.
local errors = require "vmctl.errors"
local host = require "vmctl.doctor.host"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local parts = require "vmctl.doctor.parts"
local qemu = require "vmctl.doctor.qemu"

local M = {}

local NO_PATH = "/usr/local/bin:/usr/bin:/bin"

---@class vmctl.DoctorFinding
---@field name string
---@field ok boolean|"partial"
---@field detail string the observation
---@field advice string? how to make it work; nil when it works
---@field optional boolean guests run without it

local function collector(findings)
  return function(name, ok, detail, advice, optional)
    findings[#findings + 1] = {
      name = name, ok = ok, detail = log.one_line(detail), advice = ok ~= true and advice or nil, optional = optional or false,
    }
  end
end

-- The same for optional parts.
local function as_option(report)
  return function(name, ok, detail, advice) report(name, ok, detail, advice, true) end
end

local known = { path = "string", build = "string" }
local of_root = { kernel = "string", modules_dir = "string", agent = "string", cache_dir = "string" }

--- Checks everything. Waits for QEMU's answers, at most some seconds for each.
---@param opts? { path: string?, build: string? } path: directories of programs (PATH); build: the folder of `make` (the core's)
---@return vmctl.DoctorFinding[]
function M.check(opts)
  opts = options.check(opts, known, "doctor.check")
  local findings, path = {}, opts.path or os.getenv "PATH" or NO_PATH
  local report = collector(findings)
  local option = as_option(report)
  qemu.check(report, path)
  host.kvm(option)
  host.vsock(option)
  host.vhost_vsock(option)
  host.virtio_ports(option)
  host.confinement(option)
  parts.guest(report, opts.build or parts.build_folder())
  parts.libraries(report)
  parts.programs(report, path)
  parts.buildah(report, path)
  parts.firmware(report)
  host.files(report)
  return findings
end

--- Checks a root before a guest of it is started: its contents, and how it would start. Waits for a guest that looks into it.
---@param what string as `root` of vmctl.machine.launch
---@param opts? { kernel: string?, modules_dir: string?, agent: string?, cache_dir: string? } as of vmctl.machine.launch
---@return vmctl.DoctorFinding[]
function M.root(what, opts)
  if type(what) ~= "string" then error("doctor.root: a text expected, got " .. type(what), 2) end
  opts = options.check(opts, of_root, "doctor.root")
  local findings = {}
  require("vmctl.doctor.root").check(collector(findings), what, opts)
  return findings
end

local WORDS = { [true] = "yes", partial = "partly", [false] = "no" }

--- Writes the findings of `check` for a person, with advice below each problem. Waits as `check` does.
---@param out? { write: fun(self, text: string) } standard output by default
---@param opts? table of `check`, or `findings` that were made elsewhere
---@return true|nil ok all that guests need is there
---@return string? message
---@return string? code ENOENT
---@return vmctl.DoctorFinding[]? lacking
function M.report(out, opts)
  out = out or io.stdout
  local lacking, names = {}, {}
  for _, finding in ipairs(opts and opts.findings or M.check(opts)) do
    out:write(("%-6s  %-24s  %s\n"):format(WORDS[finding.ok] or "?", finding.name, finding.detail))
    if finding.advice then out:write(("%8s%-24s  -> %s\n"):format("", "", finding.advice)) end
    if not finding.ok and not finding.optional then
      lacking[#lacking + 1], names[#names + 1] = finding, finding.name
    end
  end
  if #lacking == 0 then return true end
  local _, message, code = errors.fail("ENOENT", "doctor: guests can not be run without %s", table.concat(names, ", "))
  return nil, message, code, lacking
end

return M
