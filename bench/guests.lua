--- Settings and helpers of the benchmarks with guests. Under emulation, where a guest is some ten to thirty times as slow, they do less:
--- SIZE=bytes and FILES=n say how much.

local snapshot = require "vmctl.scenario.snapshot"
local vmctl = require "vmctl"
local platform = require "vmctl.machine.platform"

local M = {}

M.emulated = platform.accel(assert(platform.get())) ~= "kvm"

local function number(name, fast, emulated) return tonumber(os.getenv(name) or "") or M.emulated and emulated or fast end

M.size = number("SIZE", 1 << 30, 16 << 20) -- bytes
M.files = number("FILES", 30000, 2000)
M.copies = number("COPIES", 50, 50)

M.PIECE = ("x"):rep(64 * 1024)

--- The note of a row about these settings.
M.note = ("%s; SIZE=%d, FILES=%d, COPIES=%d"):format(M.emulated and "emulated" or "KVM", M.size, M.files, M.copies)

M.boot = { kernel = "build/kernel/vmlinuz", initrd = "build/guest.img" }

--- Starts the guest of `make guest` and waits for its agent.
---@return vmctl.Machine
function M.launch(opts)
  local all = { memory = "512M" }
  for _, set in ipairs { M.boot, opts or {} } do
    for key, value in pairs(set) do all[key] = value end
  end
  local vm = assert(vmctl.machine.launch(all))
  assert(vm:wait_ready(120))
  return vm
end

--- The options of a small guest: of one that boots, and with the files of a snapshot, of the template or of a copy.
---@return vmctl.MachineOptions
function M.options(files, is_copy)
  local all = { channel = "mux", memory = "256M", kernel = M.boot.kernel, initrd = M.boot.initrd }
  if not files then return all end
  local more = snapshot.options(all, files, is_copy)
  all.args, all.fds = more.args, more.fds
  return all
end

--- Boots one, and takes a snapshot of it.
---@return table files
function M.template()
  local files = assert(snapshot.files())
  local vm <close> = assert(vmctl.machine.launch(M.options(files, false)))
  assert(vm:wait_ready(120))
  assert(snapshot.take(vm, files))
  return files
end

local running = setmetatable({}, { __mode = "k" }) -- a command whose object is collected ends

--- A shell in the guest that reads from a virtio port and writes to it: what a stream can do without a protocol.
---@return vmctl.Stream
function M.shell(vm)
  local port = assert(vm:add_port "bench")
  running[port] = assert(vm:start { "sh", "-c", [[
    until dev=$(grep -lx bench /sys/class/virtio-ports/*/name 2>/dev/null); do sleep 0.05; done
    dev=/dev/$(basename "$(dirname "$dev")")
    exec <>"$dev" >&0
    echo ready
    while read -r line; do eval "$line"; done]] })
  assert(port:read_line(100, 60))
  return port
end

return M
