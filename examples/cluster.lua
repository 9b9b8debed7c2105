-- A cluster of three guests on a switch, through a partition: who reaches whom before it, in it, and when it is healed.
-- Usage: lua5.4 examples/cluster.lua (needs `make guest`)
-- You will see three tables of pings, and what the switch has counted.
local vmctl = require "vmctl"

local NAMES = { "anna", "ben", "cora" }

local function address(i) return "10.0.0." .. i end

local function launch(folder, name)
  local vm, why, code = vmctl.machine.launch {
    kernel = "build/kernel/vmlinuz", initrd = "build/guest.img", name = name, nics = { { listen = folder .. name } },
  }
  if vm then return vm end
  assert(code == "ENOENT", why)
  print(("skipped: %s (make guest)"):format(why))
  os.exit(0, true)
end

local function boot(vm, i)
  assert(vm:wait_ready { timeout = 30 })
  assert(vm:run { "sh", "-c", 'ip link set eth0 up && ip addr add "$1/24" dev eth0', "sh", address(i), check = true })
end

-- A table of who reaches whom, all asked at once.
local function show(vms, title)
  print(title)
  local rows = vmctl.map(vms, function(vm, from)
    local row = vmctl.map(NAMES, function(name, to)
      if from == to then return "" end
      local ping = assert(vm:run { "ping", "-c", "3", "-i", "0.2", "-W", "1", address(to), timeout = 10 })
      return (ping.exit_code == 0 and " reaches " or " misses ") .. name
    end)
    return ("  %s:%s"):format(vm.name, table.concat(row))
  end)
  print(table.concat(rows, "\n"))
end

local folder = assert(vmctl.host:run { "mktemp", "-d", check = true }).stdout:gsub("\n", "")
local cleaning <close> = setmetatable({}, { __close = function() vmctl.host:run { "rm", "-r", folder } end }) -- luacheck: ignore
local sw <close> = vmctl.l2.switch()

vmctl.run(function()
  local vms = {}
  for i, name in ipairs(NAMES) do
    vms[i] = launch("unix:" .. folder .. "/", name)
    sw:dial("unix:" .. folder .. "/" .. name, { name = name })
  end
  vmctl.all(vms, boot)

  show(vms, "together")
  sw:partition { { "anna", "ben" }, { "cora" } }
  show(vms, "apart: anna and ben here, cora there")
  sw:heal()
  show(vms, "healed")

  local total = assert(sw:counts()).total
  print(("%d frames, %d cut off"):format(total.frames_in, total.dropped_cut))
  for _, vm in ipairs(vms) do vm:close() end
end)
