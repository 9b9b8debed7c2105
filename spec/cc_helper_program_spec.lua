-- vmctl-cc-helper, the program: its life and its ends.
local assert = require "luassert"
local cc = require "vmctl.cc"
local core = require "vmctl.core"
local process = require "vmctl.process"
local program = require "vmctl.cc_helper.program"
local support = require "spec.support"
local cc_helper = require "spec.support.cc_helper"
local vmctl = require "vmctl"

local PROGRAM = "bin/vmctl-cc-helper"
local LIMIT = 15

-- Runs fn(path, child, folder) beside the program.
local function with_program(arguments, fn)
  local folder = support.tmpdir()
  assert(core.fs.mkdir(folder .. "/root"))
  local path = folder .. "/s"
  local command = { PROGRAM, "-socket", path, "--local", folder .. "/root", death_signal = "KILL", stderr = "pipe" }
  table.move(arguments, 1, #arguments, #command + 1, command)
  local child <close> = assert(process.spawn(command))
  support.eventually(function() return core.fs.stat(path) end, "the helper made no socket")
  fn(path, child, folder)
end

-- The file of a socket is there a moment before it listens.
local function connect(path)
  local client, err, code
  support.eventually(function()
    client, err, code = cc.connect(path)
    return code ~= "ECONNREFUSED"
  end, "nobody listens")
  assert(client, err)
  return client, cc_helper.caller(client)
end

local function assert_gone(path, child, exit_code)
  assert.same({ exit_code = exit_code }, child:wait(30))
  assert.is_nil(core.fs.stat(path))
end

describe("vmctl-cc-helper", function()
  it("reads its command line", function()
    assert.same({ socket = "/s", root = "/d", keep = true }, program.parse { "-socket", "/s", "--local=/d", "--keep" })
    assert.is_nil(program.parse {})
    assert.is_nil(program.parse { "-socket" })
    assert.is_nil(program.parse { "-socket", "/s", "--nonsense" })
  end)

  it("serves one connection, and ends with it", support.run(function()
    with_program({}, function(path, child)
      local client, call = connect(path)
      assert(cc_helper.new_instance(client, 1, ""))
      assert(call("FS_STAT", "/"))
      assert.equal("ENOENT", select(3, cc.connect(path)))
      client:close()
      assert_gone(path, child, 0)
    end)
  end, LIMIT))

  it("with --keep serves many at a time, and ends the instance when the last one has gone", support.run(function()
    with_program({ "--keep" }, function(path, child)
      local one, call_one = connect(path)
      local two, call_two = connect(path)
      assert(cc_helper.new_instance(one, 1, ""))
      local sleeper = call_one("CMD_NEW", "sleep", { "60" }):uint64()
      assert(call_one("CMD_START", sleeper))
      local waiting = vmctl.spawn(function() return call_one("CMD_WAIT", sleeper) end)
      assert(vmctl.sleep(0.1)) -- until the wait has surely begun
      assert(call_two("FS_STAT", "/"))
      assert(call_two("CMD_KILL", sleeper))
      local answer, code, why = waiting:join(30)
      assert(answer, ("%s: %s"):format(code, why))
      assert.equal(137, answer:int32())
      one:close()
      assert(call_two("INSTANCE_IS_RUNNING"):bool())
      two:close()
      support.eventually(function() -- who comes before the helper has noticed keeps the instance
        local three, call_three = connect(path)
        local is_running = call_three("INSTANCE_IS_RUNNING"):bool()
        three:close()
        return not is_running
      end)
      assert(child:kill "TERM")
      assert_gone(path, child, 0)
    end)
  end, LIMIT))

  it("ends on SIGTERM while a call waits, and kills what it had started", support.run(function()
    with_program({}, function(path, child, folder)
      local client, call = connect(path)
      assert(cc_helper.new_instance(client, 1, ""))
      local c = call("CMD_NEW", "sh", { "-c", "echo $$ > pid; exec sleep 60" }):uint64()
      assert(call("CMD_START", c))
      local waiting = vmctl.spawn(function() return client:call(cc.types.CMD_WAIT, string.pack(">I8", c)) end)
      local pid = support.eventually(function()
        local file = io.open(folder .. "/root/pid")
        local number = file and file:read "n"
        if file then file:close() end
        return number
      end)
      assert(child:kill "TERM")
      assert_gone(path, child, 0)
      assert.is_nil((waiting:join(30)))
      support.eventually(function() return not core.fs.stat("/proc/" .. pid) end)
      client:close()
    end)
  end, LIMIT))

  it("is noticed at once when it is killed in the middle of a call", support.run(function()
    with_program({}, function(path, child)
      local client = connect(path)
      assert(cc_helper.new_instance(client, 1, ""))
      local waiting = vmctl.spawn(function() return client:call(cc.types.INSTANCE_WAIT, "") end)
      support.settle()
      assert(child:kill "KILL")
      local ok = waiting:join(30)
      assert.is_nil(ok)
      assert.is_nil(client:call(cc.types.INSTANCE_ID))
      client:close()
    end)
  end, LIMIT))

  it("leaves a live helper's socket alone, and says why it cannot begin", support.run(function()
    with_program({ "--keep" }, function(path)
      local second <close> = assert(process.spawn { PROGRAM, "-socket", path, "--local", "/tmp", stderr = "pipe" })
      assert.same({ exit_code = 1 }, second:wait(30))
      assert.matches("vmctl%-cc%-helper: ", second.stderr:read())
      local client, call = connect(path)
      assert.is_false(call("INSTANCE_IS_RUNNING"):bool())
      client:close()
    end)
  end, LIMIT))
end)
