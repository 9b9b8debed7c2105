-- A server's connection reads and calls handlers in the same tasks: whatever a handler does, others are not touched by it.
local assert = require "luassert"
local support = require "spec.support"
local ends = require "spec.support.ttrpc"
local vmctl = require "vmctl"

local S = ends.SERVICE

local function echo(request) return request end

local function first_two(id, code) return id, code end

describe("vmctl.TtrpcCrew", function()
  if not require("vmctl.protobuf").available then return pending "needs protobuf-c" end

  it("goes on reading while any number of handlers wait, and serves on when they have ended", support.run(function()
    local gate, waiting = vmctl.channel(), 0
    local handlers = { Echo = echo, Wait = function()
      waiting = waiting + 1
      return gate:recv()
    end }
    ends.with_server({ [S] = handlers }, function(peer)
      for i = 0, 99 do peer:request(2 * i + 1, "Wait") end
      peer:request(201, "Echo", { payload = "x" })
      assert.same({ 201, 0, "x" }, { peer:answer() })
      assert.equal(100, waiting)
      for _ = 1, 100 do assert(gate:send "done") end
      local seen = {}
      for _ = 1, 100 do
        local id, code, text = peer:answer()
        assert.same({ 0, "done" }, { code, text })
        seen[id] = true
      end
      for i = 0, 99 do assert.is_true(seen[2 * i + 1]) end
      for i = 0, 99 do
        peer:request(203 + 2 * i, "Echo", { payload = "y" })
        assert.same({ 203 + 2 * i, 0, "y" }, { peer:answer() })
      end
    end)
  end))

  it("ends what a handler has spawned with it, and with it alone", support.run(function()
    local ended = {}
    local handlers = {
      Echo = echo,
      Spawn = function(request)
        vmctl.spawn(function()
          vmctl.sleep(0.02)
          ended[#ended + 1] = request
        end)
        return request
      end,
      Fail = function()
        vmctl.spawn(function() error "on purpose" end)
        return vmctl.sleep(5) and "slept"
      end,
    }
    ends.with_both({ [S] = handlers }, function(client)
      assert.equal("a", client:call(S, "Spawn", "a", 1))
      assert.same({ "a" }, ended) -- the answer came when its task had ended
      assert.equal("INTERNAL", support.code(client:call(S, "Fail", "", 1)))
      assert.equal("b", client:call(S, "Spawn", "b", 1))
      assert.equal("c", client:call(S, "Echo", "c", 1))
      assert.same({ "a", "b" }, ended)
    end)
  end))

  it("lets no limit of one call touch the next", support.run(function()
    local handlers = {
      Late = function() return vmctl.sleep(1) and "slept" end,
      Short = function() return vmctl.sleep(0.05) and "slept" end,
    }
    ends.with_server({ [S] = handlers }, function(peer)
      peer:request(1, "Late", { timeout_nano = 10000000 })
      assert.same({ 1, 4 }, { first_two(peer:answer()) })
      peer:request(3, "Short")
      assert.same({ 3, 0, "slept" }, { peer:answer() })
      peer:request(5, "Short", { timeout_nano = -1 })
      assert.same({ 5, 4 }, { first_two(peer:answer()) })
      peer:request(7, "Short")
      assert.same({ 7, 0, "slept" }, { peer:answer() })
    end)
  end))

  it("serves on after a handler was cancelled because its id came again", support.run(function()
    local canceled
    local handlers = { Echo = echo, Wait = function(_, context)
      local ok, err, code = vmctl.sleep(5)
      canceled = context.canceled() and code
      return ok and "slept", err, code
    end }
    ends.with_server({ [S] = handlers }, function(peer)
      peer:request(1, "Wait")
      peer:request(1, "Wait")
      assert.same({ 1, 3 }, { first_two(peer:answer()) })
      peer:request(3, "Echo", { payload = "x" })
      assert.same({ 3, 0, "x" }, { peer:answer() })
      assert.equal("ECANCELED", canceled)
      peer:is_quiet()
    end)
  end))
end)
