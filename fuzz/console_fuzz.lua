-- Properties that hold for any bytes of a console that are shown. Returns a function that raises when one does not.
local console = require "vmctl.machine.console"
local failure = require "vmctl.scenario.failure"
local log = require "vmctl.log"

local UNFIT = "[%z\1-\8\11-\31\127]"

local function check(text, most)
  assert(not text:find(UNFIT) and utf8.len(text), "bytes that a terminal obeys")
  assert(not most or #text <= most, "more than was asked for")
end

return function(bytes)
  local kept = console.ring(4096)
  local pieces = math.max(1, #bytes // 7)
  for at = 1, #bytes, pieces do kept:add(bytes:sub(at, at + pieces - 1)) end
  assert(kept:text() == bytes:sub(-4096) and kept.total == #bytes, "other bytes")
  for position = 0, #bytes, pieces do
    local want = math.min(#bytes - position, 4096)
    assert(kept:since(position) == (want > 0 and bytes:sub(-want) or ""), "other news")
  end
  check(kept:tail(16))
  check(log.sanitize(bytes))
  check(log.last_words(bytes))
  local line = log.one_line(bytes, 100)
  check(line)
  assert(not line:find "[\n\t]", "more than a line")
  check(failure.section("console", bytes))
end
