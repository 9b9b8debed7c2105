--- Starting an unchanged disk by its own loader, from QEMU's BIOS (SeaBIOS) or an EFI (OVMF). The agent's program is a disk of its own
--- then, and the guest's systemd is told of it from outside, in ways that are tried in this order:
---   extra-unit  a credential in the SMBIOS with the agent's unit (systemd 256 and later: systemd.system-credentials(7))
---   tmpfiles    a credential with lines of tmpfiles.d that write the unit, and a rule of udev that starts it at a new port (252 and later)
---   qemu-ga     QEMU's guest agent starts it, where that is installed
---   nocloud     cloud-init starts it, told by a volume of its data source NoCloud (docs of cloud-init, "NoCloud")
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local devices = require "vmctl.machine.host_devices"
local iso = require "vmctl.machine.iso"
local json = require "vmctl.json"
local qga = require "vmctl.qga"
local texts = require "vmctl.text"

local M = {}

M.AGENT_SERIAL = "vmctl-agent"
M.WAYS = { "extra-unit", "tmpfiles", "qemu-ga", "nocloud" }
M.SEED_SERIAL = "vmctl-seed"

local WAY_FILE = "/run/vmctl/way"
local BOOT_CODE, SIGNATURE = 440, "\x55\xaa" -- of a disk's first sector: bytes of code, and its end
local PAUSE, LONGEST = 3, 600                -- seconds between two ports that wake udev, and for all of it
local WAKING = 4                             -- such ports at a time
local QGA_AFTER, QGA_WAIT = 20, 10           -- seconds until qemu-ga is asked, and for its answer
local QGA_PORT = "org.qemu.guest_agent.0"

-- Waits for the agent's disk, and makes it a program: /run may be noexec, hence the tmpfs.
local STARTER = ([[[ -x /run/vmctl/agent ] && exit 0; n=0
while [ ! -e /dev/disk/by-id/virtio-%s ] && [ $n -lt 300 ]; do n=$((n+1)); sleep 0.2; done
mkdir -p /run/vmctl && mount -t tmpfs -o size=8m,mode=0755,exec vmctl /run/vmctl || exit 1
cat /dev/disk/by-id/virtio-%s >/run/vmctl/new && chmod 755 /run/vmctl/new && echo %%s >%s && mv /run/vmctl/new /run/vmctl/agent]])
  :format(M.AGENT_SERIAL, M.AGENT_SERIAL, WAY_FILE)

local START = [[

if command -v systemd-run >/dev/null; then
  systemd-run --unit=vmctl-agent -p Restart=always -p RestartSec=200ms -p DefaultDependencies=no /run/vmctl/agent
else
  while :; do /run/vmctl/agent; sleep 0.2; done >/dev/null 2>&1 </dev/null &
fi]]

-- A unit's line has no line feeds, and its % is doubled.
local function unit(way)
  return table.concat({ "[Unit]", "Description=vmctl's guest agent", "DefaultDependencies=no", "StartLimitIntervalSec=0", "[Service]",
    ("ExecStartPre=/bin/sh -c '%s'"):format((STARTER:format(way):gsub("\n", "; "):gsub("%%", "%%%%"):gsub("%$", "$$"))),
    "ExecStart=/run/vmctl/agent", "Restart=always", "RestartSec=200ms", "OOMScoreAdjust=-900", "" }, "\n")
end

local DROP_IN = "[Unit]\nWants=vmctl-agent.service\n"
local RULE = 'ACTION=="add|change", SUBSYSTEM=="virtio-ports", ATTR{name}=="org.vmctl.*", TAG+="systemd", ' ..
  'ENV{SYSTEMD_WANTS}+="vmctl-agent.service"\n'

local function credential(name, text)
  return ("value=io.systemd.credential.binary:%s=%s"):format(name, core.base64_encode(text))
end

local function tmpfiles()
  return ("d /run/systemd/system 0755\nf+~ /run/systemd/system/vmctl-agent.service 0644 root root - %s\n" ..
    "d /run/udev/rules.d 0755\nf+~ /run/udev/rules.d/99-vmctl.rules 0644 root root - %s\n"):format(
    core.base64_encode(unit "tmpfiles"), core.base64_encode(RULE))
end

local function smbios(ways)
  local values = { "type=11" }
  if ways["extra-unit"] then
    values[#values + 1] = credential("systemd.extra-unit.vmctl-agent.service", unit "extra-unit")
    values[#values + 1] = credential("systemd.unit-dropin.sysinit.target~vmctl", DROP_IN)
  end
  if ways.tmpfiles then values[#values + 1] = credential("tmpfiles.extra", tmpfiles()) end
  return #values > 1 and { "-smbios", table.concat(values, ",") } or {}
end

local function efi_files()
  for _, pair in ipairs(devices.OVMF) do
    if core.fs.stat(pair[1]) and core.fs.stat(pair[2]) then return pair end
  end
  return errors.fail("ENOENT", "no OVMF here (Debian: ovmf), which a disk without a BIOS's boot code needs")
end

--- Tells if a BIOS can start a disk: it has code in its first sector then. Does not wait.
---@param sector string
---@return boolean
function M.has_boot_code(sector) return sector:sub(511) == SIGNATURE and sector:sub(1, BOOT_CODE):find "[^%z]" ~= nil end

local function choose(wanted, sector)
  if wanted then return wanted end
  if #sector < 512 then
    return errors.fail("EINVAL", 'the disk does not tell its firmware: "bios" or "efi" (firmware, --firmware)')
  end
  return M.has_boot_code(sector) and "bios" or "efi"
end

--- The ways to try, checked. Does not wait.
---@param list? string[] of M.WAYS (all)
---@return table<string, true>|nil, string?, string? code EINVAL
function M.ways(list)
  local known, set = {}, {}
  for _, name in ipairs(M.WAYS) do known[name] = true end
  for _, name in ipairs(list or M.WAYS) do
    if not known[name] then return errors.fail("EINVAL", "root: no way '%s' (%s)", tostring(name), table.concat(M.WAYS, ", ")) end
    set[name] = true
  end
  return set
end

--- The volume that leads cloud-init to the agent: cloud-init runs a command each time it starts, and is told to do nothing else to the
--- machine. Does not wait.
---@return string bytes
function M.seed()
  local none = json.array {}
  local user = {
    bootcmd = { { "/bin/sh", "-c", STARTER:format "nocloud" .. START } },
    cloud_init_modules = { "bootcmd" }, cloud_config_modules = none, cloud_final_modules = none,
  }
  return iso.make("cidata", {
    ["user-data"] = "#cloud-config\n" .. json.encode(user) .. "\n", ["meta-data"] = "instance-id: vmctl\n",
    ["network-config"] = "network: {config: disabled}\n",
  })
end

--- QEMU's arguments for the firmware and its messages to the guest. Does not wait.
---@param opts { firmware: "bios"|"efi"|nil, ways: table<string, true> }
---@param sector string the disk's first one; "" where it cannot be read
---@return string[]|nil, string?, string? code ENOENT: no OVMF; EINVAL
function M.arguments(opts, sector)
  local which, err, code = choose(opts.firmware, sector)
  if not which then return nil, "root: " .. err, code end
  local args = smbios(opts.ways)
  if which == "bios" then return args end
  local pair
  pair, err, code = efi_files()
  if not pair then return nil, "root: " .. err, code end
  for i, path in ipairs(pair) do
    args[#args + 1] = "-drive"
    args[#args + 1] = ("if=pflash,format=raw,unit=%d,file=%s,%s"):format(i - 1, path, i == 1 and "readonly=on" or "snapshot=on")
  end
  return args
end

-- QEMU's guest agent is there once, and speaks to one at a time.
local function ask_qga(self)
  if not self._qga_port then
    local stream = self._ports:add_port(QGA_PORT)
    if not stream then return end
    self._qga_port = stream
  end
  local client <close> = qga.connect(function() return self._qga_port end, { sync_timeout = QGA_WAIT }) -- luacheck: ignore
  self._qga_port = nil -- the client's, and closed with it
  if not client then return self._ports:remove_port(QGA_PORT, QGA_WAIT) end
  client:run { "/bin/sh", "-c", STARTER:format "qemu-ga" .. START, timeout = QGA_WAIT * 3 }
  self._ports:remove_port(QGA_PORT, QGA_WAIT)
end

-- Adds a port: that wakes udev, which by then has the rule. The port stays a while, so that a slow guest finds out its name.
local function wake(self, n)
  local name = "org.vmctl.wake." .. n
  local stream = self._ports:add_port(name)
  if not stream then return end
  self._waking[#self._waking + 1] = { name = name, stream = stream }
  if #self._waking > WAKING then
    local oldest = table.remove(self._waking, 1)
    oldest.stream:close()
    self._ports:remove_port(oldest.name, PAUSE)
  end
end

local function forget_ports(self)
  for _, each in ipairs(self._waking) do each.stream:close() end
  if self._qga_port then self._qga_port:close() end
end

local function lead(self, ways)
  local _ <close> = setmetatable({}, { __close = function() forget_ports(self) end }) -- luacheck: ignore
  local begin, n = core.now(), 0
  while not self._clients:answers() and not self._process:record() and core.now() - begin < LONGEST do
    if not core.sleep(PAUSE) then return end
    n = n + 1
    if self._clients:answers() or self._process:record() then return end
    if ways.tmpfiles then wake(self, n) end
    if ways["qemu-ga"] and core.now() - begin > (ways.tmpfiles and QGA_AFTER or 0) * 2 then ask_qga(self) end
  end
end

--- Leads a guest to its agent in the ways that need something to happen while it boots. Does not wait.
---@param parts { clients: vmctl.AgentClients, process: vmctl.QemuProcess, ports: vmctl.Ports }
---@param ways table<string, true>
---@return vmctl.Task whose owner must cancel it
function M.lead(parts, ways)
  local self = { _clients = parts.clients, _process = parts.process, _ports = parts.ports, _waking = {} }
  return background.spawn("the firmware's guest", lead, self, ways)
end

--- Tells which way has led to the agent. Waits.
---@param client vmctl.ExecClient
---@return string|nil way, string?, string?
function M.answered(client)
  local result, err, code = client:run { "cat", WAY_FILE, check = true }
  if not result then return nil, err, code end
  return texts.trim_end(result.stdout)
end

return M
