-- Machines of a scenario with roots of their own. Takes about 20 seconds.
local assert = require "luassert"
local guest = require "spec.support.guest"
local options = require "vmctl.base.options"
local roots = require "spec.support.roots"
local scenario = require "vmctl".scenario
local support = require "spec.support"
local support_scenario = require "spec.support.scenario"

local function defaults(folder)
  return { kernel = guest.kernel, modules_dir = guest.modules_dir(), agent = guest.agent, cache_dir = folder .. "/cache" }
end

describe("a scenario's machine with a root", function()
  it("starts from it each time", support.run(function()
    local folder, artefacts = support.tmpdir(), support_scenario.folder()
    assert(os.execute(("mkdir '%s/tree'"):format(folder)))
    local image = roots.erofs(roots.folder(folder .. "/tree"), folder .. "/image.erofs")
    scenario.run("roots", { one = { root = "erofs:" .. image }, two = { root = { size = "64M" }, init = "agent" } },
      { defaults = defaults(folder), artefacts = artefacts }, function(vms)
        assert.equal("ID=little\n", vms.one:succeed "cat /etc/os-release; echo more > /more")
        vms.one:reboot()
        vms.one:fail "cat /more"
        assert(vms.two:machine():write_file("/file", "in an empty one"))
        assert.equal("in an empty one", vms.two:machine():read_file "/file")
      end)
    support_scenario.remove(artefacts)
  end, 240))

  it("is not copied where that would not be a copy", function()
    local function refused(spec) return select(2, pcall(scenario.open, { one = spec }, { snapshot = true })) end
    local kept = refused { root = { size = "64M" }, writes = "keep" }
    assert.truthy(kept:find("'one': writes = 'keep' and 'snapshot' exclude each other: each test begins with a copy", 1, true), kept)
    local shared = refused { root = { size = "64M" }, shares = { { host = "/srv", guest = "/srv" } } }
    assert.truthy(shared:find("machine 'one': 'shares' and 'snapshot' exclude each other", 1, true), shared)
  end)
end)

describe("machines with roots of which tests have copies", function()
  local folder = support_scenario.folder()
  local vms = scenario.machines({
    image = { root = "erofs:" .. folder .. "/image.erofs" }, empty = { root = { size = "64M" }, init = "agent" },
  }, {
    defaults = options.merge(defaults(folder), { memory = "128M" }), artefacts = folder .. "/tests", snapshot = true,
    prepare = function(all)
      all.image:succeed "echo prepared > /file"
      assert(all.empty:machine():write_file("/file", "prepared"))
    end,
  })

  setup(function()
    assert(os.execute(("mkdir '%s/tree'"):format(folder)))
    roots.erofs(roots.folder(folder .. "/tree"), folder .. "/image.erofs")
  end)

  teardown(function() support_scenario.remove(folder) end)

  for _, how in ipairs { "once", "twice" } do
    it("begin with what was written in memory or to a disk, " .. how, function()
      assert.equal("prepared\n", (vms.image:succeed "cat /file; rm /file"))
      local vm = vms.empty:machine()
      assert.equal("prepared", vm:read_file "/file")
      assert.truthy(select(2, vm:read_file "/more"):find("No such file", 1, true))
      assert(vm:write_file("/more", ("x"):rep(4 << 20)))
    end)
  end
end)
