--- Refreshes a guest that was stopped, or is one of several copies of a snapshot: sets its clock and reseeds its random numbers.
local core = require "vmctl.core"

local M = {}

local SOURCE = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
local CLOSE_ENOUGH = 50 * 1000000 -- nanoseconds: a smaller difference may be the delay of the request
local SEED = 4096                 -- bytes that are taken

local function set_clock(answer, theirs)
  local offset = core.unix_time() - theirs
  local ok, err = true, nil
  if math.abs(offset) > CLOSE_ENOUGH then ok, err = core.set_unix_time(theirs) end
  answer.clock_offset_ns, answer.clock_error = ok and offset or nil, err
end

local function reseed(answer, text)
  local seed, err = core.base64_decode(text)
  local ok
  if seed then ok, err = core.fs.reseed(seed:sub(1, SEED)) end
  answer.reseeded, answer.seed_error = ok, err
end

local function clock_source()
  local file <close> = io.open(SOURCE)
  return file and file:read "l" or nil
end

--- Does the parts of a request that it knows. The answer has nothing about other parts.
---@param request { unix_ns: integer?, seed: string? } the host's time since 1970; random bytes in base64
---@return { clock_source: string?, clock_offset_ns: integer?, clock_error: string?, reseeded: true?, seed_error: string? } answer
-- clock_source: the kernel's; clock_offset_ns: how far ahead the guest's clock was, which is right now
function M.answer(request)
  local answer = { clock_source = clock_source() }
  if math.type(request.unix_ns) == "integer" and request.unix_ns >= 0 then set_clock(answer, request.unix_ns) end
  if type(request.seed) == "string" then reseed(answer, request.seed) end
  return answer
end

return M
