-- Scenarios without a guest: their options, names, files and words.
local assert = require "luassert"
local artefacts = require "vmctl.scenario.artefacts"
local failure = require "vmctl.scenario.failure"
local groups = require "vmctl.scenario.group"
local network = require "vmctl.scenario.network"
local scenario = require "vmctl.scenario"
local snapshot = require "vmctl.scenario.snapshot"
local subnets = require "vmctl.scenario.subnet"
local support = require "spec.support"
local there = require "spec.support.scenario"

local run = support.run
local HERE = "spec/scenario_rules_spec.lua:"

local function assert_has(text, part)
  assert.truthy(text:find(part, 1, true), ("%q is not in: %s"):format(part, text))
end

local function refused(part, ...)
  local ok, err = pcall(groups.new, ...)
  assert.is_false(ok)
  assert_has(err, part)
end

describe("the options of a scenario", function()
  it("are known by name, and each mistake is named", function()
    refused("unknown option 'snapshots' (did you mean 'snapshot'?)", { a = {} }, { snapshots = true }, 1)
    refused("a table of machines expected, got nil", nil, nil, 1)
    refused("at least one machine", {}, nil, 1)
    refused("machine 'a': a table of options expected, got boolean", { a = true }, nil, 1)
    refused("'lazy' and 'snapshot' exclude each other", { a = { lazy = true } }, { snapshot = true }, 1)
  end)

  it("allow no machine that a method hides, or that is no host name", function()
    for _, name in ipairs { "partition", "start", "a b", "1st", "under_score", "" } do
      refused(("cannot be called '%s'"):format(name), { [name] = {} }, nil, 1)
    end
  end)

  it("take names alone for machines that have but the defaults", function()
    local group = groups.new({ "b", "a", c = { networks = { "wan" } } }, { defaults = { networks = { "lan" } } }, 1)
    assert.same({ "a", "b", "c" }, { group:machines()[1].name, group:machines()[2].name, group:machines()[3].name })
    assert.equal("10.77.1.1", group.a:ip())
    assert.equal("10.77.1.2", group.b:ip "lan")
    assert.equal("10.77.2.3", group.c:ip())
    assert.equal("vmctl.Scenario(a, b, c)", tostring(group))
    assert.equal("vmctl.ScenarioMachine(a, new)", tostring(group.a))
  end)

  it("give a machine option of launch that is wrong the machine's name", run(function()
    local folder = support.tmpdir()
    local ok, err = pcall(scenario.run, "wrong", { a = { kernel = "/nonexistent/kernel" } }, { artefacts = folder },
      function(vms) vms.a:succeed "true" end)
    assert.is_false(ok)
    assert_has(err, HERE)
    assert_has(err, "a: succeed: it did not start")
    assert_has(err, "/nonexistent/kernel")
    ok, err = pcall(scenario.run, "wrong", { a = { memmory = "1G" } }, { artefacts = folder }, function(vms) vms:start() end)
    assert.is_false(ok)
    assert_has(err, HERE)
    assert_has(err, "start: machine.launch: unknown option 'memmory' (did you mean 'memory'?)")
  end))

  it("belong to no describe where busted does not run", run(function()
    local script = require "spec.support.script"
    local code, _, text = script.run [[require "vmctl".scenario.machines { "a" }]]
    assert.equal(1, code)
    assert_has(text, "scenario.machines: busted does not run; see scenario.open and scenario.run")
  end))
end)

describe("a scenario's networks", function()
  local function subnet(text) return assert(subnets.parse(text)) end

  it("have subnets of IPv4 and IPv6", function()
    assert.equal("10.1.2.1", subnet "10.1.2.0/24":address(1))
    assert.equal("10.3.255.254", subnet "10.3.0.0/16":address(65534))
    assert.is_nil(subnet "10.3.0.0/16":address(65535))
    assert.is_nil(subnet "10.1.2.0/30":address(3))
    assert.equal("fd00:7:0:0:0:0:0:ff", subnet "fd00:7::/64":address(255))
    assert.equal("0:0:0:0:0:0:0:3", subnet "::/0":address(3))
    assert.is_nil(subnet "1:2:3:4:5:6:7:8/128":address(1))
    assert.equal("2001:db8:1:2:3:4:5:1", subnet "2001:db8:1:2:3:4:5::/112":address(1))
  end)

  it("know which addresses are theirs", function()
    assert.is_true(subnet "10.1.2.64/26":contains "10.1.2.127")
    for _, text in ipairs { "10.1.2.128", "10.1.2.64", "10.1.2.256", "10.1.2", "fd00::1", "", "x" } do
      assert.is_false(subnet "10.1.2.64/26":contains(text))
    end
    assert.is_true(subnet "fd00:7::/64":contains "fd00:7::beef")
    for _, text in ipairs { "fd00:8::1", "fd00:7::", "fd00:7::1::2", "fd00:7:1", "fd00:7::12345", "10.1.2.3", "1:2:3:4:5:6:7:8:9" } do
      assert.is_false(subnet "fd00:7::/64":contains(text))
    end
  end)

  it("are refused where they are none", function()
    for _, text in ipairs { "10.1.2.0", "10.1.2.0/33", "10.1.2.1/24", "10.1.2/24", "fd00::/129", "fd00::1/64", "/24", "x/1" } do
      assert.is_nil(subnets.parse(text), text)
    end
  end)

  it("give each mistake the names in it", function()
    local lan = { networks = { "lan" } }
    refused("network 'lan': '10.0.0.1/24' has bits behind its first 24", { a = lan }, { networks = { lan = "10.0.0.1/24" } }, 1)
    refused("network 'lan': a subnet as a string expected, got number", { a = lan }, { networks = { lan = 10 } }, 1)
    refused("network 'lna': no machine is in it", { a = lan }, { networks = { lna = "10.0.0.0/24" } }, 1)
    refused("machine 'b': there is no address 2 in 10.0.0.0/31", { a = {}, b = lan }, { networks = { lan = "10.0.0.0/31" } }, 1)
    refused("machine 'a': '10.0.1.1' is no address in 10.0.0.0/24", { a = { networks = { lan = "10.0.1.1" } } },
      { networks = { lan = "10.0.0.0/24" } }, 1)
    refused("machines 'a' and 'b' have the address 10.77.1.2", { a = { networks = { lan = "10.77.1.2" } }, b = lan }, nil, 1)
    local ok, err = pcall(function() scenario.open({ a = lan }, { networks = { lan = "x" } }) end)
    assert.is_false(ok)
    assert_has(err, HERE)
  end)
end)

describe("a scenario's snapshots", function()
  it("leave nothing when the process ends without having closed them", run(function()
    local script = require "spec.support.script"
    local folder = support.tmpdir()
    assert.equal(-1, (script.run([[
      local scenario, snapshot = require "vmctl.scenario", require "vmctl.scenario.snapshot"
      snapshot.options = function() os.execute("kill -9 $PPID") end -- the files are made by now
      local options = { snapshot = true, artefacts = os.getenv "TMPDIR" .. "/artefacts" }
      scenario.run("t", { "a" }, options, function(vms) vms:start() end)
    ]], { env = { "TMPDIR=" .. folder } })))
    assert.truthy(require "vmctl.core".fs.stat(folder .. "/artefacts/t"))
    for _, name in ipairs(require "vmctl.core".fs.list(folder)) do assert.is_nil(name:find "snapshot") end
  end))
end)

describe("a scenario's verbs", function()
  it("say that no test runs, at the line that called", function()
    local group = groups.new({ "a" }, nil, 1)
    local ok, err = pcall(function() group.a:succeed "true" end)
    assert.is_false(ok)
    assert_has(err, HERE)
    assert_has(err, "no test is running")
  end)

  it("say which networks there are not", run(function()
    local vms <close> = scenario.open({ "a" }, { artefacts = support.tmpdir() })
    assert_has(select(2, pcall(vms.partition, vms, { { "a" } })), "the machines have no 'networks'")
    assert_has(select(2, pcall(vms.partition, vms, { { "z" } })), "no machine 'z'")
    assert_has(select(2, pcall(vms.switch, vms, "lan")), "no network 'lan'")
    assert_has(select(2, pcall(vms.a.block, vms.a)), "it has no 'networks'")
  end))
end)

describe("scenario.run", function()
  it("gives what the test returns, and leaves nothing when it passed", run(function()
    local folder = support.tmpdir()
    assert.same({ 1, nil, 3 }, { scenario.run("fine", { "a" }, { artefacts = folder }, function() return 1, nil, 3 end) })
    assert.is_nil(there.read(folder .. "/fine/report.txt"))
    assert.is_nil(require "vmctl.core".fs.stat(folder .. "/fine"))
  end))

  it("raises what the test raises, and says where the artefacts are", run(function()
    local folder = support.tmpdir()
    local ok, err = pcall(scenario.run, "a wrong/one", { "a" }, { artefacts = folder }, function() error "by hand" end)
    assert.is_false(ok)
    assert_has(err, HERE)
    assert_has(err, "by hand\n  artefacts: " .. folder .. "/a_wrong_one")
    assert_has(there.read(folder .. "/a_wrong_one/report.txt"), "by hand")
  end))

  it("ends a test that never ends by itself", run(function()
    local vmctl = require "vmctl"
    local ok, err = pcall(scenario.run, "long", { "a" }, { artefacts = support.tmpdir(), limit = 0.1 }, function()
      assert(vmctl.sleep(60))
    end)
    assert.is_false(ok)
    assert_has(tostring(err), "the test ran out of its limit of 0.1 s\n  artefacts: ")
  end))

  it("names the subtest that failed, and the one around it", run(function()
    local ok, err = pcall(scenario.run, "parts", { "a" }, { artefacts = support.tmpdir() }, function()
      scenario.subtest("good", function() end)
      scenario.subtest("outer", function()
        scenario.subtest("inner", function(text) error(text, 0) end, "why")
      end)
    end)
    assert.is_false(ok)
    assert_has(err, "subtest 'outer': subtest 'inner': why")
  end))

  it("gives back what a subtest returns", function()
    assert.same({ 1, 2 }, { scenario.subtest("s", function(...) return ... end, 1, 2) })
  end)
end)

describe("artefacts", function()
  it("have names that a file can have", function()
    assert.equal("a_test_it_s_-fine-", artefacts.file_name "a test: it's -fine-")
    assert.equal("etc_passwd", artefacts.file_name "../../etc/passwd")
    assert.equal("test", artefacts.file_name "...")
    assert.equal(120, #artefacts.file_name(("x"):rep(500)))
  end)

  it("are numbered where a name is taken, and a new run begins empty", run(function()
    local root = support.tmpdir() .. "/deep/root"
    local a = assert(artefacts.open("t", { artefacts = root }))
    assert.equal(root .. "/t/shot.png", a:file("shot", ".png"))
    a:write("shot.png", "one")
    assert.equal(root .. "/t/shot-2.png", a:file("shot", ".png"))
    assert.is_true(a:close(true))
    local b = assert(artefacts.open("t", { artefacts = root }))
    assert.is_nil(there.read(root .. "/t/shot.png"))
    assert.is_false(b:close(false))
    assert.is_nil(require "vmctl.core".fs.stat(root .. "/t"))
  end))

  it("are removed without following links", run(function()
    local folder = support.tmpdir()
    local fs = require "vmctl.core".fs
    assert(fs.mkdir(folder .. "/kept"))
    assert(io.open(folder .. "/kept/file", "w")):close()
    assert(fs.mkdir(folder .. "/gone"))
    assert(fs.symlink(folder .. "/kept", folder .. "/gone/link"))
    artefacts.remove(folder .. "/gone")
    assert.is_nil(fs.stat(folder .. "/gone"))
    assert.equal("", there.read(folder .. "/kept/file"))
  end))

  it("cannot be where no folder can be made: the test is told so", run(function()
    local ok, err = pcall(function() scenario.open({ "a" }, { artefacts = "/proc/nonexistent/x" }) end)
    assert.is_false(ok)
    assert_has(err, HERE)
    assert_has(err, "/proc/nonexistent")
  end))
end)

describe("a failure's words", function()
  it("show the end of a text, how much there was, and no control bytes", function()
    local lines = {}
    for i = 1, 50 do lines[i] = "line " .. i end
    local text = failure.section("stdout", table.concat(lines, "\n") .. "\27[31mred\7\n\n")
    assert_has(text, "  stdout (the last 20 of 50 lines):\n    | line 31\n")
    assert_has(text, "    | line 50red\\x07")
    assert.is_nil(text:find("line 30\n", 1, true))
    assert.equal("  stderr: nothing", failure.section("stderr", " \n"))
    assert.equal("  stderr: nothing", failure.section("stderr", nil))
  end)

  it("hide secrets", function()
    local log = require "vmctl.log"
    log.hide "hunter2secret"
    local text = failure.section("stdout", "it is hunter2secret") .. failure.command_sections("login hunter2secret")[1]
    log.unhide "hunter2secret"
    assert.is_nil(text:find("hunter2", 1, true))
    assert_has(text, "***")
  end)
end)

describe("a snapshot's options", function()
  it("share the memory's file with nobody but the template", run(function()
    local files = assert(snapshot.files())
    local ram = files.ram:fileno()
    local template = snapshot.options({ memory = 128, args = { "-odd" }, fds = { 0 } }, files, false)
    assert.same({ args = { "-odd", "-object", "memory-backend-file,id=ram,size=128M,mem-path=/proc/self/fd/5,share=on", "-machine",
      "memory-backend=ram" }, fds = { 0, ram } }, template)
    local copy = snapshot.options({}, files, true)
    assert.same({ args = { "-object", "memory-backend-file,id=ram,size=256M,mem-path=/proc/self/fd/4,share=off", "-machine",
      "memory-backend=ram", "-incoming", "defer" }, fds = { ram } }, copy)
    files.close()
  end))
end)

describe("a scenario's network", function()
  it("keeps cuts and partitions for machines that come later", run(function()
    local folder = support.tmpdir()
    local vmctl = require "vmctl"
    local net = assert(network.open("lan", 1, { folder = folder, capture = folder .. "/lan.pcapng" }))
    local card = assert(net:card("a", 1))
    assert.same({ connect = "unix:" .. folder .. "/1-1", mac = "52:54:00:77:01:01" }, card)
    assert(net:card("b", 2))
    net:block("a", true)
    net:partition { { "a" }, { "b" } }
    local a <close> = assert(vmctl.l2.dial(card.connect))
    support.eventually(function() return net.switch:port "a" end)
    net:apply()
    local b <close> = assert(vmctl.l2.dial(net:card("b", 2).connect))
    support.eventually(function() return net.switch:port "b" end)
    net:apply()
    local frame = require "spec.support.l2".frame { text = "hello" }
    assert(a:send(frame))
    assert.equal("ETIMEDOUT", support.code(b:recv(0.05)))
    net:block("a", false)
    assert(a:send(frame))
    assert.equal("ETIMEDOUT", support.code(b:recv(0.05)))
    net:partition(nil)
    assert(a:send(frame))
    assert.equal(frame, assert(b:recv(30)):sub(1, #frame))
    net:close()
    assert.is_true(#there.read(folder .. "/lan.pcapng") > 100)
  end))
end)
