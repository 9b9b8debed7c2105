-- vmctl: commands in a guest, through the agent or (what a stream can do) through a shell on a port of its own.
-- Usage: guest_exec.lua exec|shell true|out|in COUNT: how many runs of /bin/true; COUNT is not used for a command's output and input

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local guests = require "guests"
local support = require "support"
local vmctl = require "vmctl"

local side, what, count = arg[1], arg[2], tonumber(arg[3])
local size, piece = guests.size, guests.PIECE

local exec, shell = {}, {}

exec["true"] = function(vm) assert(vm:run { "/bin/true", check = true }) end

function exec.out(vm)
  local process, total = assert(vm:start { "head", "-c", tostring(size), "/dev/zero" }), 0
  while true do
    local data, err, code = process:read()
    if not data then
      assert(code == "EOF", err)
      break
    end
    total = total + #data
  end
  assert(process:wait().exit_code == 0 and total == size, "output was lost")
end

exec["in"] = function(vm)
  local process = assert(vm:start { "sh", "-c", "wc -c" })
  for _ = 1, size // #piece do assert(process:write(piece, 600)) end
  assert(process:close_stdin(600))
  assert(tonumber((process:read())) == size, "input was lost")
  assert(process:wait().exit_code == 0)
end

local function answered(port, expected) assert(port:read_line(100, 600) == expected, "another answer") end

shell["true"] = function(port)
  assert(port:write "/bin/true; echo $?\n")
  answered(port, "0")
end

function shell.out(port)
  assert(port:write(("head -c %d /dev/zero\n"):format(size)))
  local total = 0
  while total < size do total = total + #assert(port:read(size - total, 600)) end
end

shell["in"] = function(port)
  assert(port:write(("head -c %d | wc -c\n"):format(size)))
  for _ = 1, size // #piece do assert(port:write(piece, 600)) end
  answered(port, tostring(size))
end

local sides = { exec = exec, shell = shell }

vmctl.run(function()
  local vm <close> = guests.launch { channel = "mux" }
  local target = side == "shell" and guests.shell(vm) or vm
  exec["true"](vm)
  local seconds = {}
  for i = 1, what == "true" and count or 1 do
    local start = vmctl.now()
    sides[side][what](target)
    seconds[i] = vmctl.now() - start
  end
  if what == "true" then return support.report_latencies(seconds) end
  support.result("mib_rate", size / 2 ^ 20 / seconds[1])
end)
