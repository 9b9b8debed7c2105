-- A guest's command that wrote 256 KiB of spaces stopped the program for a minute: `gsub("%s+$", "")` is quadratic.
local assert = require "luassert"
local refresh = require "vmctl.machine.refresh"
local screen = require "vmctl.scenario.screen"
local units = require "vmctl.scenario.units"
local support = require "spec.support"

local SPACES = (" "):rep(256 << 10) .. "x"
local MOST = 30 -- seconds of processor time, of which it takes a fraction of one

-- An agent of another make, whose commands say this.
local function agent(stdout)
  return {
    refresh = function() return nil, "unknown", "ENOTSUP" end,
    run = function() return { exit_code = 0, stdout = stdout, stderr = "" } end,
  }
end

-- A scenario's machine whose commands fail, and say this.
local function machine(said)
  local vm = { run = function() return { exit_code = 1, stdout = "", stderr = said } end }
  return {
    execute = function() return 1, "", said end, _running = function() return vm end, _run = { timeout = 5 },
    _fail = function(_, _, message) error({ message = message }, 0) end,
  }
end

local function message_of(verb, self, ...)
  local ok, err = pcall(verb, self, ...)
  assert.is_false(ok)
  return err.message
end

describe("what a guest's command says, spaces before its end", function()
  it("is no clock, at once", function()
    local began = os.clock()
    assert.equal("EPROTO", support.code(refresh.refresh("web", agent(SPACES), { clock = true }, 5)))
    assert.near(100 - os.time(), assert(refresh.refresh("web", agent "100 \n", { clock = true }, 5)).clock_offset, 60)
    assert(os.clock() - began < MOST, os.clock() - began)
  end)

  it("is a verb's failure, at once", function()
    local began, self = os.clock(), machine(SPACES .. " \n")
    assert.is_true("a: exit code 1: " .. SPACES == message_of(units.start_job, self, "a"))
    assert.is_true(message_of(units.require_unit_state, self, "a"):find(SPACES, 1, true) ~= nil)
    assert.is_true("tty1: " .. SPACES == message_of(screen.get_tty_text, self, 1))
    assert(os.clock() - began < MOST, os.clock() - began)
  end)
end)
