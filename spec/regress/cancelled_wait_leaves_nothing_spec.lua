-- A wait that is cancelled leaves nothing behind: no waiter, no fd, no child, no half of a frame.
local process = require "vmctl.process"
local support = require "spec.support"
local vmctl = require "vmctl"

local code = support.code

-- Runs `wait` as a task, cancels it while it waits, and sees that no fd is left of it.
local function cancel_while(wait)
  local fds = support.fds()
  local task = vmctl.spawn(wait)
  for _ = 1, 3 do vmctl.yield() end
  assert.equal("waiting", task:status())
  task:cancel()
  assert.equal("ECANCELED", code(task:join()))
  assert.same(fds, support.fds())
end

describe("a cancelled wait", function()
  it("for a connection leaves no socket", support.run(function()
    local path = support.tmpdir() .. "/socket"
    local listener <close> = assert(vmctl.listen("unix:" .. path, { backlog = 1 }))
    local streams = {}
    repeat
      local stream = vmctl.dial("unix:" .. path, { timeout = 0.005 })
      streams[#streams + 1] = stream
    until not stream
    cancel_while(function() return vmctl.dial("unix:" .. path, { timeout = 60 }) end)
    cancel_while(function() return vmctl.dial("hybrid:" .. path .. ":1", { timeout = 60 }) end)
    assert.truthy(listener:accept(0))
    for _, stream in ipairs(streams) do stream:close() end
  end))

  it("for a handshake leaves no socket", support.run(function()
    local path = support.tmpdir() .. "/socket"
    local listener <close> = assert(vmctl.listen("unix:" .. path))
    cancel_while(function() return vmctl.dial("hybrid:" .. path .. ":1", { timeout = 60 }) end)
    assert(listener:accept(0)):close()
  end))

  it("for a peer takes no connection", support.run(function()
    local listener <close> = assert(vmctl.listen "tcp:127.0.0.1:0")
    cancel_while(function() return listener:accept(60) end)
    local stream = assert(vmctl.dial(listener:address()))
    assert(listener:accept(30)):close()
    stream:close()
  end))

  it("for bytes takes none", support.run(function()
    local near, far = support.pair()
    cancel_while(function() return near:read_exact(10, 60) end)
    far:write "0123456789"
    assert.equal("0123456789", near:read_exact(10, 1))
    near:close()
    far:close()
  end))

  it("to write a frame leaves the whole of it to come, and the next behind it", support.run(function()
    local near, far = support.pair { format = { max = 1 << 24 } }
    local first, second = ("a"):rep(1 << 22), ("b"):rep(1000)
    cancel_while(function() return near:write_frame(first, 60) end)
    local writer = vmctl.spawn(function() return near:write_frame(second, 60) end)
    assert.is_true(far:read_frame(30) == first)
    assert.is_true(far:read_frame(30) == second)
    assert.is_true(writer:join(30))
    near:close()
    far:close()
  end, 10))

  it("for a child leaves it to who asks next", support.run(function()
    local child <close> = assert(process.spawn { "cat", stdin = "pipe" })
    cancel_while(function() return child:wait(60) end)
    child.stdin:close()
    assert.same({ exit_code = 0 }, child:wait(30))
  end))

  it("for a lock, a channel or a task counts for nothing", support.run(function()
    local lock, channel = vmctl.lock(), vmctl.channel()
    local sleeper = vmctl.spawn(vmctl.sleep, 60)
    lock:with(nil, function() cancel_while(function() return lock:with(60, error) end) end)
    assert.is_true(lock:with(0, function() return true end))
    cancel_while(function() return channel:recv(60) end)
    assert.equal("ETIMEDOUT", code(channel:send(1, 0)))
    cancel_while(function() return channel:send("never", 60) end)
    assert.equal("ETIMEDOUT", code(channel:recv(0)))
    cancel_while(function() return sleeper:join(60) end)
    assert.equal("waiting", sleeper:status())
    sleeper:cancel()
  end))
end)
