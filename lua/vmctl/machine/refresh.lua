--- Refreshes a guest through its agent: sets the clock, which is late after a pause, and reseeds the random numbers, which all copies of
--- a snapshot share.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local random = require "vmctl.base.random"
local texts = require "vmctl.text"

local M = {}

local SEED = 64             -- bytes
local NOTEWORTHY = 0.05     -- seconds that a clock was off

-- For agents other than ours: uses the guest's own commands, with the precision that they have. Bytes written to /dev/urandom take
-- effect after a while.
local SCRIPT = [[before=$(date +%s); [ -z "$2" ] || cat >/dev/urandom; [ -z "$1" ] || date -s "@$1" >/dev/null || exit; echo "$before"]]

local function by_commands(client, what, timeout)
  local now = os.time()
  local done, err, code = client:run { "sh", "-c", SCRIPT, "sh", what.clock and tostring(now) or "", what.seed and "seed" or "",
    stdin = what.seed or "", timeout = timeout, check = true }
  if not done then return nil, err, code end
  local before = math.tointeger(tonumber(texts.trim_end(done.stdout)))
  if not before then return errors.fail("EPROTO", "its clock cannot be read") end
  return { clock_offset = what.clock and before - now or nil, reseeded = what.seed ~= nil }
end

--- Refreshes a guest, and logs a clock that was off. Waits.
---@param name string of the guest
---@param client vmctl.ExecClient
---@param what { clock: boolean?, seed: boolean? }
---@param timeout number seconds
---@return { clock_offset: number?, reseeded: boolean }|nil, string?, string?
function M.refresh(name, client, what, timeout)
  local deadline = core.now() + timeout
  local given = { clock = what.clock, seed = what.seed and assert(random.bytes(SEED)) or nil }
  local done, err, code = client:refresh(given, timeout)
  if not done and code == "ENOTSUP" then done, err, code = by_commands(client, given, deadline - core.now()) end
  if not done then
    log.info("%s: its clock and its random numbers are as they were: %s", name, err)
    return nil, err, code
  end
  local offset = done.clock_offset
  if offset and math.abs(offset) > NOTEWORTHY then
    log.info("%s: its clock was %.3f s %s, and is set", name, math.abs(offset), offset < 0 and "late" or "early")
  end
  return done
end

return M
