--- Waits for a StereOS guest to be ready: connects, asks, and begins again after a failure
--- (docs/wire/stereos.md#recommended-client, 3 and 4). Only a reply counts: behind user-mode forwarding every connect succeeds.
local core = require "vmctl.core"
local options = require "vmctl.base.options"

local M = {}

local INTERVAL, TIMEOUT, ATTEMPT = 0.2, 60, 2 -- seconds
local FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1    -- after failures, doubling
local JITTER = 0.25                           -- part of a pause, added or taken off at random, so that many clients do not ask at once

local known = {
  interval = "number>0", timeout = "number", attempt_timeout = "number>0", on_attempt = "callable", reboot = "boolean",
}

local READY = { ready = true, healthy = true }
-- Codes that no further attempt can change.
local FINAL = { ECLOSED = true, ECANCELED = true, EINVAL = true, ENAMETOOLONG = true, ENOTSUP = true, EDEADLK = true }

local function jittered(pause)
  return pause * (1 + JITTER * (2 * math.random() - 1))
end

local function late(client, opts, seen)
  local state = seen.state and ("'%s'"):format(seen.state) or "never heard"
  return nil, ("wait_for_ready on %s: not ready within %g s: %d attempts, last state %s, last error: %s"):format(
    client.address:label "stereos", opts.timeout or TIMEOUT, seen.attempts, state, seen.err or "none"), "ETIMEDOUT", seen
end

-- Asks once. Returns the health if the guest is ready; or nil, and the failure if further attempts are of no use.
local function attempt(client, opts, seen, deadline)
  seen.attempts = seen.attempts + 1
  local limit = math.min(opts.attempt_timeout or ATTEMPT, deadline - core.now())
  local health, err, code = client:get_health { timeout = limit }
  local state = health and health.state
  seen.state, seen.err, seen.code = state or seen.state, err or seen.err, code
  if opts.on_attempt then opts.on_attempt(seen.attempts, state, err) end
  if READY[state] then return health end
  if state == "shutdown" and not opts.reboot then
    return nil, ("wait_for_ready on %s: it is shutting down"):format(client.address:label "stereos"), "ESHUTDOWN"
  end
  if FINAL[code] then return nil, err, code end
end

-- Waits until the pause is over or a lifecycle message brings a new state.
local function rest(client, listener, seen, pause, deadline)
  client:_attend()
  local over = math.min(core.now() + pause, deadline)
  while true do
    local event = listener:take()
    if event then
      seen.state = event.state
      if READY[event.state] then return true end
    else
      local ok, err, code = listener:wait(over - core.now())
      if not ok and code ~= "ETIMEDOUT" then return nil, err, code end
      if core.now() >= over then return false end
    end
  end
end

--- Waits until the guest's state is "ready" or "healthy": asks, and connects again with growing pauses after any
--- failure, also after a reboot. A lifecycle message counts when an answer to get_health confirms it. Waits.
---@param client vmctl.StereosClient
---@param opts? { timeout: number?, interval: number?, attempt_timeout: number?, on_attempt: function?, reboot: boolean? } seconds in
-- all (60), between questions that are answered (0.2), for one attempt (2); on_attempt(number, state or nil, error or nil);
-- reboot: also waits for a guest that shuts down
---@return table|nil health, string?, string? code ETIMEDOUT (the message names the attempts, the last state and the last error; the
--- fourth value is a table of them: attempts, state, err, code), ESHUTDOWN: it is going down, ECLOSED, ECANCELED
function M.ready(client, opts)
  opts = options.check(opts, known, "wait_for_ready", 4)
  local deadline = core.now() + (opts.timeout or TIMEOUT)
  local listener <close> = client._hub:listen()
  local seen, pause = { attempts = 0 }, FIRST_PAUSE
  repeat
    local health, err, code = attempt(client, opts, seen, deadline)
    if health or err then return health, err, code end
    local answered = seen.code == nil
    local woken
    woken, err, code = rest(client, listener, seen, jittered(answered and (opts.interval or INTERVAL) or pause), deadline)
    if woken == nil then return nil, err, code end
    pause = answered and FIRST_PAUSE or math.min(2 * pause, LONGEST_PAUSE)
  until core.now() >= deadline
  return late(client, opts, seen)
end

return M
