-- The guest's service as a whole: shutdown, and the agent program driven by a client. No VM.
local assert = require "luassert"
local core = require "vmctl.core"
local guest = require "spec.support.guest_root"
local process = require "vmctl.process"
local stereos = require "vmctl.stereos"
local support = require "spec.support"
local vmctl = require "vmctl"

local fs, run = core.fs, support.run
local done = guest.assert_done

local WAIT = 10 -- seconds: a limit, not a promise

-- A service that notes what happens to it.
local function note(opts)
  local seen = {}
  opts = opts or {}
  opts.on_state = function(state, message) table.insert(seen, message and state .. ": " .. message or state) end
  opts.power = opts.power or function(how)
    table.insert(seen, "power " .. how)
    return nil, "held", "EPERM"
  end
  local handlers, service, root = guest.handlers(opts)
  service:ready()
  return seen, handlers, root
end

describe("shutdown in a guest", function()
  it("says so, takes the mounts off, and powers off once the ack is out", run(function()
    local text = ""
    local seen, handlers
    local system = {
      mount = function(source, target, kind)
        text = ("1 1 0:1 / %s rw - %s %s rw\n"):format(target, kind, source)
        return true
      end,
      unmount = function() table.insert(seen, "unmount") return true end,
      mountinfo = function() return text end,
    }
    seen, handlers = note { system = system }
    done(true, handlers.mount { tag = "a", guest_path = "/mnt", fs_type = "9p", read_only = false })
    done(true, handlers.shutdown { reason = "done for today" })
    assert.same({ "ready" }, seen)
    handlers.after.shutdown { reason = "done for today" }
    assert.same({ "ready", "shutdown: done for today", "unmount", "power off", "degraded: shutdown failed: held" }, seen)
    assert.equal("degraded", handlers.get_health().state)
  end))

  it("happens once, however often it is asked for", run(function()
    local seen, handlers = note { power = function() return vmctl.sleep(math.huge) end }
    local task = vmctl.spawn(handlers.after.shutdown, { reason = "" })
    support.settle()
    done(false, handlers.shutdown { reason = "" })
    handlers.after.shutdown()
    assert.same({ "ready", "shutdown" }, seen)
    task:cancel()
    task:join()
    assert.equal("shutdown", handlers.get_health().state)
  end))

  -- The last state after a shutdown that did not end in one.
  local function outcome(opts)
    local seen = {}
    opts.on_state = function(state, message) table.insert(seen, message and state .. ": " .. message or state) end
    local handlers = guest.handlers(opts)
    handlers.after.shutdown { reason = "" }
    return seen[#seen]
  end

  it("can be a command, and tells what is wrong with one", run(function()
    local folder = support.tmpdir()
    assert.matches("shutdown failed: .*/bin/sh ended with 3: no way$", outcome { poweroff = "echo no way; exit 3" })
    assert.matches("still runs 0.01 s after", outcome { poweroff = "touch " .. folder .. "/off", grace = 0.01 })
    assert.truthy(fs.stat(folder .. "/off"))
  end))

  it("does not touch this machine when there is a root folder", run(function()
    assert.matches("a root folder can not be powered off", outcome {})
    assert.matches("a root folder can not be powered off", outcome { poweroff = "signal-init" })
  end))
end)

describe("vmctl-agent --stereos", function()
  -- The agent with a root folder of its own, and a client that is connected to it.
  local function start(...)
    local root = guest.make()
    local where = "unix:" .. root .. "/control"
    local child = assert(process.spawn { "build/vmctl-agent", "--stereos", where, "--root", root, stderr = "inherit",
      death_signal = "KILL", ... })
    local client
    support.eventually(function()
      client = stereos.connect(where)
      return client
    end)
    return child, client, root
  end

  it("does all that a host asks for", run(function()
    local child <close>, client, root = start()
    assert.is_true(client:ping())
    assert.equal("ready", client:get_health().state)
    for _, changed in ipairs { true, false } do
      assert.same({ true, changed }, { client:set_config "a = 1\n" })
      assert.same({ true, changed }, { client:inject_secret("TOKEN", "s3cret", 384) })
    end
    assert.equal("a = 1\n", guest.content(root .. "/etc/stereos/jcard.toml"))
    assert.equal("s3cret", guest.content(root .. "/run/stereos/secrets/TOKEN"))
    assert.equal("EREMOTE", support.code(client:inject_ssh_key("bob", "no key")))
    assert.equal("EREMOTE", support.code(client:mount { tag = "a", guest_path = "/etc", fs_type = "9p", read_only = false }))
    client:close()
    assert(child:kill "TERM")
    assert.same({ exit_code = 0 }, child:wait(WAIT))
  end, WAIT))

  it("shows the agents of --health-dir, and tells all clients when they change", run(function()
    local child <close>, client, root = start("--health-dir", "/agents")
    local heard = {}
    client:on_lifecycle(function(event) table.insert(heard, event.state) end)
    assert.is_true(client:ping())
    assert(fs.folders("/", root .. "/agents"))
    assert(fs.replace(root .. "/agents/one.json", '{"running":true}'))
    support.eventually(function() return heard[#heard] == "healthy" end)
    assert.same({ "healthy" }, heard)
    local report = client:get_health()
    assert.same({ "healthy", "one" }, { report.state, report.agents[1].name })
    client:close()
    assert(child:kill "TERM")
    assert(child:wait(WAIT))
  end, WAIT))

  it("powers off by --poweroff, after the answer", run(function()
    local file = support.tmpdir() .. "/off"
    local child <close>, client = start("--poweroff", "touch " .. file)
    assert.is_true(client:shutdown "enough")
    support.eventually(function() return fs.stat(file) end)
    assert.equal("shutdown", client:get_health().state)
    client:close()
    assert(child:kill "TERM")
    assert.same({ exit_code = 0 }, child:wait(WAIT))
  end, WAIT))

  it("needs at most 4 MiB when idle, also after large secrets", run(function()
    local child <close>, client = start()
    local status = require "spec.support.agent".status
    for i = 1, 20 do assert(client:inject_secret("s" .. i, ("x"):rep(900000))) end
    client:close()
    support.eventually(function() return status(child.pid, "VmRSS") <= 4096 end)
    assert(child:kill "TERM")
    assert(child:wait(WAIT))
  end, WAIT))
end)
