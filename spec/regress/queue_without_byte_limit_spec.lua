-- Events that nobody fetched were counted, not weighed: 256 of 1 MiB each took 483 MiB. Empty frames of output were kept without end.
local assert = require "luassert"
local qmp_events = require "vmctl.qmp.events"
local reader = require "vmctl.tar.read"
local stereos_events = require "vmctl.stereos.events"
local support = require "spec.support"
local vmctl = require "vmctl"
local wire = require "vmctl.exec.wire"

local MIB = 1 << 20

local function grown(fn)
  collectgarbage() collectgarbage()
  local before = collectgarbage "count"
  local kept = fn()
  collectgarbage() collectgarbage()
  local after = collectgarbage "count"
  assert(kept ~= nil)
  return (after - before) * 1024
end

describe("what came from outside and waits", function()
  it("is bounded in bytes: a monitor's events", function()
    local hub = qmp_events.hub()
    local listener = hub:listen()
    for i = 1, 40 do hub:publish({ event = "X", data = { n = i, text = ("x"):rep(100000) } }, 100030) end
    assert.equal(30, listener:lost())
    assert.equal(31, listener:take().data.n)
    hub:publish({ event = "BIG" }, 3 * MIB) -- one alone is there, however large
    assert.equal(9, listener:lost())
    assert.equal("BIG", listener:take().event)
    assert.is_nil(listener:take())
    for i = 1, 1000 do hub:publish({ event = "X", data = { n = i } }, 30) end
    assert.equal(744, listener:lost())
    listener:clear()
    hub:publish({ event = "Y" }, 30)
    assert.equal("Y", listener:take().event)
  end)

  it("is bounded in bytes: a guest's lifecycle messages", function()
    local hub = stereos_events.hub()
    local listener = hub:listen()
    for i = 1, 40 do hub:publish { state = "ready", message = ("%06d"):format(i):rep(10000) } end
    assert.equal(23, listener.lost)
    assert.equal("000024", listener:take().message:sub(1, 6))
    for _ = 25, 40 do assert.is_table(listener:take()) end
    assert.is_nil(listener:take())
  end)

  it("is bounded in bytes: headers of an archive", function()
    local function header(kind, size)
      local block = string.pack("c100c8c8c8c12c12", "pax", "0000644\0", "0000000\0", "0000000\0",
        ("%011o\0"):format(size), "00000000000\0") .. (" "):rep(8) .. kind .. ("\0"):rep(100) .. "ustar\00000" .. ("\0"):rep(247)
      local sum = 0
      for i = 1, 512 do sum = sum + block:byte(i) end
      return block:sub(1, 148) .. ("%06o\0 "):format(sum) .. block:sub(157)
    end
    local body = ("1000 K%06d=" .. ("v"):rep(984) .. "\n")
    local served, queue, code = 0, {}, nil
    local source = {
      read = function(_, n)
        if #queue == 0 then
          if served == 600 then return nil end
          served = served + 1
          local parts = {}
          for i = 1, 1000 do parts[i] = body:format(served * 1000 + i) end
          local whole = table.concat(parts)
          queue = { header("x", #whole), whole .. ("\0"):rep(-#whole % 512) }
        end
        local data = queue[1]:sub(1, n)
        queue[1] = queue[1]:sub(n + 1)
        if queue[1] == "" then table.remove(queue, 1) end
        return data
      end,
      skip = function(self, n)
        while n > 0 do n = n - #self:read(n) end
        return true
      end,
    }
    local size = grown(function()
      code = support.code(reader.each(source, function() return true end))
      return true
    end)
    assert.equal("EPROTO", code)
    assert(served < 20, served)
    assert(size < 8 * MIB, size)
  end)

  it("is bounded: frames of output without a byte", support.run(function()
    local near, far = support.pair { format = wire.format }
    local client = assert(vmctl.exec.client(function() return near end, { revision = "vmctl" }))
    local process = assert(client:start { "true" })
    local size = grown(function()
      for _ = 1, 200 do
        local batch = {}
        for i = 1, 100 do batch[i] = { wire.types.STDOUT, "" } end
        for _, frame in ipairs(batch) do assert(far:write_frame(frame[1], frame[2], 5)) end
        assert.equal("ETIMEDOUT", support.code(process:wait(0.02)))
      end
      return process
    end)
    assert(size < MIB, size)
    process:close()
    far:close()
  end, 30))
end)
