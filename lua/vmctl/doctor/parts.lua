--- Checks vmctl's own parts and the programs that they call.
local devices = require "vmctl.machine.host_devices"
local log = require "vmctl.log"
local probe = require "vmctl.doctor.probe"

local M = {}

local MOST_REASON = 200 -- bytes of a program's message

-- Programs, with their purpose and Debian's package. Some are outside of PATH.
local PROGRAMS = {
  { "busybox", "image.build puts it into guests", "busybox-static", devices.BUSYBOX },
  { "qemu-img", "disk images and snapshots", "qemu-utils" },
  { "virtiofsd", "shares of folders with guests", "qemu-system-common, or virtiofsd", devices.VIRTIOFSD },
  { "mke2fs", "roots that keep what a guest writes", "e2fsprogs", { "/usr/sbin/mke2fs", "/sbin/mke2fs" } },
  { "skopeo", "roots that are images of a registry", "skopeo" },
  { "passt", "networks of guests with a way out", "passt" },
  { "go", "make interop, against the Go reference programs", "golang-go" },
}

local LIBRARIES = {
  { "vmctl.pb", "protobuf", "messages of ttrpc's services", "libprotobuf-c-dev protobuf-c-compiler" },
  { "vmctl.slirp", "libslirp", "user networking of switches", "libslirp-dev" },
}

--- The folder of build results: the one that the core was loaded from.
---@return string
function M.build_folder()
  local core = package.searchpath("vmctl.core", package.cpath)
  return core and core:match "^(.*)/vmctl/[^/]*$" or "build"
end

--- Checks the optional libraries that vmctl was built with.
function M.libraries(report)
  for _, each in ipairs(LIBRARIES) do
    local name, title, use, packages = table.unpack(each)
    local file = package.searchpath(name, package.cpath)
    local ok, err = pcall(require, name)
    local detail = ok and ("%s: %s"):format(file or "built in", use) or file and tostring(err):match "^[^\n]*" or "not built: " .. use
    report(title, ok, detail, ("install %s, and make"):format(packages), true)
  end
end

--- Checks the programs of this machine.
---@param path string
function M.programs(report, path)
  for _, each in ipairs(PROGRAMS) do
    local name, use, packages, places = table.unpack(each)
    local file = probe.find(name, path) or places and probe.first(places)
    report(name, file ~= nil, file and ("%s: %s"):format(file, use) or "not found: " .. use, "install " .. packages, true)
  end
end

--- Checks the firmware of disks that start by an EFI.
function M.firmware(report)
  local codes, use = {}, 'disks that are started by an EFI (boot = "firmware")'
  for i, pair in ipairs(devices.OVMF) do codes[i] = pair[1] end
  local file = probe.first(codes)
  report("OVMF", file ~= nil, file and ("%s: %s"):format(file, use) or "not found: " .. use, "install ovmf", true)
end

-- An installed buildah may lack a program for networks (netavark), or may be unable to make containers here.
-- The container has a name of ours: a shell that asked for its name would keep a flood of output, and read it until the limit.
local TRY_BUILDAH = '"$0" from --name vmctl-doctor-%x scratch && "$0" rm vmctl-doctor-%x >/dev/null'

--- Checks buildah by making an empty container, and removing it. Waits, at most some seconds.
---@param path string
function M.buildah(report, path)
  local use, file = "images from container files", probe.find("buildah", path)
  if not file then return report("buildah", false, "not found: " .. use, "install buildah", true) end
  local number = math.random(0)
  local output, code = probe.output { "/bin/sh", "-c", TRY_BUILDAH:format(number, number), file }
  if code == 0 then return report("buildah", true, ("%s: %s"):format(file, use), nil, true) end
  local reason = log.one_line((output or "it does not end"):match "^%s*([^\n]*)", MOST_REASON)
  report("buildah", false, ("%s does not work: %s"):format(file, reason),
    (output or ""):find("netavark", 1, true) and "install netavark" or "try: buildah from scratch", true)
end

-- Debian names kernels by version. The last name in order is good enough for advice.
local function installed_kernel()
  local found = require("vmctl.core").fs.list "/boot" or {}
  table.sort(found)
  for i = #found, 1, -1 do
    if found[i]:find "^vmlinuz%-" then return "/boot/" .. found[i] end
  end
end

-- Advice for a missing part of a guest: in a checkout, for a user of `make install` or a package, and of a rock, which has no program
-- that builds images.
local CHECKOUT = { kernel = "make guest", image = "make guest", agent = "make agent" }
local INSTALLED = {
  kernel = "set VMCTL_KERNEL to one (a distribution's serves), or make guest in a checkout",
  image = "vmctl-build-image makes one from a kernel's folder and the agent; set VMCTL_INITRD to it",
  agent = "make install in a checkout brings it, or a rock that is built where Lua's, lua-cjson's and libev's static libraries are",
}
local ROCK = {
  kernel = INSTALLED.kernel, agent = INSTALLED.agent,
  image = "vmctl.machine.image.build makes one with the agent; set VMCTL_INITRD to it",
}

-- The programs that are installed beside a core in PREFIX/lib/lua/5.4.
local function beside(build, program) return build .. "/../../../bin/" .. program end

local function advice_for(build)
  if probe.first { build .. "/../tools/build-image.lua" } then return CHECKOUT end
  return probe.first { beside(build, "vmctl-build-image") } and INSTALLED or ROCK
end

--- Checks the parts of a guest: kernel, image, agent.
---@param build string the folder
function M.guest(report, build)
  local advice = advice_for(build)
  local kernel = probe.first { os.getenv "VMCTL_KERNEL" or build .. "/kernel/vmlinuz", build .. "/kernel/vmlinuz" }
  local installed = not kernel and installed_kernel()
  report("kernel", kernel ~= nil or installed and "partial" or false, kernel or installed or "not found",
    installed and advice.kernel .. ", or name this one: machine.launch { kernel = … }" or advice.kernel)
  local modules = probe.first { os.getenv "VMCTL_MODULES" or build .. "/kernel/modules", build .. "/kernel/modules" }
  report("kernel modules", modules ~= nil or "partial", modules or "not found: roots need a kernel that has their drivers built in",
    advice == CHECKOUT and "make guest, or VMCTL_MODULES" or "set VMCTL_MODULES to what is in /lib/modules/VERSION", true)
  local image = probe.first { os.getenv "VMCTL_INITRD" or build .. "/guest.img", build .. "/guest.img" }
  report("guest image", image ~= nil, image or "not found", advice.image)
  local agent = probe.first { os.getenv "VMCTL_AGENT" or build .. "/vmctl-agent", build .. "/vmctl-agent", beside(build, "vmctl-agent") }
  report("agent", agent ~= nil, agent or "not found", advice.agent)
end

return M
