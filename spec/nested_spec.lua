-- #nested: a guest that is the host of others, which have KVM and are reached over /dev/vhost-vsock: what most machines offer,
-- seen wherever QEMU runs (`make test-nested`). ACCEL=tcg emulates the inner guests as well, which takes minutes. Progress is on
-- standard error.
local assert = require "luassert"
local checks = require "spec.support.nested_checks"
local core = require "vmctl.core"
local guest = require "spec.support.guest"
local outer = require "spec.support.outer_guest"
local support = require "spec.support"
local tap = require "spec.support.tap_results"
local vmctl = require "vmctl"

local LIMIT = 1500 -- seconds for all of it

local begin = vmctl.now()

local function progress(text)
  io.stderr:write(("nested: %5.1f s  %s\n"):format(vmctl.now() - begin, text))
end

local function build_outer(folder, output)
  local files = { ["/srv/supervised.img"] = { from = guest.build_supervised(folder) } }
  for _, name in ipairs { "tap.lua", "nested_checks.lua" } do files["/srv/" .. name] = { from = "spec/support/" .. name } end
  return outer.build_image(output, files)
end

describe("a guest two levels deep #nested", function()
  local results = tap.none()

  lazy_setup(function()
    local folder = assert(core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-nested"))
    local image = build_outer(folder, folder .. "/outer.img")
    progress "the outer guest's image is built"
    local vm <close> = assert(outer.launch(image))
    local ready, err = vm:wait_ready(LIMIT / 3)
    for _, name in ipairs(core.fs.list(folder)) do os.remove(folder .. "/" .. name) end
    os.remove(folder)
    assert(ready, err)
    progress "the outer guest is ready"
    local out, errors = {}, {}
    local record, why = vm:run { guest.agent_inside, "--lua", "/srv/tap.lua", "/srv/nested_checks.lua",
      env = { LUA_PATH = outer.lua_path, ACCEL = os.getenv "ACCEL" or "kvm" }, timeout = LIMIT, on_output = function(data, stream)
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
