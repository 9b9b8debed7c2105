-- An Ethernet switch that breaks things on purpose: three ports, a lossy way, a cut, and a capture of it all.
-- Usage: lua5.4 examples/switch.lua
-- You will see where a frame goes before and after the switch has learned, what a loss of 20 % leaves, what a partition does,
-- and how many frames are in the capture. Socket pairs stand in for guests: for QEMUs it is sw:listen and sw:dial.
local vmctl = require "vmctl"

local BROADCAST, NAMES = ("\xff"):rep(6), { "anna", "ben", "cora" }

local function frame(to, from, text)
  return to .. from .. "\x88\xb5" .. text -- an experimental type
end

-- Lists the guests that have got frames by now, with their number.
local function heard(guests)
  local list = {}
  for _, name in ipairs(NAMES) do
    local count, frames = 0, guests[name]:recv_many(256, 0.05)
    while frames do
      count = count + #frames
      frames = guests[name]:recv_many(256, 0.05)
    end
    if count > 0 then list[#list + 1] = ("%s %d"):format(name, count) end
  end
  return #list > 0 and table.concat(list, ", ") or "nobody"
end

vmctl.run(function()
  local sw <close> = vmctl.l2.switch { seed = 42 }
  local guests, macs = {}, {}
  for i, name in ipairs(NAMES) do
    local near, far = vmctl.l2.socketpair()
    guests[name] = far
    macs[name] = "\2\0\0\0\0" .. string.char(i)
    assert(sw:add(assert(near), { name = name }))
  end
  local path = os.tmpname()
  local capture = assert(sw:capture(path))

  assert(guests.anna:send(frame(macs.ben, macs.anna, "where are you?")))
  print("an unknown address: " .. heard(guests))
  assert(guests.ben:send(frame(macs.anna, macs.ben, "here")))
  print("a known address: " .. heard(guests))

  sw:faults("anna", "ben", { loss = 0.2 }, { direction = "one" })
  for i = 1, 100 do assert(guests.anna:send(frame(BROADCAST, macs.anna, "number " .. i))) end
  print("a hundred to all, a fifth of them lost on one way: " .. heard(guests))

  sw:partition { { "anna", "cora" }, { "ben" } }
  assert(guests.cora:send(frame(BROADCAST, macs.cora, "is anybody there?")))
  print("with ben on the other side of a partition: " .. heard(guests))
  sw:heal()

  local total = assert(sw:counts()).total
  print(("%d frames in, %d lost, %d cut off"):format(total.frames_in, total.dropped_loss, total.dropped_cut))
  print(("captured: %d frames"):format(capture:close()))
  os.remove(path)
end)
