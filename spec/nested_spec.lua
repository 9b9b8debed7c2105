-- #nested: a guest that is the host of another, reached over /dev/vhost-vsock. Everything in the inner guest is emulated by
-- an emulated processor: this takes some minutes (`make test-nested`). Progress is on standard error.
local assert = require "luassert"
local checks = require "spec.support.nested_checks"
local core = require "vmctl.core"
local guest = require "spec.support.guest"
local support = require "spec.support"
local tap = require "spec.support.tap_results"
local vmctl = require "vmctl"

local LIMIT = 1500 -- seconds for all of it

local QEMU = "/usr/bin/qemu-system-x86_64"
local FIRMWARE = { "bios-256k.bin", "linuxboot_dma.bin", "kvmvapic.bin" }
local FIRMWARE_FOLDERS = { "/usr/share/qemu/", "/usr/share/seabios/" }
local ACCELERATOR = "/usr/lib/x86_64-linux-gnu/qemu/accel-tcg-x86_64.so"

local begin = vmctl.now()

local function progress(text)
  io.stderr:write(("nested: %5.1f s  %s\n"):format(vmctl.now() - begin, text))
end

local function add_program(files, path)
  files[path] = { from = path }
  local pipe <close> = assert(io.popen("ldd " .. path))
  for line in pipe:lines() do
    local library = line:match "=> (/%S+)" or line:match "^%s*(/%S+)"
    if library then files[library] = { from = library } end
  end
end

local function add_firmware(files, name)
  for _, folder in ipairs(FIRMWARE_FOLDERS) do
    if core.fs.stat(folder .. name) then
      files[folder .. name] = { from = folder .. name }
      return
    end
  end
  error("no firmware " .. name)
end

local function add_tree(files, folder, to)
  for _, name in ipairs(assert(core.fs.list(folder))) do
    local path = folder .. "/" .. name
    if core.fs.stat(path).type == "directory" then
      add_tree(files, path, to .. "/" .. name)
    else
      files[to .. "/" .. name] = { from = path }
    end
  end
end

-- The outer guest's image: it can be a vsock host, and has QEMU, our machine modules and the inner guest's files.
local function build_outer(output)
  local files = { ["/srv/vmlinuz"] = { from = guest.kernel }, ["/srv/guest.img"] = { from = guest.image } }
  add_program(files, QEMU)
  add_program(files, ACCELERATOR)
  for _, name in ipairs(FIRMWARE) do add_firmware(files, name) end
  add_tree(files, "lua", "/srv/lua")
  for _, name in ipairs { "tap.lua", "nested_checks.lua" } do files["/srv/" .. name] = { from = "spec/support/" .. name } end
  return guest.build_image { output = output, agent = guest.agent, modules_dir = assert(guest.modules_dir()),
    modules = { "vhost_vsock" }, files = files, compress = false }
end

describe("a guest two levels deep #nested", function()
  local results = tap.none()

  lazy_setup(function()
    local folder = assert(core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-nested"))
    local image = build_outer(folder .. "/outer.img")
    progress "the outer guest's image is built"
    local vm <close> = assert(guest.launch { name = "outer", initrd = image, machine = "q35", memory = "2000M", cpus = 2 })
    local ready, err = vm:wait_ready(LIMIT / 3)
    os.remove(image)
    os.remove(folder)
    assert(ready, err)
    progress "the outer guest is ready"
    local out, errors = {}, {}
    local record, why = vm:run { guest.agent_inside, "--lua", "/srv/tap.lua", "/srv/nested_checks.lua",
      env = { LUA_PATH = "/srv/lua/?.lua;/srv/lua/?/init.lua" }, timeout = LIMIT, on_output = function(data, stream)
        table.insert(stream == "stdout" and out or errors, data)
        for line in data:gmatch "[^\n]+" do progress(line) end
      end }
    results = tap.parse(table.concat(out), table.concat(errors), record, why)
  end)

  it("is checked to the end", function()
    results:assert_complete(checks)
  end)

  for _, check in ipairs(checks) do
    it(check[1], function() results:assert_ok(check[1]) end)
  end

  it("leaves no QEMU behind", support.run(function()
    support.eventually(function()
      for name in pairs(support.children()) do
        if name:find "qemu" then return false end
      end
      return true
    end)
  end))
end)
