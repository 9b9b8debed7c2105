-- StereOS' control plane, both ends: a guest's service of your own, a host that waits for it, configures it and listens to it.
-- Usage: lua5.4 examples/stereos.lua [ADDRESS]
-- With an address (vsock:3:1024, tcp:127.0.0.1:1024 …) it asks the guest there how it is; without one it plays both sides.
local vmctl = require "vmctl"

local stereos = vmctl.stereos

local function show(client)
  local health = assert(client:wait_for_ready { timeout = 30 })
  print(("%s is %s, up for %d s, %d agents"):format(client, health.state, health.uptime_seconds, #health.agents))
end

local function play_both(scope)
  local path = os.tmpname()
  os.remove(path)
  local config = "none"
  local guest = stereos.server {
    get_health = function() return { agents = { { name = "builder", running = true } } } end, -- the rest is filled in
    set_config = function(payload)                                                            -- may wait
      config = payload.content
      return true
    end,
    shutdown = function() return nil, "not before the work is done", "EBUSY" end,
  }
  guest:lifecycle "booting"
  local listener <close> = assert(vmctl.listen("unix:" .. path))
  vmctl.spawn_in(scope, guest.serve, guest, listener)

  local client <close> = assert(stereos.connect("unix:" .. path))
  client:on_lifecycle(function(event) print("the guest says: " .. event.state) end)
  vmctl.spawn_in(scope, function()
    vmctl.sleep(0.2)
    guest:lifecycle("ready", "all is up")
  end)
  show(client)

  assert(client:set_config 'mixtape = "base"\n')
  assert(config == 'mixtape = "base"\n')
  local pings = vmctl.map({ 1, 2, 3, 4 }, function() return (client:ping()) end) -- many tasks, one connection
  assert(#pings == 4 and pings[4] == true)
  local ok, why = client:shutdown "enough"
  assert(not ok)
  print(why)
end

if arg[1] then
  local client <close> = assert(stereos.client(arg[1]))
  show(client)
else
  vmctl.scope(play_both)
end
