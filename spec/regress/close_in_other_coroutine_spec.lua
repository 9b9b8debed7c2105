-- A handle may be closed from any coroutine, vmctl's or not, while another one waits on it: closing never raises and never
-- yields, and who waits gets ECLOSED (cqueues#9).
local process = require "vmctl.process"
local support = require "spec.support"
local vmctl = require "vmctl"

local code = support.code

local function each_way_to_close(fn)
  fn(function(handle) handle:close() end)
  fn(function(handle) coroutine.wrap(function() handle:close() end)() end)
  fn(function(handle) vmctl.wrap(function() handle:close() end)() end)
  fn(function(handle) vmctl.spawn(function() handle:close() end):join() end)
  fn(function(handle) table.sort({ 2, 1 }, function(a, b)
    handle:close()
    return a < b
  end) end)
end

describe("a handle that another coroutine closes", function()
  it("ends the wait of its reader", support.run(function()
    each_way_to_close(function(close)
      local near, far = support.pair()
      local reader = vmctl.spawn(function() return near:read(1) end)
      vmctl.yield()
      close(near)
      assert.equal("ECLOSED", code(reader:join()))
      far:close()
    end)
  end))

  it("ends the wait of a reader inside a generator", support.run(function()
    each_way_to_close(function(close)
      local near, far = support.pair()
      local reader = vmctl.spawn(vmctl.wrap(function() return near:read(1) end))
      vmctl.yield()
      close(near)
      assert.equal("ECLOSED", code(reader:join()))
      far:close()
    end)
  end))

  it("ends the wait for a child, for a channel, for a connection", support.run(function()
    each_way_to_close(function(close)
      local child, channel = assert(process.spawn { "sleep", "60" }), vmctl.channel()
      local listener = assert(vmctl.listen "tcp:127.0.0.1:0")
      local tasks = {
        vmctl.spawn(child.wait, child), vmctl.spawn(channel.recv, channel), vmctl.spawn(listener.accept, listener),
      }
      vmctl.yield()
      close(child)
      close(channel)
      close(listener)
      for _, task in ipairs(tasks) do assert.equal("ECLOSED", code(task:join())) end
    end)
  end))

  it("may be closed by its reader as well, between two reads", support.run(function()
    local near, far = support.pair()
    local reader = vmctl.spawn(function()
      near:read(1)
      near:close()
      return near:read(1)
    end)
    far:write "xy"
    assert.equal("ECLOSED", code(reader:join()))
    far:close()
  end))
end)
