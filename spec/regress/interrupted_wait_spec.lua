-- SIGINT was noticed only when the outermost wait ended: the interpreter's hook sits on the main state, and that in the loop.
local child = require "spec.support.child"
local native = require "spec.support.native"
local process = require "vmctl.process"
local script = require "spec.support.script"
local support = require "spec.support"

local INT, LIMIT = 2, 60

local head = [[
  local vmctl = require "vmctl"
  local function closing(name)
    return setmetatable({}, { __close = function() io.stderr:write(name, " closed ", tostring(vmctl.sleep(0.001)), "\n") end })
  end
  local outer <close> = closing "script"
  vmctl.spawn(function() -- says so when all others wait
    for _ = 1, 3 do vmctl.yield() end
    io.stderr:write "ready\n"
  end)
]]

-- Sends SIGINT to a script that has said that it is ready. Its exit code, and what it wrote after that.
local function interrupt(body, options)
  local child_process, stderr = script.start(head .. body, options)
  assert.equal("ready", stderr:read_line(nil, LIMIT))
  assert(child_process:kill(INT))
  local text = ""
  for chunk in function() return (stderr:read(nil, LIMIT)) end do text = text .. chunk end
  local code, signal = child_process:wait(LIMIT)
  child_process:close()
  stderr:close()
  return code, text, signal
end

local function check_interrupted(body, first)
  return support.run(function()
    local code, text = interrupt(body)
    assert.equal(1, code)
    assert.equal((first or "") .. "script closed true\n", (text:match "^(.-)lua5.4: "))
    assert.truthy(text:find("interrupted!", 1, true), text)
  end, LIMIT)
end

describe("SIGINT ends", function()
  it("a sleep", check_interrupted "vmctl.sleep(3600)")
  it("a read", check_interrupted "local a, b = vmctl.pair() a:read(nil, math.huge)")
  it("a wait for a process", check_interrupted [[
    local sleeping <close> = assert(vmctl.process.spawn { "sleep", "3600" })
    sleeping:wait(math.huge)
  ]])
  it("a script that polls", check_interrupted "while true do vmctl.yield() end")
  it("a wait in a generator of a plain script", check_interrupted [[
    for _ in vmctl.wrap(function() vmctl.sleep(3600) coroutine.yield(1) end) do end
  ]])
  it("a wait on a virtual clock", check_interrupted [[
    require "vmctl.core".virtual(1)
    local a, b = vmctl.pair()
    a:read(nil, math.huge)
  ]])
  it("a task, whose wait is cancelled", check_interrupted([[
    vmctl.run(function()
      local inner <close> = closing "task"
      io.stderr:write(select(3, vmctl.sleep(3600)), "\n")
    end)
  ]], "ECANCELED\ntask closed nil\n"))
  it("tasks that the script waits for at the end of their scope", check_interrupted([[
    vmctl.map({ 1, 2 }, function() io.stderr:write(select(3, vmctl.sleep(3600)), "\n") end)
  ]], "ECANCELED\nECANCELED\n"))
  it("a task that gives others their turn", check_interrupted [[
    vmctl.run(function() while vmctl.yield() do end end)
  ]])
end)

describe("SIGINT", function()
  it("ends the children of the script", support.run(function()
    local starting, stderr = script.start [[
      local vmctl = require "vmctl"
      local sleeping = assert(vmctl.process.spawn { "sleep", "3600" })
      vmctl.spawn(function() io.stderr:write(sleeping.pid, "\n") end)
      vmctl.run(function() sleeping:wait(math.huge) end)
    ]]
    local pid = tonumber(stderr:read_line(nil, LIMIT))
    assert(starting:kill(INT))
    assert.same({ 1 }, { starting:wait(LIMIT) })
    starting:close()
    stderr:close()
    support.eventually(function() return child.gone(pid) end)
  end, LIMIT))

  it("can be caught; what follows goes on", support.run(function()
    local code, text = interrupt [[
      local ok, message = pcall(vmctl.sleep, 3600)
      io.stderr:write(tostring(ok), " ", message, " ", tostring(vmctl.sleep(0.001)), "\n")
    ]]
    assert.same({ 0, "false interrupted! true\nscript closed true\n" }, { code, text })
  end, LIMIT))

  it("kills when it comes a second time", support.run(function()
    local starting, stderr = script.start(head .. [[
      local stubborn <close> = setmetatable({}, { __close = function() io.stderr:write "again\n" vmctl.sleep(3600) end })
      vmctl.sleep(3600)
    ]])
    assert.equal("ready", stderr:read_line(nil, LIMIT))
    assert(starting:kill(INT))
    assert.equal("again", stderr:read_line(nil, LIMIT))
    assert(starting:kill(INT))
    assert.same({ -1, INT }, { starting:wait(LIMIT) })
    starting:close()
    stderr:close()
  end, LIMIT))

  it("fails the test of busted that waits", support.run(function()
    local folder = support.tmpdir()
    local path = folder .. "/sleeping_spec.lua"
    local file <close> = assert(io.open(path, "w"))
    file:write [[
      it("sleeps", function()
        local vmctl = require "vmctl"
        vmctl.spawn(function() io.stderr:write "ready\n" end)
        vmctl.sleep(3600)
      end)
    ]]
    file:close()
    local env = { LUA_PATH = package.path, LUA_CPATH = package.cpath }
    local command = child.shell('exec lua5.4 "$(command -v busted)" -o TAP ' .. path, { stdout = "pipe", stderr = "pipe", env = env })
    local running <close> = assert(process.spawn(command))
    assert.equal("ready", running.stderr:read_line(nil, LIMIT))
    assert(running:kill "INT")
    local text = ""
    for chunk in function() return (running.stdout:read(nil, LIMIT)) end do text = text .. chunk end
    assert.truthy(text:find("not ok 1 - sleeps", 1, true), text)
    assert.truthy(text:find("interrupted!", 1, true), text)
    assert.same({ exit_code = 1 }, running:wait(LIMIT))
  end, LIMIT))
end)

describe("SIGINT just before the loop waits", function()
  local function check_not_missed(wait)
    return support.run(function()
      local folder = support.tmpdir()
      local go = folder .. "/go"
      local env = { native.preload(native.build("signal_before_wait", folder)), "SIGNAL_BEFORE_WAIT=" .. go }
      local code, signal, text = script.run(('local vmctl = require "vmctl"\nio.open(%q, "w"):close()\n%s'):format(go, wait), { env = env })
      assert.same({ 1, nil }, { code, signal })
      assert.truthy(text:find("interrupted!", 1, true), text)
    end, LIMIT)
  end

  it("is not missed", check_not_missed "vmctl.sleep(3600)")
  it("is not missed when the loop has told the kernel of something new", check_not_missed [[
    local a, b = vmctl.pair()
    a:read(nil, 3600)
  ]])
  it("is not missed by a task", check_not_missed "vmctl.run(vmctl.sleep, 3600)")
end)
