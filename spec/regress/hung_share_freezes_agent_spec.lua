-- A file system that does not answer costs those their time who ask for its files; everybody else goes on.
local assert = require "luassert"
local agent = require "spec.support.agent"
local cc = require "vmctl.cc"
local hanging = require "spec.support.hanging_mount"
local process = require "vmctl.process"
local stereos = require "vmctl.stereos"
local support = require "spec.support"
local vmctl = require "vmctl"

local code = support.code
local unavailable = hanging.missing()
local LIMIT = 120

local function on_hanging(title, fn)
  if unavailable then
    return it(title, function() pending(unavailable) end)
  end
  it(title, support.run(function() hanging.with(fn) end, LIMIT))
end

describe("an agent whose share does not answer", function()
  on_hanging("serves commands, files and pings meanwhile, and ends when it is told to", function(folder)
    local path = support.tmpdir()
    local program <close> = assert(process.spawn { os.getenv "VMCTL_AGENT" or "build/vmctl-agent", "--listen",
      "unix:" .. path .. "/exec", "--stereos", "unix:" .. path .. "/stereos", "--cc", "unix:" .. path .. "/cc",
      stdin = "null", stdout = "null", stderr = "inherit", death_signal = "KILL" })
    local client = assert(vmctl.exec.client("unix:" .. path .. "/exec"))
    assert(client:ready(30))
    local files = cc.client(assert(vmctl.dial("unix:" .. path .. "/cc")))
    local control = assert(stereos.connect("unix:" .. path .. "/stereos"))
    local hung = {
      vmctl.spawn(client.read_file, client, folder .. "/x", { timeout = 20 }),
      vmctl.spawn(client.list_files, client, folder, { timeout = 20 }),
      vmctl.spawn(client.write_file, client, folder .. "/y", "text", { timeout = 20 }),
      vmctl.spawn(client.run, client, { "pwd", cwd = folder .. "/z", timeout = 20 }),
      vmctl.spawn(client.run, client, { "no-such-program", env = { PATH = "/bin:" .. folder .. "/bin" }, timeout = 20 }),
      vmctl.spawn(client.run, client, { "bin/no-such-program", cwd = folder, timeout = 20 }),
      vmctl.spawn(files.call, files, cc.types.FS_STAT, function(e) e:string(folder .. "/w") end, 20),
    }
    vmctl.sleep(0.2)
    for _ = 1, 5 do
      assert.equal("still here\n", assert(client:run { "echo", "still here", timeout = 15 }).stdout)
      assert(client:read_file("/etc/passwd", { timeout = 15 }))
      assert(control:ping { timeout = 15 })
    end
    for i, task in ipairs(hung) do assert.is_false(task:status() == "done", i) end
    assert(program:kill "TERM")
    assert(program:wait(15))
    for _, task in ipairs(hung) do
      task:cancel()
      task:join()
    end
    files:close()
    control:close()
  end)
end)

describe("a copy on this machine", function()
  on_hanging("that hangs lets other tasks go on", function(folder)
    local away = support.tmpdir()
    agent.serve(function(client)
      local copy = vmctl.spawn(vmctl.timeout, 0.5, vmctl.files.push, client, folder .. "/x", away .. "/y")
      local turns = 0
      while copy:status() ~= "done" do
        assert(vmctl.sleep(0.01))
        turns = turns + 1
      end
      assert.equal("ETIMEDOUT", code(copy:join()))
      assert.is_true(turns > 5)
    end)
  end)
end)
