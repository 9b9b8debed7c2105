local agent = require "spec.support.agent"
local script = require "spec.support.script"
local support = require "spec.support"
local vmctl = require "vmctl"

local run = support.run
local MOST = 16 << 10 -- KiB that an agent or a client may ever have resident
local GIB = 1 << 30

-- Runs Lua code in a process of its own, with the agent's address as its argument; what it prints, line by line.
local function in_own_process(code, address)
  local lines = {}
  for line in (script.run(code, address) .. "\n"):gmatch "(.-)\n" do lines[#lines + 1] = line end
  return lines
end

local COUNT = [[
local vmctl = require "vmctl"
local agent = require "spec.support.agent"
local client = assert(vmctl.exec.client(arg[1]))
local seen = 0
local result = assert(client:run { "sh", "-c", "head -c 1073741824 /dev/zero; exit 7", timeout = 60,
  on_output = function(data) seen = seen + #data end })
print(seen)
print(result.exit_code)
print(agent.status("self", "VmHWM"))
]]

local CUT = [[
local vmctl = require "vmctl"
local agent = require "spec.support.agent"
local client = assert(vmctl.exec.client(arg[1]))
local result = assert(client:run { "sh", "-c", "echo first; head -c 300000000 /dev/zero; echo last", max_output = 1 << 20 })
print(result.stdout:sub(1, 5) .. " " .. result.stdout:sub(-5, -2) .. " " .. #result.stdout)
print(result.truncated)
print(agent.status("self", "VmHWM"))
]]

local FEED = [[
local vmctl = require "vmctl"
local agent = require "spec.support.agent"
local client = assert(vmctl.exec.client(arg[1]))
local piece, left = ("x"):rep(100000), 3000
local result = assert(client:run { "wc", "-c", stdin = function()
  left = left - 1
  return left >= 0 and piece or nil
end })
io.write(result.stdout)
print(agent.status("self", "VmHWM"))
]]

describe("exec: much output", function()
  it("of 1 GiB arrives whole, before the exit code, and neither side holds much of it", run(function()
    agent.program(function(_, address, pid)
      local lines = in_own_process(COUNT, address)
      assert.equal(GIB, math.tointeger(tonumber(lines[1])))
      assert.equal("7", lines[2])
      assert.is_true(tonumber(lines[3]) < MOST, lines[3] .. " KiB in the client")
      local most = agent.status(pid, "VmHWM")
      assert.is_true(most < MOST, most .. " KiB in the agent")
    end)
  end, 60))

  it("is cut down in a memory that does not grow with it", run(function()
    agent.program(function(_, address)
      local lines = in_own_process(CUT, address)
      assert.equal("first last 1048576", lines[1])
      assert.equal(300000011 - 1048576, math.tointeger(tonumber(lines[2])))
      assert.is_true(tonumber(lines[3]) < MOST, lines[3] .. " KiB in the client")
    end)
  end, 60))

  it("that nobody reads stops the one who writes it, and all of it comes when somebody does", run(function()
    agent.program(function(client, _, pid)
      local p = assert(client:start { "sh", "-c", "echo $$; exec head -c 100000000 /dev/zero", stdin = false })
      local writer = p:read():match "^%d+"
      local function written() return tonumber(io.open("/proc/" .. writer .. "/io"):read "a":match "wchar: (%d+)") end
      vmctl.sleep(0.3)
      local before = written()
      assert.is_true(before < 4 << 20, before .. " bytes written")
      vmctl.sleep(0.2)
      assert.equal(before, written())
      assert.is_true(agent.status(pid, "VmRSS") < MOST)
      local total = 0
      for data, stream in function() return p:read() end do
        if stream ~= "stdout" then break end
        total = total + #data
      end
      assert.equal(100000000, total)
      assert.same({ exit_code = 0 }, p:wait())
    end)
  end, 20))
end)

describe("exec: much input", function()
  it("arrives whole, and neither side holds much of it", run(function()
    agent.program(function(_, address, pid)
      local lines = in_own_process(FEED, address)
      assert.equal("300000000", lines[1])
      assert.is_true(tonumber(lines[2]) < MOST, lines[2] .. " KiB in the client")
      local most = agent.status(pid, "VmHWM")
      assert.is_true(most < MOST, most .. " KiB in the agent")
    end)
  end, 60))
end)
