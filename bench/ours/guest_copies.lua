-- vmctl: COPIES copies of one template at once, as a scenario makes them: how long until all have run a command, and what each takes of
-- the machine's memory then (PSS: shared pages count in parts).
-- Usage: guest_copies.lua

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local guests = require "guests"
local snapshot = require "vmctl.scenario.snapshot"
local support = require "support"
local vmctl = require "vmctl"

local MEMORY = "256M"
local base = { channel = "mux", memory = MEMORY, kernel = guests.boot.kernel, initrd = guests.boot.initrd }

local function options(files, is_copy)
  local all = snapshot.options(base, files, is_copy)
  for key, value in pairs(base) do all[key] = all[key] or value end
  return all
end

local function template()
  local files = assert(snapshot.files())
  local vm <close> = assert(vmctl.machine.launch(options(files, false)))
  assert(vm:wait_ready(120))
  assert(snapshot.take(vm, files))
  return files
end

local function pss_kib(pid)
  for line in io.lines(("/proc/%d/smaps_rollup"):format(pid)) do
    local kib = line:match "^Pss:%s+(%d+)"
    if kib then return tonumber(kib) end
  end
end

vmctl.run(function()
  local files, vms, total = template(), {}, 0
  local begin = vmctl.now()
  local numbers = {}
  for i = 1, guests.copies do numbers[i] = i end
  vmctl.map(numbers, function(i)
    vms[i] = assert(vmctl.machine.launch(options(files, true)))
    assert(snapshot.resume(vms[i], files, 240))
    assert(vms[i]:run { "/bin/true", check = true, timeout = 240 })
  end, { concurrency = guests.copies })
  local seconds = vmctl.now() - begin
  for _, vm in ipairs(vms) do total = total + pss_kib(vm.pid) end
  for _, vm in ipairs(vms) do vm:close() end
  support.result("pss_mib", total / #vms / 1024)
  support.result("seconds", seconds)
end)
