-- With 256 KiB of ordinary lines, waiting for a text that does not come stood still for 226 seconds of processor time.
local assert = require "luassert"
local console = require "vmctl.machine.console"
local explain = require "vmctl.machine.explain"
local support = require "spec.support"
local vmctl = require "vmctl"

local LINE = "[    1.234567] systemd[1]: Started a service with an ordinary name. Kernel log follows\r\n"
local MOST = 30 -- seconds of processor time, of which it takes a fraction of one

local process = { record = function() end, last_words = function() return "" end }

describe("a console with much on it", function()
  it("is waited for, and told of, in no time", support.run(function()
    local made = assert(console.open "web")
    made:begin()
    local lines = LINE:rep((300 << 10) // #LINE)
    assert(made.far:write(lines .. "the end\n", 30))
    assert(made:wait("the end\n", 30, true))
    local began = os.clock()
    for _, pattern in ipairs { "never", "nev.r", "login: $" } do
      assert.equal("ETIMEDOUT", support.code(made:wait(pattern, 0.05)))
    end
    local report = explain.new("web", process, made)
    for _ = 1, 5 do
      local _, message = report:explain("it is not ready", "ETIMEDOUT")
      assert.falsy(message:find("panic", 1, true))
    end
    assert(made.far:write("Kernel panic - not syncing: \27[31mfirst\r\nmore\r\nKernel panic - not syncing: second\r\n", 5))
    assert.equal("syncing: second", made:wait("syncing: second", 5))
    local _, message = report:explain("it is not ready", "ETIMEDOUT")
    assert.truthy(message:find("; Kernel panic - not syncing: second", 1, true))
    assert(os.clock() - began < MOST, os.clock() - began)
    made:close()
  end, 60))

  it("is searched for any pattern of a user in pieces, while others run", support.run(function()
    local made = assert(console.open "web")
    made:begin()
    local text = ("a"):rep(60 << 10) .. "\nweb login:"
    assert(made.far:write(text, 30))
    support.eventually(function() return #made:text() == #text end)
    local turns, going = 0, true
    local other = vmctl.spawn(function()
      while going do
        turns = turns + 1
        vmctl.yield()
      end
    end)
    local began = os.clock()
    assert.equal("web login:", made:wait("%w+ login:", 120))
    assert.equal("ETIMEDOUT", support.code(made:wait("%w+ never:", 0.01)))
    going = false
    other:join()
    assert.is_true(turns > 20, turns)
    assert(os.clock() - began < MOST, os.clock() - began)
    made:close()
  end, 120))

  it("finds a text that comes in single bytes", support.run(function()
    local made = assert(console.open "web")
    made:begin()
    local waiting = vmctl.spawn(function() return made:wait("needle", 30, true) end)
    local text = "hay need needle"
    for i = 1, #text do
      assert(made.far:write(text:sub(i, i), 5))
      support.eventually(function() return made:text() == text:sub(1, i) end)
    end
    assert.equal("needle", waiting:join(30))
    made:close()
  end, 60))
end)
