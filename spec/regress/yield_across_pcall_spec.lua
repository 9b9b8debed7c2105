-- Waits pass through pcall, metamethods, iterators and generators, in any mixture; an error that comes after such a wait
-- finds the handler that was there before it ("attempt to yield across a C-call boundary", lua-nginx-module#241).
local support = require "spec.support"
local vmctl = require "vmctl"

describe("a wait inside of pcall, a generator and a metamethod", function()
  local function deep(level)
    assert(vmctl.sleep(0))
    assert(vmctl.yield())
    if level == 0 then error({ "the bottom" }) end
    local object = setmetatable({}, { __index = function(_, n)
      return vmctl.wrap(function() coroutine.yield(deep(n)) end)()
    end })
    local ok, err = pcall(function() return object[level - 1] end)
    vmctl.yield()
    assert.is_false(ok)
    error(err, 0)
  end

  it("is answered where it was made, and its errors are caught where they should be", support.run(function()
    for level = 0, 8 do
      local ok, err = pcall(deep, level)
      assert.same({ false, { "the bottom" } }, { ok, err })
    end
  end))

  it("works for many tasks at once", support.run(function()
    vmctl.map({ 8, 7, 6, 5, 4, 3, 2, 1 }, function(level)
      assert.is_false((pcall(deep, level)))
    end)
  end))

  it("is refused behind a call that cannot yield, wherever that lies, and the task goes on", support.run(function()
    local generator = vmctl.wrap(function()
      while true do
        coroutine.yield((pcall(string.gsub, "x", "x", function() vmctl.sleep(0.001) end)))
      end
    end)
    for _ = 1, 3 do
      assert.is_false(generator())
      assert.is_true(vmctl.sleep(0))
    end
  end))
end)
