-- A peer that sends single bytes made each wait of a plain script nest in the one before, until the C stack was used up.
local assert = require "luassert"

local STACK = 256   -- KiB
local BYTES = 20000 -- a call within a call takes at least 16 bytes of the stack: this many do not fit

local expected = {
  read = "20000", read_exact = "20000", read_line = "20000", read_line_without_end = "EPROTO", skip_past = "ETOOBIG\tnext",
  read_frame = "7\t20000", read_frames = "20000", skip_frame = "ETOOBIG\t9\tafter",
  write = "true", write_frame = "true", write_frames = "true", flush = "true", shutdown = "true",
  calls_read = "3\t20000", requests_read = "3\t20000", stereos = "EPROTO", ttrpc = "EPROTO", exec = "EPROTO",
  output_of_a_process = "20000\t0", run = "20000\t0", merge = "true\ttrue", relay = "20000", queue = "20000",
}

local function dribbled(case, where)
  local command = ("ulimit -s %d; LUA_PATH='%s' LUA_CPATH='%s' timeout 120 lua5.4 spec/c/dribbled.lua %s %d %s 2>&1; echo $?"):format(
    STACK, package.path, package.cpath, case, BYTES, where)
  local pipe = assert(io.popen(command))
  local output = pipe:read "a"
  pipe:close()
  return output
end

describe("a peer that dribbles single bytes", function()
  for case, answer in pairs(expected) do
    for _, where in ipairs { "script", "task" } do
      it(("takes no stack of %s in a %s"):format(case, where), function()
        assert.equal(answer .. "\n0\n", dribbled(case, where))
      end)
    end
  end
end)
