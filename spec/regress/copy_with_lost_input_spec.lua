-- The agent could not hand a guest's tar what it was sent: `push` raised "attempt to concatenate a nil value", and where tar was killed
-- what it had staged stayed for ever.
local assert = require "luassert"
local native = require "spec.support.native"
local script = require "spec.support.script"
local support = require "spec.support"

local LIMIT = 240 -- seconds
local MOST = 3    -- places that are tried of each call
local EIO, ECONNRESET = 5, 104

describe("a copy that is disturbed by a failing", function()
  for call, number in pairs { writev = EIO, readv = ECONNRESET } do
    it(call .. " is an error, and leaves nothing", support.run(function()
      local library = native.build("count", support.tmpdir())
      for at = 1, MOST do
        local text = ("arg = { 'copy', %q } dofile 'stress/faults/victim.lua'"):format(library)
        local code, signal, said = script.run(text, { env = { native.preload(library), "TMPDIR=" .. support.tmpdir(),
          "FAULT_CALL=" .. call, "FAULT_AT=" .. at, "FAULT_ERROR=" .. number } })
        assert.same({ 0, "" }, { code, said }, ("the %dth time, signal %s"):format(at, tostring(signal)))
      end
    end, LIMIT))
  end
end)
