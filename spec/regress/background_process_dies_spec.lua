-- Processes left by a finished command live on; a command that is cut off ends with its group. In exec, on vmctl.host and in cc.
-- Takes about 15 seconds.
-- Also in asan: processes that our C forks.
local assert = require "luassert"
local agent = require "spec.support.agent"
local cc_helper = require "spec.support.cc_helper"
local core = require "vmctl.core"
local script = require "spec.support.script"
local support = require "spec.support"
local vmctl = require "vmctl"
local wire = require "vmctl.exec.wire"

local LIMIT = 60 -- seconds: it only keeps the specs from hanging

local function kill(pid)
  os.execute("kill -KILL " .. pid .. " 2>/dev/null")
end

local function eventually(fn)
  local last = vmctl.now() + 30
  while not fn() do
    if vmctl.now() > last then error("it did not come true", 2) end
    assert(vmctl.sleep(0.01))
  end
end

-- The pid that a command wrote into a file.
local function read_pid(path)
  local pid
  eventually(function()
    local file = io.open(path)
    pid = file and file:read "n"
    if file then file:close() end
    return pid ~= nil
  end)
  return pid
end

local function on_agent(fn)
  return support.run(function() agent.serve(fn) end, LIMIT)
end

local function on_host(fn)
  return support.run(function() fn(vmctl.host) end, LIMIT)
end

-- Its output is closed, so it is not waited for.
local QUIET = { "( sleep 300 ) >/dev/null 2>&1 & echo $!", "nohup sleep 300 >/dev/null 2>&1 & echo $!",
  "setsid sleep 300 >/dev/null 2>&1 & echo $!" }

-- It says something every 20 ms to the standard output that it inherited, and counts in a file.
local TALKER = [[( while :; do echo tick; echo x >>"$0"; sleep 0.02; done ) & echo $!]]

local function size(path)
  local there = core.fs.stat(path)
  return there and there.size or 0
end

local function goes_on(path)
  local before = size(path)
  eventually(function() return size(path) > before + 10 end)
end

for name, with in pairs { exec = on_agent, ["vmctl.host"] = on_host } do
  describe("a command of " .. name, function()
    it("leaves behind what it started, every time", with(function(target)
      for i = 1, 20 do
        local result = assert(target:run(QUIET[i % #QUIET + 1]))
        assert.is_nil(result.lingering)
        assert.is_false(agent.has_ended(result.stdout:match "%d+"))
        kill(result.stdout)
      end
    end))

    for mode, options in pairs { ["with output as it comes"] = {}, ["with input"] = { stdin = "" } } do
      it("whose child still holds its output says so, and that child is not killed by it: " .. mode, with(function(target)
        local file = support.tmpdir() .. "/count"
        local command = { "sh", "-c", TALKER, file, stdin = options.stdin }
        local result = assert(target:run(command))
        local pid = result.stdout:match "%d+"
        assert.same({ exit_code = 0, lingering = true }, { exit_code = result.exit_code, lingering = result.lingering })
        goes_on(file)
        assert.is_false(agent.has_ended(pid))
        kill(pid)
      end))
    end

    it("takes its group with it when its time is over", with(function(target)
      local file = support.tmpdir() .. "/pid"
      local _, _, code = target:run { "sh", "-c", 'trap "" TERM; sleep 300 & echo $! >"$0"; wait', file, timeout = 0.5 }
      assert.equal("ETIMEDOUT", code)
      local pid = read_pid(file)
      eventually(function() return agent.has_ended(pid) end)
    end))

    it("takes its group with it when its task is cancelled", with(function(target)
      local file = support.tmpdir() .. "/pid"
      local task = vmctl.spawn(target.run, target, { "sh", "-c", 'sleep 300 & echo $! >"$0"; wait', file })
      local pid = read_pid(file)
      task:cancel()
      task:join()
      eventually(function() return agent.has_ended(pid) end)
    end))

    it("takes its group with it when it is killed, and when it is closed", with(function(target)
      for _, how in ipairs { "KILL", "TERM", "close" } do
        local p = assert(target:start { "sh", "-c", [[sh -c 'trap "" TERM; echo $$; exec sleep 300' & wait]] })
        local pid = p:read():match "%d+"
        if how == "close" then
          p:close()
        else
          assert(p:kill(how))
          assert.same({ signal = how }, p:wait())
        end
        eventually(function() return agent.has_ended(pid) end)
      end
    end))
  end)
end

describe("a command of exec in the plain mode", function()
  it("leaves a child that holds its output alive", on_agent(function(_, address)
    local file = support.tmpdir() .. "/count"
    local argv = {}
    for i, word in ipairs { "sh", "-c", TALKER, file } do argv[i] = core.base64_encode(word) end
    local request = assert(wire.encode_request { command = "", argv_b64 = argv })
    local s <close> = assert(vmctl.dial(address, { format = wire.format }))
    assert(s:write_frame(wire.types.EXEC, request))
    local type, payload = assert(s:read_frame(30))
    assert.equal(wire.types.EXEC_RESULT, type)
    local response = assert(wire.decode_response(payload))
    assert.is_true(response.lingering)
    goes_on(file)
    kill(response.stdout:match "%d+")
  end))
end)

describe("a command of cc", function()
  it("leaves behind what it started, whoever holds its output", support.run(function()
    local root = support.tmpdir()
    cc_helper.serve({ root = root }, function(call, client)
      assert(cc_helper.new_instance(client, 1, ""))
      for _, text in ipairs(QUIET) do
        local pid = call("CMD_OUTPUT", call("CMD_NEW", "/bin/sh", { "-c", text }):uint64()):bytes():match "%d+"
        assert.is_false(agent.has_ended(pid))
        kill(pid)
      end
      local pid = call("CMD_OUTPUT", call("CMD_NEW", "/bin/sh", { "-c", TALKER, root .. "/count" }):uint64()):bytes():match "%d+"
      goes_on(root .. "/count")
      assert.is_false(agent.has_ended(pid))
      kill(pid)
    end)
  end, LIMIT))

  it("takes its group with it when it is killed", support.run(function()
    local root = support.tmpdir()
    cc_helper.serve({ root = root }, function(call, client)
      assert(cc_helper.new_instance(client, 1, ""))
      local cmd = call("CMD_NEW", "/bin/sh", { "-c", 'sleep 300 & echo $! >"$0"; wait', root .. "/pid" }):uint64()
      assert(call("CMD_START", cmd))
      local pid = read_pid(root .. "/pid")
      assert(call("CMD_KILL", cmd))
      eventually(function() return agent.has_ended(pid) end)
    end)
  end, LIMIT))
end)

describe("what has left its command's group", function()
  local FOLDER = "/vmctl%-%d+/c%d+"
  local LEAVER = [[setsid sh -c 'trap "" TERM; echo $$; exec sleep 300' & wait]]

  local function with_cgroups(fn)
    return on_host(function(host)
      local own = assert(host:run { "cat", "/proc/self/cgroup" }).stdout
      if not own:find(FOLDER) then return pending "no cgroups (version 2) can be made here" end
      fn(host)
    end)
  end

  it("goes with it when it is killed, closed, or has run out of time", with_cgroups(function(host)
    for _, how in ipairs { "KILL", "TERM", "close", "time" } do
      local p = assert(host:start { "sh", "-c", LEAVER, timeout = 30 })
      local pid = p:read():match "%d+"
      if how == "close" or how == "time" then p:close() else assert(p:kill(how)) end
      eventually(function() return agent.has_ended(pid) end)
    end
  end))

  it("lives on after an end of its own, and nothing of that stands in the way of others", with_cgroups(function(host)
    local pids = {}
    for i = 1, 10 do
      pids[i] = assert(host:run "setsid sleep 300 >/dev/null 2>&1 & echo $!").stdout:match "%d+"
      local p = assert(host:start { "sleep", "300" })
      assert(p:kill "KILL")
      assert.same({ signal = "KILL" }, p:wait())
    end
    for _, pid in ipairs(pids) do
      assert.is_false(agent.has_ended(pid))
      kill(pid)
    end
  end))

  it("is in a folder that goes with the script", with_cgroups(function()
    local file = support.tmpdir() .. "/own"
    script.check(([[
      local own = assert(require("vmctl").host:run { "cat", "/proc/self/cgroup" }).stdout
      io.open(%q, "w"):write(own):close()
    ]]):format(file))
    local name = io.open(file):read("a"):match "vmctl%-%d+"
    for line in io.lines "/proc/self/mountinfo" do
      local at = line:match "^%S+ %S+ %S+ / (%S+) .* %- cgroup2 "
      if at then assert.is_nil(core.fs.stat(at .. "/" .. name)) end
    end
  end))
end)

describe("a script that ends", function()
  it("leaves alive what a command of vmctl.host left behind, though that writes to it", support.run(function()
    local file = support.tmpdir() .. "/count"
    script.check(([[
      local result = assert(require("vmctl").host:run { "sh", "-c", %q, %q })
      assert(result.lingering)
      io.open(%q, "w"):write(result.stdout:match "%%d+"):close()
    ]]):format(TALKER, file, file .. ".pid"))
    goes_on(file)
    local pid = read_pid(file .. ".pid")
    assert.is_false(agent.has_ended(pid))
    kill(pid)
  end, LIMIT))
end)
