-- lua5.4 tools/demo.lua KERNEL IMAGE [DISK]: boots real guests and shows what vmctl is for, step by step. DISK is a distribution's.
local vmctl = require "vmctl"

local kernel, image, disk = table.unpack(arg)
local roots = dofile((arg[0]:match "^(.*)/" or ".") .. "/demo-roots.lua")

local function step(what, fn)
  local begin = vmctl.now()
  local result = fn()
  local took = vmctl.now() - begin
  print(("%8.1f ms  %s"):format(took * 1000, what))
  return result, took
end

local function demo()
  local vm <close> = step("QEMU started", function()
    return assert(vmctl.machine.launch { kernel = kernel, initrd = image, name = "demo" })
  end)
  print(("            accelerator %s: %s"):format(vm.accel, vm.accel_reason))
  local _, ready = step("guest ready", function() return assert(vm:wait_ready { timeout = 60 }) end)
  local hello, first = step("first command: uname -sr", function() return assert(vm:run { "uname", "-sr", check = true }) end)
  print("            " .. hello.stdout:gsub("%s+$", ""))
  step("file pushed: /tmp/words", function()
    return assert(vm:write_file("/tmp/words", "pear\napple\nfig\napple\nquince\n"))
  end)
  local out, pipeline = step("pipeline: guest cat | guest sort -u | host wc -l", function()
    return assert(vmctl.pipeline {
      { "cat", "/tmp/words", on = vm }, { "sort", "-u", on = vm }, { "wc", "-l", on = vmctl.host }, check = true,
    })
  end)
  print(("            %s different words"):format(out.stdout:match "%d+"))
  assert(out.stdout:match "%d+" == "4", "the pipeline's result is wrong")
  step("guest powered off", function() return assert(vm:shutdown()) end)
  roots.image(step, kernel)
  if disk then roots.distribution(step, kernel, disk) end
  return ("demo: ok, accel=%s ready=%.2fs first-command=%.0fms pipeline=%.0fms"):format(vm.accel, ready, first * 1000,
    pipeline * 1000)
end

local ok, last = pcall(demo)
if not ok then
  io.stderr:write("demo: failed: ", tostring(last), "\n")
  os.exit(1)
end
print(last)
