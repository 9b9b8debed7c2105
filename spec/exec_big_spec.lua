local agent = require "spec.support.agent"
local script = require "spec.support.script"
local support = require "spec.support"

local run = support.run
local MOST = 16 << 10 -- KiB that an agent or a client may ever have resident
local GIB = 1 << 30

local HEAD = [[
local agent = require "spec.support.agent"
local client = assert(require("vmctl").exec.client(os.getenv "ADDRESS"))
local function say(value) io.stderr:write(tostring(value), "\n") end
]]

-- Runs Lua code in a process of its own; what it writes to stderr, line by line.
local function in_own_process(code, address)
  local status, _, text = script.run(HEAD .. code, { env = { "ADDRESS=" .. address } })
  assert.equal(0, status, text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line end
  return lines
end

local function check_memory(kib, where)
  if os.getenv "VMCTL_ASAN" and where == "client" then return end -- its shadow memory counts as resident
  assert.is_true(tonumber(kib) < MOST, ("%s KiB in the %s"):format(kib, where))
end

local COUNT = [[
local seen = 0
local result = assert(client:run { "sh", "-c", "head -c 1073741824 /dev/zero; exit 7", timeout = 60,
  on_output = function(data) seen = seen + #data end })
say(seen)
say(result.exit_code)
say(agent.status("self", "VmHWM"))
]]

local CUT = [[
local result = assert(client:run { "sh", "-c", "echo first; head -c 300000000 /dev/zero; echo last", max_output = 1 << 20 })
say(result.stdout:sub(1, 5) .. " " .. result.stdout:sub(-5, -2) .. " " .. #result.stdout)
say(result.truncated)
say(agent.status("self", "VmHWM"))
]]

local FEED = [[
local piece, left = ("x"):rep(100000), 3000
local result = assert(client:run { "wc", "-c", stdin = function()
  left = left - 1
  return left >= 0 and piece or nil
end })
say(result.stdout)
say(agent.status("self", "VmHWM"))
]]

describe("exec: much output", function()
  it("of 1 GiB arrives whole, before the exit code, and neither side holds much of it", run(function()
    agent.program(function(_, address, pid)
      local lines = in_own_process(COUNT, address)
      assert.equal(GIB, math.tointeger(tonumber(lines[1])))
      assert.equal("7", lines[2])
      check_memory(lines[3], "client")
      check_memory(agent.status(pid, "VmHWM"), "agent")
    end)
  end, 60))

  it("is cut down in a memory that does not grow with it", run(function()
    agent.program(function(_, address)
      local lines = in_own_process(CUT, address)
      assert.equal("first last 1048576", lines[1])
      assert.equal(300000011 - 1048576, math.tointeger(tonumber(lines[2])))
      check_memory(lines[3], "client")
    end)
  end, 60))

  it("that nobody reads stops the one who writes it, and all of it comes when somebody does", run(function()
    agent.program(function(client, _, pid)
      local p = assert(client:start { "sh", "-c", "echo $$; exec head -c 100000000 /dev/zero", stdin = false })
      local first = p:read() -- on a busy machine the first zeros are in it already
      local writer = first:match "^%d+"
      local function written() return tonumber(io.open("/proc/" .. writer .. "/io"):read "a":match "wchar: (%d+)") end
      local before, looks = 0, 0
      support.eventually(function() -- it stands still, at fifty looks
        local now = written()
        looks = now == before and looks + 1 or 0
        before = now
        return looks == 50
      end)
      assert.is_true(before < 4 << 20, before .. " bytes written")
      check_memory(agent.status(pid, "VmRSS"), "agent")
      local total = #first - #writer - 1
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
      check_memory(lines[2], "client")
      check_memory(agent.status(pid, "VmHWM"), "agent")
    end)
  end, 60))
end)
