-- A pipeline across two guests and this machine: each command runs where `on` says, and the bytes stream from one to the next.
-- Usage: lua5.4 examples/pipeline_two.lua (needs `make guest`)
-- You will see what the last command made of what two guests sent through each other, and where each stage ran.
local vmctl = require "vmctl"

local function launch(name)
  local vm, why, code = vmctl.machine.launch { kernel = "build/kernel/vmlinuz", initrd = "build/guest.img", name = name }
  if vm then return vm end
  assert(code == "ENOENT", why)
  print(("skipped: %s (make guest)"):format(why))
  os.exit(0, true)
end

local left <close> = launch "left"
local right <close> = launch "right"

vmctl.run(function()
  vmctl.all({ left, right }, function(vm) -- they boot side by side
    assert(vm:wait_ready { timeout = 30 })
    assert(vm:run { "hostname", vm.name, check = true })
  end)

  local out = assert(vmctl.pipeline {
    { "sh", "-c", 'seq 100000 | sed "s/^/$(hostname) /"', on = left },
    { "sh", "-c", 'sort -rnk2 | sed "s/$/ $(hostname)/"', on = right },
    { "sed", "-n", "1p;$p" }, -- here
    timeout = 30,
  })
  io.write(out.stdout)
  for i, stage in ipairs(out.stages) do print(("stage %d, %s: exit code %d"):format(i, stage.name, stage.exit_code)) end
end)
