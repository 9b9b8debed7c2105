-- vmctl: the time from the start of QEMU to the end of a guest's first command, COUNT times: of a guest that boots, or of a copy of
-- one that has booted, as a scenario makes it. `bare`: a shell starts QEMU by the same command line without confinement, and a command
-- is tried.
-- Usage: guest_boot.lua ours|bare kernel|copy COUNT

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local guests = require "guests"
local mux = require "vmctl.mux"
local snapshot = require "vmctl.scenario.snapshot"
local support = require "support"
local vmctl = require "vmctl"

local side, kind, count = arg[1], arg[2], tonumber(arg[3])
local SOCKET = os.tmpname()
local TRY = 0.002 -- seconds
local PID = tonumber(io.open "/proc/self/stat":read "a":match "^%d+")

local function quoted(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

local WITHOUT = { ["-incoming"] = true, ["-mon"] = true, ["-sandbox"] = true } -- and what follows

-- Files by name instead of descriptors, and a socket of ours.
local function named(option, word, files)
  if option == "-kernel" or option == "-initrd" then return guests.boot[option:sub(2)] end
  if option == "-object" and files then
    return (word:gsub("/proc/self/fd/%d+", ("/proc/%d/fd/%d"):format(PID, files.ram:fileno())))
  end
  if word == "socket,id=mux,fd=0" then return ("socket,id=mux,path=%s,server=on,wait=off"):format(SOCKET) end
  return word == "socket,id=console,fd=1" and "null,id=console" or word
end

-- A copy is stopped as its template was, and goes on when the monitor says so.
local function bare_line(command, files)
  local words, i = {}, 1
  while i <= #command do
    local option, value = command[i], command[i + 1] or ""
    if WITHOUT[option] or value:find "^socket,id=monitor" then
      i = i + 2
    else
      words[#words + 1] = quoted(named(command[i - 1], option, files))
      i = i + 1
    end
  end
  local line = "exec " .. table.concat(words, " ")
  if not files then return line end
  return ("{ echo migrate_set_capability x-ignore-shared on; echo migrate_incoming fd:9; while sleep 0.01; do echo cont; done; } "
    .. "2>/dev/null | %s -monitor stdio -incoming defer 9</proc/%d/fd/%d >/dev/null 2>&1"):format(line, PID, files.state:fileno())
end

local function first_command(stream)
  local session = assert(mux.connect(stream, 120))
  local client = assert(vmctl.exec.client(vmctl.address.func(function(timeout)
    return session:connect(vmctl.exec.PORT, timeout)
  end, "the guest")))
  assert(client:run { "/bin/true", check = true })
  session:close()
end

local function dialled()
  while true do
    local stream = vmctl.dial("unix:" .. SOCKET)
    if stream then return stream end
    vmctl.sleep(TRY)
  end
end

local function start_bare(line)
  os.remove(SOCKET)
  local begin = vmctl.now()
  local process <close> = assert(vmctl.host:start { "sh", "-c", line }) -- luacheck: ignore
  first_command(dialled())
  return vmctl.now() - begin
end

local function start_ours(files)
  local begin = vmctl.now()
  local vm <close> = assert(vmctl.machine.launch(guests.options(files, files ~= nil)))
  if files then assert(snapshot.resume(vm, files, 120)) else assert(vm:wait_ready(120)) end
  assert(vm:run { "/bin/true", check = true })
  return vmctl.now() - begin
end

-- One that is started for its command line alone.
local function command_line(files)
  local vm <close> = assert(vmctl.machine.launch(guests.options(files, files ~= nil)))
  return vm.command
end

vmctl.run(function()
  local files = kind == "copy" and guests.template() or nil
  local line = side == "bare" and bare_line(command_line(files), files)
  local seconds = {}
  for i = 1, count do seconds[i] = line and start_bare(line) or start_ours(files) end
  os.remove(SOCKET)
  support.report_latencies(seconds)
end)
