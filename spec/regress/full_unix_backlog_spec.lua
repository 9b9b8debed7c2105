-- A Unix socket whose listener's backlog is full answers connect with EAGAIN, and polling it would say that it is
-- connected (tokio#3879): only trying again helps.
local core = require "vmctl.core"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run

-- A listener that has no room for another connection.
local function full_listener()
  local path = support.tmpdir() .. "/s"
  local listener = assert(vmctl.listen("unix:" .. path, { backlog = 1 }))
  local waiting = {}
  repeat
    local s, _, name = core.connect { kind = "unix", path = path }
    waiting[#waiting + 1] = s
  until not s and assert(name == "EAGAIN", name)
  return listener, path, waiting
end

describe("a full Unix backlog", function()
  for _, kind in ipairs { "unix", "chardev" } do
    it("is tried again until there is room: " .. kind, run(function()
      local listener <close>, path, waiting = full_listener() -- luacheck: ignore
      local dialing = vmctl.spawn(function() return vmctl.dial(kind .. ":" .. path, { timeout = 1 }) end)
      vmctl.yield()
      assert.equal("waiting", dialing:status())
      for _ = 1, #waiting do assert(listener:accept(30)) end
      local s = assert(dialing:join())
      local far = assert(listener:accept(30))
      s:write "in at last"
      assert.equal("in at last", far:read())
    end))
  end

  it("is tried again by hybrid too", run(function()
    local listener <close>, path, waiting = full_listener() -- luacheck: ignore
    local dialing = vmctl.spawn(function() return vmctl.dial("hybrid:" .. path .. ":52", { timeout = 1 }) end)
    vmctl.yield()
    for _ = 1, #waiting do assert(listener:accept(30)) end
    local far = assert(listener:accept(30))
    assert.equal("CONNECT 52\n", far:read())
    far:write "OK 1\n"
    assert.truthy(dialing:join())
  end))

  it("is ETIMEDOUT when it stays full, and the time is not spent spinning", run(function()
    local listener <close>, path = full_listener() -- luacheck: ignore
    local cpu = os.clock()
    local seconds, _, message, name = support.passed(vmctl.dial, "unix:" .. path, { timeout = 10 })
    assert.equal("ETIMEDOUT", name)
    assert.truthy(message:find(path, 1, true))
    assert.is_true(seconds >= 10 and seconds < 25, seconds)
    assert.is_true(os.clock() - cpu < 1) -- of the processor, for some dozens of attempts
  end))

  it("does not hinder cancelling", run(function()
    local listener <close>, path = full_listener() -- luacheck: ignore
    local dialing = vmctl.spawn(function() return vmctl.dial("unix:" .. path) end)
    vmctl.yield()
    dialing:cancel()
    assert.equal("ECANCELED", code(dialing:join()))
  end))
end)
