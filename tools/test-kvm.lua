-- lua5.4 tools/test-kvm.lua SPEC...: runs spec files in an emulated guest that has KVM and /dev/vhost-vsock, as a developer's
-- machine has them. Their output comes as it is written; the exit code is busted's. (make test-kvm)
package.path = "./?.lua;" .. package.path

local core = require "vmctl.core"
local guest = require "spec.support.guest"
local outer = require "spec.support.outer_guest"
local vmctl = require "vmctl"

local LIMIT = 1500              -- seconds for all of it
local MEMORY = "3500M"          -- the image is unpacked into it, and guests run beside each other

local LUA = "/usr/bin/lua5.4"
local TOOLS = { LUA, "/usr/bin/tar", "/usr/bin/sha256sum", "/usr/bin/qemu-img" }
local ROCKS = { "/usr/share/lua/5.4", "/usr/lib/x86_64-linux-gnu/lua/5.4" } -- busted, luassert, lfs, luv … of the distribution
local PROJECT = { "spec", "lua", "tools", "bin", "proto", ".busted" }

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
  return outer.build_image(output, files)
end

local function run(vm, specs)
  local home = outer.home
  local command = { LUA, "/usr/bin/busted", "--lua=lua5.4", "-o", "plainTerminal" }
  table.move(specs, 1, #specs, #command + 1, command)
  command.cwd, command.timeout, command.merge_stderr = home, LIMIT, true
  command.env = {
    LUA_PATH = outer.lua_path .. ";;", LUA_CPATH = home .. "/build/?.so;;", TERM = "dumb", HOME = "/root", USER = "root", TMPDIR = "/tmp",
    PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  }
  command.on_output = function(data)
    io.write(data)
    io.flush()
  end
  return vm:run(command)
end

local folder = assert(core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-kvm"))
local image = build(folder .. "/outer.img")
local vm <close> = assert(outer.launch(image, { memory = MEMORY }))
local ready, err = vm:wait_ready(LIMIT / 3)
os.remove(image)
os.remove(folder)
if not ready then
  io.stderr:write(err, "\n")
  os.exit(1, true)
end
print(("the outer guest was ready after %.1f s"):format(ready))
local begin = vmctl.now()
local done, why = run(vm, table.move(arg, 1, #arg, 1, {}))
print(("%s after %.1f s"):format(done and "ended" or why, vmctl.now() - begin))
vm:close()
os.exit(done ~= nil and done.exit_code == 0, true)
