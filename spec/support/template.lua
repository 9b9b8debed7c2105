--- A guest of the specs that has booted once, from which others start: where guests are emulated, a copy takes a tenth of a boot's
--- processor time. There is a template for each number of network cards. Its memory and its devices' state are files in a folder of
--- build/specs, whose name tells of all that they depend on; the first spec file that needs them makes them.
--- lua/vmctl/scenario/snapshot.lua says how a copy uses them.
local core = require "vmctl.core"
local guest = require "spec.support.guest"
local platform = require "vmctl.machine.platform"
local qemu = require "vmctl.machine.qemu"
local snapshot = require "vmctl.scenario.snapshot"
local vmctl = require "vmctl"

local M = {}

local BOOT, PAUSE = 60, 0.05 -- seconds
local FOLDER = guest.root .. (os.getenv "VMCTL_BUILD" or "build") .. "/specs"

-- Options that leave the machine what it is, but for the number of its cards.
local HARMLESS = { name = true, console_log = true, console_size = true, exec_timeout = true, nics = true }
local OF_BACKEND = { listen = true, connect = true, netdev = true, backend = true, mac = true, reconnect = true }

local function is_plain(options)
  for name, value in pairs(options) do
    if not HARMLESS[name] and not (name == "channel" and value == "mux") then return false end
  end
  for _, nic in ipairs(options.nics or {}) do
    for name in pairs(nic) do
      if not OF_BACKEND[name] then return false end
    end
  end
  return true
end

-- The template's cards, of which nobody hears.
local function silent_nics(count)
  local nics = {}
  for i = 1, count do nics[i] = { netdev = "hubport,hubid=" .. i, mac = ("52:54:00:00:00:%02x"):format(i) } end
  return nics
end

local function is_emulated()
  local own = platform.get()
  return not guest.arch and own ~= nil and platform.accel(own) == "tcg"
end

local function mark(path)
  local found = core.fs.stat(core.fs.real(path) or path)
  return found and ("%d %d %d"):format(found.inode, found.size, found.changed) or "none"
end

-- The files' folder, for a number of cards, this kernel and image, this QEMU and its arguments, and this machine's processors.
local function place(cards)
  local cpu = io.open "/proc/cpuinfo"
  local model = cpu and cpu:read "a":match "\nmodel name[^\n]*" or ""
  if cpu then cpu:close() end
  local spec = assert(qemu.describe { kernel = guest.kernel, initrd = guest.image, nics = silent_nics(cards) })
  local version = assert(vmctl.host:run { spec.qemu, "--version" }).stdout
  local words = qemu.command(spec, { mark(guest.kernel), mark(guest.image), model, version })
  return ("%s/template-%d-%s"):format(FOLDER, cards, core.sha256(table.concat(words, "\n")):hex():sub(1, 16))
end

local function open(folder)
  local ram, state = core.fs.open(folder .. "/ram", true), core.fs.open(folder .. "/state", true)
  if ram and state then return { ram = ram, state = state } end
  if ram then ram:close() end
end

local function close(files)
  files.ram:close()
  files.state:close()
end

local function launch(options, files, is_copy)
  local all = {}
  for name, value in pairs(options) do all[name] = value end
  local more = snapshot.options({}, files, is_copy)
  all.args, all.fds, all.channel = more.args, more.fds, "mux"
  return guest.launch(all)
end

-- Boots the template, whose files are in the folder and empty.
local function boot(folder, cards)
  local files = assert(open(folder))
  local guard <close> = setmetatable({}, { __close = function() close(files) end }) -- luacheck: ignore
  local vm <close> = assert(launch({ name = "template", nics = silent_nics(cards) }, files, false))
  assert(vm:wait_ready(BOOT))
  assert(snapshot.take(vm, files))
end

-- Makes the folder, and removes those of other kernels, images and so on.
local function make(folder, cards)
  assert(vmctl.host:run { "sh", "-ec", 'rm -rf "$1"-*; mkdir "$2"; cd "$2"; : >ram; : >state; chmod 666 ram state', "sh",
    ("%s/template-%d"):format(FOLDER, cards), folder .. ".new", check = true }) -- QEMU is a user of its own
  boot(folder .. ".new", cards)
  assert(core.fs.rename(folder .. ".new", folder))
end

-- Runs `fn` while no other process makes a template.
local function alone(fn)
  assert(vmctl.host:run { "sh", "-ec", 'mkdir -p "$1"; : >>"$1/template.lock"', "sh", FOLDER, check = true })
  local lock <close> = assert(core.fs.open(FOLDER .. "/template.lock", true))
  local deadline = core.now() + 2 * BOOT -- the other one boots a guest, and takes its memory
  while true do
    local ok, err, code = lock:lock(true)
    if ok then break end
    assert(code == "EBUSY" and core.now() < deadline, err)
    assert(core.sleep(PAUSE))
  end
  return fn()
end

local function find(cards)
  local folder = place(cards)
  local files = open(folder)
  if files then return files, folder end
  alone(function()
    if not core.fs.stat(folder) then make(folder, cards) end
  end)
  return assert(open(folder)), folder
end

-- A copy's cards come with the template's addresses.
local function readdress(vm)
  for i, mac in ipairs(vm.macs) do
    assert(vm:run { "ip", "link", "set", "eth" .. i - 1, "address", mac, check = true })
  end
  return vm
end

-- A copy; nil where the template does not serve, which is then made anew by the next one.
local function copy(options)
  local files, folder = find(#(options.nics or {}))
  local guard <close> = setmetatable({}, { __close = function() close(files) end }) -- luacheck: ignore
  local vm = assert(launch(options, files, true))
  local ok, err = snapshot.resume(vm, files, BOOT)
  if ok then return readdress(vm) end
  vm:close()
  io.stderr:write(("no copy of %s: %s\n"):format(folder, err))
  core.fs.rename(folder, folder .. ".bad")
end

--- A guest that is ready: a copy of the template, or one that boots where guests are not emulated, where the options make it another
--- machine, and where the template does not serve. Its console has not seen the boot. Waits.
---@param options? table as for guest.boot
---@return vmctl.Machine
function M.start(options)
  options = options or {}
  return is_plain(options) and is_emulated() and copy(options) or guest.boot(options)
end

return M
