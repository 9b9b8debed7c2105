-- Instances whose programs are killed at each step: `vmctl ps` and `vmctl rm` are right, and so is what is done next. With guests;
-- takes about 20 seconds.
local assert = require "luassert"
local core = require "vmctl.core"
local guest = require "spec.support.guest"
local instances = require "spec.support.instances"
local options = require "vmctl.base.options"
local roots = require "spec.support.roots"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 300
local MOST = 60 -- steps
local KILLING = "@" .. assert(core.fs.real(guest.root .. "spec/support")) .. "/killing.lua"

local function user_with_image()
  local user = instances.user()
  assert(core.fs.mkdir(user.folder .. "/little"))
  roots.folder(user.folder .. "/little")
  user:done("image", "import", user.folder .. "/little")
  return user
end

-- Calls fn(result, n) for each step at which the program is killed, until it comes to its end.
local function at_each_step(user, who, words, fn)
  local env, first = user.env, true
  for n = 1, MOST do
    user.env = options.merge(env, { LUA_INIT_5_4 = KILLING, KILL_AT = tostring(n), KILL_WHO = who })
    local result = user:vmctl(table.unpack(words))
    user.env = env
    if result.exit_code == 0 and not fn(result, n, first) then return n end
    if result.exit_code ~= 0 then fn(result, n, first) end
    first = false
  end
  error(("%s takes more than %d steps"):format(words[1], MOST))
end

describe("an instance", function()
  it("is there as a whole or not at all when its creation is killed at any step", support.run(function()
    local user = user_with_image()
    local seen = {}
    local steps = at_each_step(user, "bin/vmctl", { "create", "web", "--root", "image:little" }, function(result, n)
      local state = user:states().web
      seen[state or "none"] = true
      if result.exit_code == 0 then return false end
      assert.is_true(state == nil or state == "created", n)
      if state then
        assert.equal("web\n", user:done("rm", "web"))
      else
        user:refused("there is no instance 'web'", "rm", "web")
      end
      assert.equal("little\n", user:done("image", "ls", "--json"):match '"name":"(%a+)"' .. "\n")
    end)
    assert.is_true(steps > 5, steps)
    assert.same({ none = true, created = true }, seen)
    user:done("rm", "web")
    assert.same({}, user:left())
  end, LIMIT))

  it("can be removed or started again after its owner was killed at any step of the start", support.run(function()
    local user = user_with_image()
    user:done("create", "web", "--root", "image:little", "--init", "agent")
    local seen = {}
    local steps = at_each_step(user, "instance.owner", { "start", "web" }, function(result, n)
      local state
      support.eventually(function() -- the owner that has just said that it is ready has a step or two to go
        state = user:states().web
        return result.exit_code ~= 0 or state == "failed" or state == "running"
      end)
      if result.exit_code == 0 and state == "running" then return false end
      seen[state] = true
      assert.is_true(state == "created" or state == "failed", state)
      if n % 2 == 0 then
        user:done("rm", "web")
        user:done("create", "web", "--root", "image:little", "--init", "agent")
      end
      return true
    end)
    assert.is_true(steps > 5, steps)
    assert.is_true(seen.created and seen.failed)
    user:refused("the instance 'web' runs already", "start", "web")
    user:refused("the instance 'web' runs (vmctl stop web ends it, vmctl rm --force both)", "rm", "web")
    local before = user:document("ps", "--json").instances[1]
    local owner = user:done("exec", "web", "--", "sh", "-c", "echo content > /root/file; sync; echo ok")
    assert.equal("ok\n", owner)
    local about <close> = assert(io.open(("/proc/%d/status"):format(before.pid)))
    assert(vmctl.host:run { "kill", "-KILL", about:read "a":match "PPid:%s*(%d+)", check = true })
    support.eventually(function() return user:states().web == "failed" end)
    assert.equal("the process that ran it was killed", user:document("ps", "--json").instances[1].error)
    support.eventually(function() return not core.fs.stat("/proc/" .. before.pid) end)
    assert.matches("^web is ready after", user:done("start", "web"))
    assert.equal("content\n", user:done("exec", "web", "--", "cat", "/root/file"))
    assert.equal("web\n", user:done("rm", "--force", "web"))
    assert.same({}, user:left())
  end, LIMIT))
end)
