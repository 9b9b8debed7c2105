-- Machines of a scenario with roots of their own. Takes about 15 seconds.
local assert = require "luassert"
local guest = require "spec.support.guest"
local roots = require "spec.support.roots"
local scenario = require "vmctl".scenario
local support = require "spec.support"
local support_scenario = require "spec.support.scenario"

describe("a scenario's machine with a root", function()
  local function defaults(folder)
    return { kernel = guest.kernel, modules_dir = guest.modules_dir(), agent = guest.agent, cache_dir = folder .. "/cache" }
  end

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

  it("takes no snapshots, which would be without its disk", function()
    local ok, err = pcall(scenario.open, { one = { root = { size = "64M" } } }, { snapshot = true })
    assert.is_false(ok)
    assert.truthy(err:find("machine 'one': 'root' and 'snapshot' exclude each other", 1, true))
  end)
end)
