-- Input that could not be written to a command, and output that could not be read from it, are errors: they looked like a command
-- that had read and written nothing, with exit code 0.
local assert = require "luassert"
local native = require "spec.support.native"
local script = require "spec.support.script"
local support = require "spec.support"

local LIMIT = 120 -- seconds
local MOST = 6    -- the most often that a script makes one of the calls in question
local EIO = 5

describe("a command whose", function()
  for name, call in pairs { ["input is lost"] = "writev", ["output is lost"] = "read" } do
    it(name .. " is no success, at whatever time that happens", support.run(function()
      local folder = support.tmpdir()
      local library = native.build("count", folder)
      for _, part in ipairs { "run", "exec" } do
        for at = 1, MOST do
          local text = ("arg = { %q, %q } dofile 'stress/faults/victim.lua'"):format(part, library)
          local code, signal, said = script.run(text, { env = { native.preload(library), "TMPDIR=" .. support.tmpdir(),
            "FAULT_CALL=" .. call, "FAULT_AT=" .. at, "FAULT_ERROR=" .. EIO } })
          assert.same({ 0, "" }, { code, said }, ("%s, the %dth time, signal %s"):format(call, at, tostring(signal)))
        end
      end
    end, LIMIT))
  end
end)
