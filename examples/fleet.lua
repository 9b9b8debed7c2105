-- A fleet: each guest is asked how it is once a second, and gets a new configuration in waves: one, then a tenth, then the rest.
-- Usage: lua5.4 examples/fleet.lua [COUNT|ADDRESS…] (guests that are played here, 1,000; or where real ones are: vsock:3:1024 …)
-- You will see the waves of a good configuration, how a bad one stops at its canary, and how quickly the polls were answered.
local vmctl = require "vmctl"

local fleet, stereos = vmctl.fleet, vmctl.stereos
local GOOD, BAD = 'mixtape = "base"\n', "no TOML"

-- Guests of our own, each with a control plane at an address of its own. They refuse what is no configuration.
local function play(scope, count)
  local addresses, folder = {}, os.tmpname()
  os.remove(folder)
  for i = 1, count do
    addresses[i] = ("unix:@%s-%d"):format(folder, i)
    local guest = stereos.server {
      get_health = function() return { state = "healthy" } end,
      set_config = function(payload)
        if payload.content == BAD then return nil, "line 1: '=' expected" end
        return true
      end,
    }
    vmctl.spawn_in(scope, guest.serve, guest, assert(vmctl.listen(addresses[i])))
  end
  return addresses
end

-- A configuration in waves. A guest is well when it says so after the change.
local function push(clients, config)
  local progress <close> = fleet.progress()
  local outcome, why = fleet.waves(clients, function(client) return client:set_config(config) end, {
    waves = { 1, "10%", "100%" }, stop_after = 3, progress = progress, name = function(client) return tostring(client.address) end,
    check = function(client)
      local health, err, code = client:get_health()
      if health and health.state ~= "healthy" then return nil, "it is " .. health.state, "EREMOTE" end
      return health, err, code
    end,
  })
  print(outcome and ("%d guests have it"):format(#outcome.done) or why)
end

vmctl.scope(function(scope)
  local count = arg[1] and tonumber(arg[1]) or not arg[1] and 1000
  local addresses = count and play(scope, count) or arg
  local clients = vmctl.map(addresses, function(address) return assert(stereos.client(address)) end)
  local polls = vmctl.spawn(function()
    return fleet.poll(clients, function(client) return client:get_health { timeout = 5 } end, {
      rounds = 3, on_failure = function(_, message, _, times) print(("%s, %d. time"):format(message, times)) end,
    })
  end)
  push(clients, GOOD)
  push(clients, BAD)
  local totals = assert(polls:join())
  print(("%d polls, %d failed, %d left out, half of them answered within %.1f ms, 99 %% within %.1f ms"):format(totals.polls, totals.failed,
    totals.skipped, totals.p50 * 1e3, totals.p99 * 1e3))
  for _, client in ipairs(clients) do client:close() end
  scope:cancel()
end)
