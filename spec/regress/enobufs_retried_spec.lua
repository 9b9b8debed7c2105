-- AF_VSOCK answers ENOBUFS when the queue to the peer is full, and polling says "writable" all the same: that is a
-- reason to wait a little, neither an error nor a loop (minimal#874).
local native = require "spec.support.native"
local script = require "spec.support.script"
local support = require "spec.support"

local ENOBUFS = 105

local function check(times, body)
  script.check([[
    local vmctl = require "vmctl"
    local near, far = vmctl.pair { format = { max = 1 << 20 } }
  ]] .. body, { env = native.refusing(support.tmpdir(), times, ENOBUFS) })
end

describe("ENOBUFS", function()
  it("is waited out: all is written, in order", support.run(function()
    check(2, [[
      local before = vmctl.now()
      assert(near:write "first " == true)
      assert(vmctl.now() - before > 0.015, "nothing was refused") -- two pauses were made
      assert(near:write "second" == true)
      assert(far:read_exact(12) == "first second")
    ]])
  end, 10))

  it("is waited out by frames and batches", support.run(function()
    check(3, [[
      vmctl.run(function()
        assert(near:write_frames { "one", "two" })
        assert(near:write_frame "three")
        assert(table.concat(far:read_frames(), " ") == "one two three")
      end)
    ]])
  end, 10))

  it("is waited out by a relay", support.run(function()
    local body = [[
      vmctl.run(function()
        local b, server = vmctl.pair()
        local relay = vmctl.spawn(vmctl.relay, far, b)
        vmctl.spawn(function() near:shutdown() server:shutdown() end)
        local cpu = os.clock()
        local stats, _, name = relay:join(0.2)
        assert(os.clock() - cpu < 0.1, "it spins")
        assert(%s)
        relay:cancel()
      end)
    ]]
    check(4, body:format "stats")
    check(1000000, body:format 'name == "ETIMEDOUT"')
  end, 10))

  it("that lasts is a time-out, and is not spent spinning", support.run(function()
    check(1000000, [[
      local cpu = os.clock()
      local _, _, name, taken = near:write("x", 0.2)
      assert(name == "ETIMEDOUT", name)
      assert(os.clock() - cpu < 0.1, "it spins")
    ]])
  end, 10))
end)
