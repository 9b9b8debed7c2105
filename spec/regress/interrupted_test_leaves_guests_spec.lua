-- `vmctl test` ran busted in a process group of its own: Ctrl-C left it and its guests running behind the prompt, and it could not
-- read the terminal. Whatever ends a test now ends its guests, and removes its private folder.
-- Takes about 20 seconds.
local assert = require "luassert"
local cli = require "spec.support.cli"
local core = require "vmctl.core"
local guest = require "spec.support.guest"
local support = require "spec.support"
local there = require "spec.support.scenario"
local vmctl = require "vmctl"

local LIMIT = 90

local INNER = [==[
local scenario = require "vmctl".scenario
describe("a test", function()
  local vms = scenario.machines({ a = { kernel = %q, initrd = %q, memory = "192M", networks = { "lan" } } }, { artefacts = %q })
  it("waits", function()
    vms.a:succeed "true"
    io.open(%q, "w"):close()
    vms.a:succeed { %s }
  end)
  it("is never reached", function() io.open(%q, "w"):close() end)
end)
]==]

-- Starts vmctl test, with options of the process in `more`, and waits until the test has begun.
local function start(folder, more, last_command)
  local inner, begun, second = folder .. "/inner_spec.lua", folder .. "/begun", folder .. "/second"
  local file = assert(io.open(inner, "w"))
  file:write(INNER:format(guest.kernel, guest.image, folder .. "/artefacts", begun, last_command or '"sleep", "80"', second))
  file:close()
  local command = { cli.PROGRAM, "test", "-o", "plainTerminal", inner, env = { TMPDIR = folder, TERM = "dumb" } }
  for name, value in pairs(more or { stdin = "null", stdout = "null", stderr = "null" }) do command[name] = value end
  local program = assert(vmctl.process.spawn(command))
  local last = vmctl.now() + LIMIT
  while not there.read(begun) do
    assert.is_true(vmctl.now() < last, "the test did not begin")
    assert(vmctl.sleep(0.05))
  end
  return program
end

-- Processes whose command line or environment names a folder.
local function processes_of(folder)
  local list = {}
  for _, pid in ipairs(core.fs.list "/proc") do
    local command = pid:match "^%d+$" and there.read("/proc/" .. pid .. "/cmdline") or ""
    if command:find(folder, 1, true) then list[#list + 1] = pid .. " " .. command:gsub("%z", " ") end
  end
  return list
end

local function folders_in(root)
  local list = {}
  for _, name in ipairs(core.fs.list(root)) do
    if name:find "^vmctl%-" then list[#list + 1] = name end
  end
  return list
end

local function assert_nothing_left(folder)
  local last = vmctl.now() + LIMIT
  local left
  repeat
    left = processes_of(folder)
    table.move(folders_in(folder), 1, #folders_in(folder), #left + 1, left)
    assert(#left == 0 or vmctl.sleep(0.05))
  until #left == 0 or vmctl.now() > last
  assert.same({}, left)
  assert.is_nil(there.read(folder .. "/second"))
end

describe("a test that is interrupted", function()
  for _, case in ipairs { { "INT", 130 }, { "TERM", 143 }, { "HUP", 129 } } do
    it("ends with its guests: " .. case[1], support.run(function()
      local folder = support.tmpdir()
      local program <close> = start(folder)
      assert.is_true(#processes_of(folder) >= 2) -- busted, and QEMU with the network's socket
      assert.equal(1, #folders_in(folder))
      assert(vmctl.host:run { "kill", "-" .. case[1], tostring(program.pid), check = true }) -- it alone, not its group
      assert.same({ exit_code = case[2] }, program:wait(LIMIT))
      assert_nothing_left(folder)
    end, LIMIT * 2))
  end

  it("ends with its guests where nobody could do anything more", support.run(function()
    local folder = support.tmpdir()
    local program <close> = start(folder)
    assert(vmctl.host:run { "kill", "-KILL", tostring(program.pid), check = true })
    assert.same({ signal = "KILL" }, program:wait(LIMIT))
    assert_nothing_left(folder)
  end, LIMIT * 2))

  it("ends at Ctrl-C on its terminal, with busted's report", support.run(function()
    local folder = support.tmpdir()
    local program <close> = start(folder, { tty = true })
    assert(program.stdout:write "\3")
    local said = ""
    for data in function() return (program.stdout:read(4096, LIMIT)) end do said = said .. data end
    assert.same({ exit_code = 130 }, program:wait(LIMIT))
    assert.truthy(said:find("0 successes / 0 failures / 1 error", 1, true), said)
    assert.truthy(said:find("interrupted", 1, true), said)
    assert_nothing_left(folder)
  end, LIMIT * 2))
end)

describe("a test that stops for a person", function()
  it("has the terminal", support.run(function()
    local folder = support.tmpdir()
    local env = { TMPDIR = folder, TERM = "dumb", VMCTL_INTERACT = "1" }
    local program <close> = start(folder, { tty = true, env = env }, '"sh", "-c", "exit 3"')
    local said = ""
    local function expect(pattern)
      while not said:find(pattern) do said = said .. assert(program.stdout:read(4096, LIMIT), pattern .. " is not in: " .. said) end
      said = said:sub(select(2, said:find(pattern)) + 1)
    end
    expect "exit code 3"
    expect "A shell in a"
    expect "[#$] "
    assert(program.stdout:write "echo answer $((6 * 7)); exit\n")
    expect "answer 42"
    expect "1 success / 1 failure / 0 errors"
    assert.same({ exit_code = 1 }, program:wait(LIMIT))
    assert.same({}, processes_of(folder))
    assert.same({}, folders_in(folder))
  end, LIMIT * 2))
end)

describe("a private folder whose maker is gone", function()
  it("is removed by the next one", support.run(function()
    local root = support.tmpdir()
    local script = require "spec.support.script"
    script.check([[
      local private_folder = require "vmctl.scenario.private_folder"
            local root = os.getenv "TMPDIR"
      local mine = assert(private_folder.open "vmctl-kind")
      local fs = require "vmctl.core".fs
      local name = mine.path:match "[^/]*$"
      local other = name:gsub("%.%x+%-", ".1-")                       -- our number, of a process before us
      local elsewhere = name:gsub("^vmctl%-kind%-%x+", "vmctl-kind-1"):gsub("%.%x+%-", ".1-") -- in another space of numbers
      for _, each in ipairs { other, elsewhere, "vmctl-kind-mine", "vmctl-kind" } do
        assert(fs.mkdir(root .. "/" .. each, 448))
        assert(io.open(root .. "/" .. each .. "/file", "w")):close()
      end
      private_folder.sweep "vmctl-kind"
      assert(fs.stat(mine.path) and not fs.stat(root .. "/" .. other))
      assert(fs.stat(root .. "/" .. elsewhere) and fs.stat(root .. "/vmctl-kind-mine") and fs.stat(root .. "/vmctl-kind"))
      mine:close()
      assert(not fs.stat(mine.path))
    ]], { env = { "TMPDIR=" .. root } })
  end, LIMIT))
end)
