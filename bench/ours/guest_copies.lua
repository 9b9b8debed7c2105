-- vmctl: COPIES copies of one template at once, as a scenario makes them: how long until all have run a command, and what each takes of
-- the machine's memory then (PSS: shared pages count in parts).
-- Usage: guest_copies.lua

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local guests = require "guests"
local snapshot = require "vmctl.scenario.snapshot"
local support = require "support"
local vmctl = require "vmctl"

local function pss_kib(pid)
  for line in io.lines(("/proc/%d/smaps_rollup"):format(pid)) do
    local kib = line:match "^Pss:%s+(%d+)"
    if kib then return tonumber(kib) end
  end
end

vmctl.run(function()
  local files, vms, total = guests.template(), {}, 0
  local begin = vmctl.now()
  local numbers = {}
  for i = 1, guests.copies do numbers[i] = i end
  vmctl.map(numbers, function(i)
    vms[i] = assert(vmctl.machine.launch(guests.options(files, true)))
    assert(snapshot.resume(vms[i], files, 240))
    assert(vms[i]:run { "/bin/true", check = true, timeout = 240 })
  end, { concurrency = guests.copies })
  local seconds = vmctl.now() - begin
  for _, vm in ipairs(vms) do total = total + pss_kib(vm.pid) end
  for _, vm in ipairs(vms) do vm:close() end
  support.result("pss_mib", total / #vms / 1024)
  support.result("seconds", seconds)
end)
