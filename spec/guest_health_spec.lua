-- get_health in a guest: what agents say of themselves in files, and the state that follows from it.
local assert = require "luassert"
local core = require "vmctl.core"
local health = require "vmctl.guest.health"
local support = require "spec.support"
local vmctl = require "vmctl"
local wire = require "vmctl.stereos.wire"

local waiting = require "vmctl.base.fs"

local fs, run = core.fs, support.run

-- A health over a folder that may not be there yet, and the states that it has told.
local function make(opts)
  opts = opts or {}
  local told = {}
  opts.folder = opts.folder or support.tmpdir() .. "/run/agents"
  opts.on_state = function(state, message) table.insert(told, message and state .. ": " .. message or state) end
  return health.new(opts), opts.folder, told
end

local function say(folder, file, text)
  assert(fs.folders("/", folder))
  assert(fs.replace(folder .. "/" .. file, text))
end

describe("the health of a guest", function()
  it("is that of a guest without agents", run(function()
    local h, _, told = make()
    assert.same({ state = "booting", agents = {}, uptime_seconds = 0 }, h:report())
    h:enter "ready"
    assert.same({ state = "ready", agents = {}, uptime_seconds = 0 }, h:report())
    h:enter("shutdown", "why")
    assert.equal("shutdown", h:report().state)
    assert.same({ "ready", "shutdown: why" }, told)
    assert.equal(100, make({ began = vmctl.now() - 100.5 }):report().uptime_seconds)
  end))

  it("shows agents by their files", run(function()
    local h, folder = make()
    say(folder, "b.json", '{"running":true,"session":"tmux-1","restarts":2}')
    say(folder, "a", '{"name":"first","running":true}')
    say(folder, ".hidden", "{}")
    h:enter "ready"
    assert.same({ state = "healthy", uptime_seconds = 0, agents = {
      { name = "first", running = true, restarts = 0 }, { name = "b", running = true, restarts = 2, session = "tmux-1" },
    } }, h:report())
  end))

  it("is degraded while an agent fails or does not run", run(function()
    local h, folder, told = make()
    h:enter "ready"
    say(folder, "a.json", '{"running":true}')
    assert.equal("healthy", h:report().state)
    say(folder, "b.json", '{"running":false}')
    assert.equal("degraded", h:report().state)
    say(folder, "b.json", '{"running":true,"error":"no key"}')
    assert.equal("degraded", h:report().state)
    assert(os.remove(folder .. "/b.json"))
    assert.equal("healthy", h:report().state)
    h:report()
    assert.same({ "ready", "healthy", "degraded: b: not running", "degraded: b: no key", "healthy" }, told)
  end))

  it("is degraded where the guest itself says so", run(function()
    local h, folder = make()
    say(folder, "a.json", '{"running":true}')
    h:enter("ready", "something is wrong")
    assert.equal("degraded", h:report().state)
    h:enter "ready"
    assert.equal("healthy", h:report().state)
  end))

  it("shows files that are wrong as agents with an error", run(function()
    local h, folder = make()
    local wrong = { "", "{", "[]", "null", "3", '"x"', '{"running":"yes"}', '{"name":3}', '{"restarts":1.5}', '{"error":{}}',
      '{"name":"\255"}', ("x"):rep(70000) }
    for i, text in ipairs(wrong) do say(folder, ("w%02d.json"):format(i), text) end
    local agents = h:report().agents
    assert.equal(#wrong, #agents)
    for i, agent in ipairs(agents) do
      assert.same({ ("w%02d"):format(i), false }, { agent.name, agent.running }, wrong[i])
      assert.matches("%g", agent.error)
    end
    assert(wire.envelope("health", h:report()))
  end))

  it("does not wait for a FIFO, follow a link, or look into a folder", run(function()
    local h, folder = make()
    say(folder, "../secret", '{"name":"secret","running":true}')
    assert(os.execute(("mkfifo %s/a; ln -s ../secret %s/b; mkdir %s/c"):format(folder, folder, folder)))
    for _, agent in ipairs(h:report().agents) do
      assert.is_false(agent.running)
      assert.truthy(agent.error)
    end
  end))

  it("fits into a line, whatever the agents say", run(function()
    local h, folder = make()
    local bad = ('\\"\\u0001'):rep(2000)
    local text = ('{"name":"%s","session":"%s","error":"%s","running":true}'):format(bad, bad, bad)
    for i = 1, 300 do say(folder, tostring(i), text) end
    local report = h:report()
    assert.equal(256, #report.agents)
    assert.is_true(#assert(wire.envelope("health", report)) < wire.MAX_LINE)
  end, 20))

  it("reads only files that have changed", run(function()
    local h, folder = make()
    for i = 1, 10 do say(folder, tostring(i), '{"running":true,"restarts":1}') end
    h:report()
    local read, count = waiting.read, 0
    waiting.read = function(...) -- luacheck: ignore
      count = count + 1
      return read(...)
    end
    local ok, err = pcall(function()
      h:report()
      assert.equal(0, count)
      say(folder, "3", '{"running":true,"restarts":2}') -- as long, and in the same second
      assert.equal(2, h:report().agents[4].restarts) -- after 1, 10 and 2
      assert.equal(1, count)
    end)
    waiting.read = read -- luacheck: ignore
    assert(ok, err)
  end))

  it("can come from a function", run(function()
    local entries = { { name = "a", running = true }, { running = true, restarts = 1, error = "e" }, 5 }
    local h = make { agents = function() return entries end }
    h:enter "ready"
    local report = h:report()
    assert.equal("degraded", report.state)
    assert.same({ name = "agent 2", running = true, restarts = 1, error = "e" }, report.agents[2])
    assert.equal("status: not an object", report.agents[3].error)
    entries = nil
    assert.equal("ready", h:report().state)
  end))

  -- agentd as it was seen: HTTP over a Unix socket, a list of agents.
  local function serve_agentd(path, answer)
    local listener = assert(vmctl.listen("unix:" .. path))
    local asked = {}
    vmctl.spawn(function()
      for stream in function() return (listener:accept()) end do
        asked[#asked + 1] = stream:read(nil, 30)
        stream:write(answer(), 30)
        stream:shutdown(30)
        stream:close()
      end
    end)
    return listener, asked
  end

  it("shows the agents of agentd, of which one that runs makes it healthy", run(function()
    local path = support.tmpdir() .. "/agentd.sock"
    local h, folder, told = make { agentd = path }
    h:enter "ready"
    assert.same({}, h:report().agents)
    local list = '[{"name":"coder","running":true,"session":"s","restarts":1},{"name":"done","running":false}]'
    local listener, asked = serve_agentd(path, function()
      return ("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n%s\n"):format(list)
    end)
    support.eventually(function() return h:report().agents[1] end)
    say(folder, "own.json", '{"running":true}')
    local report = h:report()
    assert.same({ { name = "coder", running = true, session = "s", restarts = 1 },
      { name = "done", running = false, restarts = 0 }, { name = "own", running = true, restarts = 0 } }, report.agents)
    assert.equal("healthy", report.state)
    assert.equal("GET /v1/agents HTTP/1.0\r\nHost: agentd\r\n\r\n", asked[1])
    assert.equal(1, #asked) -- within a second
    assert(os.remove(folder .. "/own.json"))
    list = '[{"name":"done","running":false}]'
    support.eventually(function() return h:report().state == "ready" end)
    for _, wrong in ipairs { "null", "{", '{"a":1}', "7", "[3]" } do
      list = wrong
      h._agentd._asked = -1
      h:report()
    end
    assert.equal("status: not an object", h:report().agents[1].error)
    assert.same({ "ready", "healthy", "ready" }, told)
    listener:close()
  end))

  it("does not wait for an agentd that says nothing for long, and bounds what it reads", run(function()
    local path = support.tmpdir() .. "/agentd.sock"
    local h = make { agentd = path }
    h:enter "ready"
    local listener, asked = serve_agentd(path, function() return "HTTP/1.0 200 OK\r\n\r\n[" .. ("1,"):rep(1 << 20) end)
    support.eventually(function()
      h:report()
      return asked[1]
    end)
    support.settle()
    assert.same({}, h:report().agents)
    listener:close()
  end))

  it("tells of a change without being asked, also of a folder that comes later", run(function()
    local h, folder, told = make()
    vmctl.scope(function(scope)
      vmctl.spawn(h.run, h)
      h:enter "ready"
      local function heard(what) support.eventually(function() return told[#told] == what end, what) end
      support.settle()
      say(folder, "a.json", '{"running":true}')
      heard "healthy"
      support.settle()
      say(folder, "a.json", '{"running":false}')
      heard "degraded: a: not running"
      assert(os.remove(folder .. "/a.json"))
      heard "ready"
      scope:cancel()
    end)
  end, 20))
end)
