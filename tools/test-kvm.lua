-- lua5.4 tools/test-kvm.lua SPEC...: runs each spec file in an emulated guest of its own that has KVM and /dev/vhost-vsock, as a
-- developer's machine has them. One line for each file, its output where it failed; then the sum. (make test-kvm)
-- Environment: JOBS, the guests at a time.
package.path = "./?.lua;" .. package.path

local core = require "vmctl.core"
local guest = require "spec.support.guest"
local outer = require "spec.support.outer_guest"
local vmctl = require "vmctl"

local BOOT = 300                -- seconds until the guest is ready
local LIMIT = 1200              -- seconds for a file
local SILENCE = 200             -- seconds without a test's end
local QUIET = 20                -- seconds after which the guest is asked for a sign of life
local ANSWER = 30               -- seconds for that
local MEMORY = "3500M"          -- the image is unpacked into it, and guests run beside each other
local JOBS = tonumber(os.getenv "JOBS") or 2

local LUA = "/usr/bin/lua5.4"
local TOOLS = { LUA, "/usr/bin/bash", "/usr/bin/busybox", "/usr/bin/find", "/usr/bin/mkfs.erofs", "/usr/bin/qemu-img",
  "/usr/bin/sha256sum", "/usr/bin/tar", "/usr/sbin/mke2fs", "/etc/mke2fs.conf" }
local ROCKS = { "/usr/share/lua/5.4", "/usr/lib/x86_64-linux-gnu/lua/5.4" } -- busted, luassert, lfs, luv … of the distribution
local PROJECT = { "spec", "lua", "tools", "bin", "proto", ".busted", "docs" }

local function add(files, path, to)
  local found = core.fs.stat(path)
  if not found then return end
  if found.type == "directory" then outer.add_tree(files, path, to) else files[to] = { from = path } end
end

local function add_libraries(files, folder)
  for _, name in ipairs(assert(core.fs.list(folder))) do
    local path = folder .. "/" .. name
    if core.fs.stat(path).type == "directory" then
      add_libraries(files, path)
    elseif name:find "%.so$" then
      outer.add_program(files, path)
    end
  end
end

local function build(output)
  local files, home = {}, outer.home .. "/"
  for _, path in ipairs(TOOLS) do
    if core.fs.stat(path) then outer.add_program(files, path) end
  end
  files["/bin/sh"] = { from = "/usr/bin/bash", mode = 493 } -- busybox' shell takes its own find, tar and mke2fs
  files["/usr/bin/busted"] = { from = "/usr/bin/busted" }
  for _, folder in ipairs(ROCKS) do add(files, folder, folder) end
  add_libraries(files, ROCKS[2])
  for _, name in ipairs(PROJECT) do add(files, name, home .. name) end
  for _, name in ipairs(assert(core.fs.list "build/vmctl")) do
    outer.add_program(files, core.fs.real "build/vmctl" .. "/" .. name)
    files[home .. "build/vmctl/" .. name] = { from = "build/vmctl/" .. name }
  end
  files[home .. "build/vmctl-agent"] = { from = guest.agent, mode = 493 }
  add(files, guest.modules_dir(), home .. "build/kernel/modules")
  files["/tmp"] = { folder = true, mode = 1023 }
  files["/var/tmp"] = { folder = true, mode = 1023 } -- where QEMU keeps what a guest writes and nobody wants
  return outer.build_image(output, files)
end

local function command_for(spec)
  local home = outer.home
  return { LUA, "/usr/bin/busted", "--lua=lua5.4", "-o", "TAP", spec, cwd = home, timeout = LIMIT, merge_stderr = true, env = {
    LUA_PATH = outer.lua_path .. ";;", LUA_CPATH = home .. "/build/?.so;;", TERM = "dumb", HOME = "/root", USER = "root", TMPDIR = "/tmp",
    PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", VMCTL_SPEC_SCALE = "3",
  } }
end

-- Finds out if the guest runs a command. One that does not may have been busy: it is asked twice.
local function is_alive(vm)
  return vm:run { "true", timeout = ANSWER } ~= nil or vm:run { "true", timeout = ANSWER } ~= nil
end

-- Ends a guest whose processor stands still, as an emulated one may, and one whose spec says nothing for too long.
local function watch(vm, state)
  while not state.why do
    vmctl.sleep(QUIET)
    local heard = state.heard
    local silence = vmctl.now() - heard
    if silence >= SILENCE then
      state.why = ("the spec said nothing for %d s"):format(SILENCE)
    elseif silence >= QUIET and state.ready and not is_alive(vm) and state.heard == heard then
      state.why = "the guest stands still: it runs no command"
    end
  end
  vm:close()
end

-- Counts the tests of a TAP text that passed, failed and were skipped; `whole` is true if the text is complete.
local function count(output)
  local counts = { passed = 0, failed = 0, skipped = 0, whole = output:find "\n1%.%.%d+\n" ~= nil }
  for line in output:gmatch "[^\n]+" do
    local kind = line:find "^ok %d+ %- # SKIP" and "skipped" or line:find "^ok %d+ " and "passed" or line:find "^not ok %d+ " and "failed"
    if kind then counts[kind] = counts[kind] + 1 end
  end
  return counts
end

-- Runs a file in an outer guest of its own. Returns its counts, and its output or the reason of its early end.
local function attempt(image, spec)
  local output, state = {}, { heard = vmctl.now() }
  local vm <close> = assert(outer.launch(image, { memory = MEMORY, cpus = 1 }))
  local command, ready, done, err = command_for(spec), nil, nil, nil
  command.on_output = function(data)
    state.heard = vmctl.now()
    output[#output + 1] = data
  end
  vmctl.scope(function()
    local watcher = vmctl.spawn(watch, vm, state)
    ready, err = vm:wait_ready(BOOT)
    state.ready = ready
    if ready then done, err = vm:run(command) end
    watcher:cancel()
  end)
  local text = table.concat(output)
  local counts = count("\n" .. text)
  if not counts.whole then
    local why = state.why or err or ("busted's exit code %d"):format(done.exit_code)
    text = ("%s\nno end: %s\nits console:\n%s\n"):format(text, why, vm:console():sub(-2000))
  end
  return counts, text
end

-- A guest in which nothing moves says nothing about the spec: it has a second chance, and both are shown.
local function run(image, spec)
  local began = vmctl.now()
  local counts, text = attempt(image, spec)
  if not counts.whole then
    io.write(text, "once more, in a fresh guest: ", spec, "\n")
    counts, text = attempt(image, spec)
  end
  if not counts.whole then counts.failed = counts.failed + 1 end
  if counts.failed > 0 then io.write(text) end
  local skipped = counts.skipped > 0 and (", %d skipped"):format(counts.skipped) or ""
  print(("%s: %d passed, %d failed%s (%.1f s)"):format(spec, counts.passed, counts.failed, skipped, vmctl.now() - began))
  io.flush()
  return counts
end

local folder = assert(core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-kvm"))
local image = build(folder .. "/outer.img")
table.sort(arg, function(a, b) return core.fs.stat(a).size > core.fs.stat(b).size end) -- as a rule, the longest first
local results = vmctl.map(arg, function(spec) return run(image, spec) end, { concurrency = JOBS })
os.remove(image)
os.remove(folder)

local total = { passed = 0, failed = 0, skipped = 0 }
for _, counts in ipairs(results) do
  for name in pairs(total) do total[name] = total[name] + counts[name] end
end
print(("%d passed, %d failed, %d skipped"):format(total.passed, total.failed, total.skipped))
os.exit(total.failed == 0 and total.passed > 0, true)
