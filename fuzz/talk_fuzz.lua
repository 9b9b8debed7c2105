-- Properties that hold in any conversation: each server and each client of ours comes to an end, raises nothing, says why in one line, and
-- leaves nothing. Returns a function of a script: its first byte names who of us takes part (see fuzz/talk_sides.lua), and each
-- further byte is a step of the other side: three bits say which, five are its argument.
--   0  sends as many of the following bytes      4  lets time pass
--   1  the same, up to 4,000                     5  reads what came
--   2  sends one of the side's messages          6  sends no more, but reads
--   3  wraps following bytes as a message        7  closes
local core = require "vmctl.core"
local clock = require "vmctl.clock"
local log = require "vmctl.log"
local sides = require "talk_sides"
local task = require "vmctl.base.task"

local PAUSES = { [0] = 0.001, 0.01, 0.1, 0.5, 1, 2, 5, 6, 10, 11, 29, 31, 59, 61, 121, 601 } -- seconds: beside the usual limits
local MOST_STEPS = 200
local SEND = 0.01    -- seconds that we wait for a side that does not read
local END = 20000    -- seconds in which it must have ended once nobody speaks to it any more
local LOOK_EACH = 64 -- scripts: how often descriptors are counted

local complaint

-- Servers catch what their handlers raise, and say it here.
function log.error(text, ...)
  local said = text:format(...)
  if said:find("stack traceback", 1, true) then complaint = said end
end

local steps = {}

function steps.send(far, script, count)
  local bytes = script.text:sub(script.at, script.at + count - 1)
  script.at = script.at + #bytes
  if bytes ~= "" then far:write(bytes, SEND) end
end

steps[0] = function(far, script, argument) steps.send(far, script, argument + 1) end
steps[1] = function(far, script, argument) steps.send(far, script, 128 * (argument + 1)) end

steps[2] = function(far, _, argument, side)
  far:write(side.messages[argument % #side.messages + 1], SEND)
end

steps[3] = function(far, script, argument, side)
  local body = script.text:sub(script.at, script.at + argument)
  script.at = script.at + #body
  far:write(side.wrap(body), SEND)
end

steps[4] = function(_, _, argument) core.sleep(PAUSES[argument % 16]) end
steps[5] = function(far) far:read(65536, 0) end
steps[6] = function(far) far:shutdown(SEND) end
steps[7] = function(far) far:close() end

local function speak(far, text, side)
  local script = { text = text, at = 2 }
  for _ = 1, MOST_STEPS do
    local byte = text:byte(script.at)
    if not byte or byte >= 224 then break end
    script.at = script.at + 1
    steps[byte >> 5](far, script, byte & 31, side)
  end
  far:close()
end

local function check_end(ok, err, code)
  if ok or err == nil then return end
  assert(type(err) == "string" and type(code) == "string", "an end without a reason")
  assert(not err:find "[%z\1-\8\11-\31\127]", "words that a terminal obeys")
end

local function converse(text, side)
  local near, far = core.pair()
  local scope <close> = core.scope()
  local results
  local ours = task.spawn_in(scope, function() results = table.pack(side.run(near)) end)
  speak(far, text, side)
  ours:join(END)
  assert(results, "it does not end")
  check_end(table.unpack(results, 1, 3))
  near:close()
end

local scripts, least = 0, nil

-- Counts descriptors now and then: those of streams that were dropped and not closed are with the collector.
local function count_fds()
  scripts = scripts + 1
  if scripts % LOOK_EACH ~= 0 then return end
  collectgarbage()
  local now = #core.fs.list "/proc/self/fd"
  least = math.min(least or now, now)
  assert(now <= least + 4, "descriptors are left")
end

return function(text)
  local side = sides[(text:byte() or 0) % #sides + 1]
  complaint = nil
  task.run(clock.virtual, function() converse(text, side) end, { grace = 0 })
  assert(not complaint, complaint)
  count_fds()
end
