--- Many waits at once.
local channel = require "vmctl.base.channel"
local core = require "vmctl.core"
local log = require "vmctl.log"
local task = require "vmctl.base.task"
local waiting = require "vmctl.ready.waiting"

local CONCURRENCY = 64
local NAMED = 5         -- that many are named in a message
local SAY_EVERY = 5     -- seconds
local SHOW_EVERY = 0.5

-- Numbers first, then names: the order of messages.
local function sorted_keys(list)
  local keys = {}
  for key in pairs(list) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    if math.type(a) == math.type(b) and type(a) == type(b) and (type(a) == "string" or type(a) == "number") then
      return a < b
    end
    return type(a) == "number" or type(b) ~= "number" and tostring(a) < tostring(b)
  end)
  return keys
end

-- Makes a gate that limits the number of attempts at a time. Pauses between attempts do not count, so that a probe that is never ready
-- does not block others.
local function make_gate(places)
  local gate = channel.channel(places)
  for _ = 1, places do gate:send(true) end
  return gate
end

local function label(key, probe)
  return type(key) == "string" and ("%s (%s)"):format(key, probe.label) or probe.label
end

local function make_states(list, keys, opts, deadline)
  local states = {}
  local gate = make_gate(math.min(opts.concurrency or CONCURRENCY, math.max(1, #keys)))
  for _, key in ipairs(keys) do
    local on_attempt = opts.on_attempt and function(...) return opts.on_attempt(key, ...) end
    local state = waiting.new(list[key], {
      interval = opts.interval, attempt_timeout = opts.attempt_timeout, on_attempt = on_attempt, gate = gate, brief = true,
    }, deadline)
    state.tell = function() end -- one line for all of them
    state.label = label(key, list[key])
    states[key] = state
  end
  return states
end

local function names(keys, text)
  local shown = {}
  for i = 1, math.min(NAMED, #keys) do shown[i] = text(keys[i]) end
  if #keys > NAMED then shown[#shown + 1] = ("and %d more"):format(#keys - NAMED) end
  return shown
end

local function pending(keys, results)
  local left = {}
  for _, key in ipairs(keys) do
    if not results[key] then left[#left + 1] = key end
  end
  return left
end

-- Reports the probes that are waited for, until it is told to end.
local function tell(keys, states, results)
  local begin, said = core.now(), core.now()
  while core.sleep(SHOW_EVERY) do
    local now, left = core.now(), pending(keys, results)
    local text = ("%d of %d (%.1f s): %s"):format(#left, #keys, now - begin,
      table.concat(names(left, function(key) return states[key].label end), ", "))
    log.progress("waiting for " .. text)
    if now - said >= SAY_EVERY then
      said = now
      log.info("still waiting for %s", text)
    end
  end
end

local function wait_for(state)
  local value, err, code = state:run()
  if value ~= nil then return { ready = true, seconds = state:seconds(), attempts = state.attempts, value = value } end
  return { ready = false, seconds = state:seconds(), attempts = state.attempts, message = err, code = code }
end

-- Fills `results`. Returns the key of the failure that has ended all waits, if there is one.
local function run_all(keys, states, results)
  local hopeless
  task.scope(function(scope)
    local teller = task.spawn_in(scope, tell, keys, states, results)
    local workers = {}
    for i, key in ipairs(keys) do
      workers[i] = task.spawn_in(scope, function()
        local result = wait_for(states[key])
        results[key] = result
        if result.ready or result.code == "ETIMEDOUT" or result.code == "ECANCELED" or hopeless then return end
        hopeless = key
        scope:cancel()
      end)
    end
    for _, worker in ipairs(workers) do worker:join() end
    teller:cancel()
  end)
  log.progress(nil)
  return hopeless
end

local function result_of(key, states, results)
  local result, state = results[key], states[key]
  if not result then -- it had not even begun
    result = { ready = false, code = "ECANCELED", attempts = 0, seconds = 0,
      message = ("wait for %s: given up; the last: %s"):format(state.label, state.last) }
    results[key] = result
  end
  return result
end

local function failure(keys, states, results, hopeless)
  local bad = {}
  for _, key in ipairs(keys) do
    if not result_of(key, states, results).ready and key ~= hopeless then bad[#bad + 1] = key end
  end
  if hopeless ~= nil then table.insert(bad, 1, hopeless) end
  if not bad[1] then return nil end
  local code = hopeless ~= nil and results[hopeless].code or results[bad[1]].code
  local why = names(bad, function(key) return (results[key].message:gsub("^wait for ", "")) end)
  return ("wait for %d: %d not ready: %s"):format(#keys, #bad, table.concat(why, "; ")), code
end

--- See vmctl.ready.all; `list` holds probes alone, `opts` every option.
return function(list, opts)
  local keys, results = sorted_keys(list), {}
  local states = make_states(list, keys, opts, core.now() + opts.timeout)
  local hopeless = run_all(keys, states, results)
  local message, code = failure(keys, states, results, hopeless)
  if message then return nil, message, code, results end
  return results
end
