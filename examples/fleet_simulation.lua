-- 10,000 guests on 100 machines, on a virtual clock: what a plan for a fleet (docs/scale.md) comes to, before there is one.
-- Usage: lua5.4 examples/fleet_simulation.lua [MACHINES [GUESTS [SEED]]] (of each machine; 20 and 50 by default, so that it is short)
-- You will see how long the start takes, a good configuration and a bad one in waves, and a machine that goes away.
local vmctl = require "vmctl"

local MACHINES, GUESTS, SEED = tonumber(arg[1] or 20), tonumber(arg[2] or 50), tonumber(arg[3] or 1)
local COPY, IMAGE, COPIES = 1e9 / 8, 300e6, 2 -- bytes a second of a machine's network; of an image; copies that one machine gives at a time
local BOOTS, BOOT = 4, { 1.5, 0.5 }           -- guests that a machine starts at a time; seconds of a start, and by how much they differ
local WAY = { 0.0005, 0.0002 }                -- seconds to another machine and back
local CONFIG = { 0.05, 0.02 }                 -- seconds that a guest takes for a configuration
local EVERY, LIMIT, ROUNDS = 5, 2, 12         -- seconds between two polls of a guest, until it counts as silent, and polls of each
local FAILS = 0.0005                          -- share of the changes that fail for no reason

math.randomseed(SEED)
local function takes(what) return vmctl.sleep(math.max(0, what[1] + what[2] * (2 * math.random() - 1))) end

local begin
local function say(...) print(("%7.1f s  "):format(vmctl.now() - begin) .. string.format(...)) end

-- Those who have the image give it on, each to COPIES at a time: the machines that have it grow as a power.
local function copy_images(machines)
  local givers, left = vmctl.channel(#machines * COPIES + COPIES), #machines
  for _ = 1, COPIES do givers:send(true) end -- who starts it all
  vmctl.all(machines, function(machine)
    givers:recv(math.huge)
    vmctl.sleep(IMAGE / COPY * COPIES) -- copies share the giver's network
    machine.has_image, left = true, left - 1
    for _ = 1, COPIES + 1 do givers:send(true, 0) end
  end)
end

local function start(machines)
  copy_images(machines)
  say("the image is on %d machines", #machines)
  vmctl.all(machines, function(machine)
    vmctl.map(machine.guests, function(guest)
      takes(BOOT)
      guest.up = true
    end, { concurrency = BOOTS })
  end)
  say("%d guests are up", #machines * GUESTS)
end

-- The result of a call of a guest: an answer, or nothing until the limit.
local function call(guest, work)
  takes(WAY)
  if guest.machine.gone then
    vmctl.sleep(LIMIT)
    return nil, "no reply", "ETIMEDOUT"
  end
  return takes(work)
end

-- The order is one guest of each machine after the other: a wave reaches all machines, and no machine is changed as a whole.
local function push(guests, good)
  local outcome, why, _, partly = vmctl.fleet.waves(guests, function(guest)
    local ok, err, code = call(guest, CONFIG)
    if ok and math.random() < FAILS then return nil, "failed for no reason", "EIO" end
    guest.well = good
    return ok, err, code
  end, { waves = { 1, MACHINES, "25%", "100%" }, stop_after = #guests // 100 + 1, settle = 10, concurrency = 200,
    name = function(guest) return guest.name end,
    check = function(guest)
      if not guest.well then return nil, "it is degraded", "EREMOTE" end
      return call(guest, { 0.001, 0 })
    end })
  outcome = outcome or partly
  say("%s configuration: %d changed, %d failed, %d left alone%s", good and "a good" or "a bad", #outcome.done, #outcome.failed,
    #outcome.untouched, why and " (" .. why:match "^[^:]*" .. ")" or "")
end

-- Polls everybody, and a machine goes away meanwhile: when is each of its guests missed?
local function watch(machines, guests)
  local lost, missed, last = machines[#machines], 0, nil
  vmctl.spawn(function()
    vmctl.sleep(EVERY * 2.5)
    lost.gone = vmctl.now()
    say("machine %d goes away with %d guests", #machines, #lost.guests)
  end)
  local totals = vmctl.fleet.poll(guests, function(guest) return call(guest, { 0.0005, 0.0002 }) end, { every = EVERY, rounds = ROUNDS,
    on_failure = function(_, _, _, times)
      if times > 1 then return end
      missed, last = missed + 1, vmctl.now()
    end })
  say("%d of them missed, the last %.1f s after it had gone", missed, last - lost.gone)
  say("%d polls: %d unanswered, %d left out, %.0f a second, %d tasks, half within %.1f ms", totals.polls, totals.failed, totals.skipped,
    totals.polls / (EVERY * ROUNDS), totals.workers, totals.p50 * 1e3)
end

vmctl.run(vmctl.clock.virtual, function()
  begin = vmctl.now()
  local machines, guests = {}, {}
  for i = 1, MACHINES do
    machines[i] = { guests = {} }
    for j = 1, GUESTS do
      machines[i].guests[j] = { name = ("%d/%d"):format(i, j), machine = machines[i] }
      guests[(j - 1) * MACHINES + i] = machines[i].guests[j]
    end
  end
  start(machines)
  push(guests, true)
  push(guests, false)
  watch(machines, guests)
end, { grace = 0 })
