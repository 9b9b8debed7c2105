--- Checks QEMU: its version, and the features that parts of vmctl need.
local platform = require "vmctl.machine.platform"
local probe = require "vmctl.doctor.probe"

local M = {}

local PACKAGES = { x86_64 = "qemu-system-x86", aarch64 = "qemu-system-arm" }

local function words_after_colon(text)
  local words = {}
  for line in text:gmatch "[^\n]+" do
    local word = line:match "^(%w[%w-]*)$"
    if word then words[#words + 1] = word end
  end
  return words
end

local function has(words, word)
  for _, each in ipairs(words) do
    if each == word then return true end
  end
  return false
end

local function at_least(version, major, minor)
  local a, b = version:match "^(%d+)%.(%d+)"
  a, b = tonumber(a), tonumber(b)
  return a ~= nil and (a > major or a == major and b >= minor)
end

-- QEMU's features that switches and screenshots need.
local function report_abilities(report, file, version)
  local netdevs = words_after_colon(probe.output { file, "-netdev", "help" } or "")
  local stream = has(netdevs, "stream")
  report("QEMU's stream netdev", stream, stream and "-netdev stream is there, for cards on a switch" or
    ("QEMU %s has no -netdev stream"):format(version), "QEMU 7.2 or later; older ones take backend = \"socket\" for a card",
    true)
  local user = has(netdevs, "user")
  report("QEMU's user networking", user, user and "-netdev user is there, for ports that lead into guests" or
    "QEMU was built without libslirp", "install a QEMU with user networking", true)
  local png = at_least(version, 7, 1)
  report("QEMU's PNG pictures", png, ("QEMU %s %s pictures of the screen as PNG"):format(version, png and "writes" or "has no"),
    "QEMU 7.1 or later", true)
  local said = probe.output { file, "-sandbox", "help" } or ""
  local sandbox = said:find "expects 'on' or 'off'" ~= nil
  report("QEMU's sandbox", sandbox, sandbox and "QEMU can filter its own system calls" or "QEMU was built without seccomp",
    "install a QEMU with seccomp, or launch guests with sandbox = false", false)
  local devices = probe.output { file, "-device", "help" } or ""
  local share = devices:find('"vhost-user-fs-pci"', 1, true) ~= nil
  report("QEMU's virtiofs", share, share and "QEMU has vhost-user-fs: folders can be shared with guests" or
    "QEMU lists no vhost-user-fs-pci", "install QEMU's full set of devices", true)
  report("virtio-serial", devices:find('"virtserialport"', 1, true) ~= nil,
    devices:find('"virtserialport"', 1, true) and "QEMU has virtserialport: guests can be reached without AF_VSOCK"
      or "QEMU lists no virtserialport", "install QEMU's full set of devices", false)
end

local function report_binary(report, arch, file, optional)
  local version = (probe.output { file, "--version" } or ""):match "version ([%d.]+)"
  if not version then
    report(arch.qemu, false, file .. " does not say which version it is", "install it again: " .. PACKAGES[arch.arch], optional)
    return
  end
  local accels = words_after_colon(probe.output { file, "-accel", "help" } or "")
  report(arch.qemu, #accels > 0 or "partial", ("%s, version %s, accelerators: %s"):format(
    file, version, #accels > 0 and table.concat(accels, ", ") or "unknown"), nil, optional)
  return version
end

--- Checks QEMU for each architecture that vmctl knows. Only the one of this machine is required.
---@param report fun(name: string, ok: boolean|"partial", detail: string, advice: string?, optional: boolean?)
---@param path string
function M.check(report, path)
  local native = platform.native()
  local arches = {}
  for _, arch in pairs(platform.platforms) do arches[#arches + 1] = arch end
  table.sort(arches, function(a, b) return (a.arch == native and "" or a.arch) < (b.arch == native and "" or b.arch) end)
  for _, arch in ipairs(arches) do
    local file, optional = probe.find(arch.qemu, path), arch.arch ~= native
    if not file then
      report(arch.qemu, false, "not found", "install " .. PACKAGES[arch.arch], optional)
    else
      local version = report_binary(report, arch, file, optional)
      if version and not optional then report_abilities(report, file, version) end
    end
  end
end

return M
