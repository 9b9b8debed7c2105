--- vmctl switch: runs an Ethernet switch for QEMU's stream sockets, with injected faults.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local interrupt = require "vmctl.cli.interrupt"
local l2 = require "vmctl.l2"
local output = require "vmctl.cli.output"
local units = require "vmctl.cli.units"

local M = { json = "Print two JSON documents, a line each: that it runs, and, at the end, the counts." }

local FAULTS = { "loss", "duplicate", "corrupt", "reorder", "delay", "jitter" }

function M.describe(command)
  command:summary "Run an Ethernet switch between QEMUs."
  command:description("Joins QEMU's Ethernet sockets (-netdev stream) until Ctrl-C, and breaks what goes through as it is told.\n" ..
    "  vmctl switch --listen unix:/tmp/net --loss 10% --delay 50ms --capture net.pcapng")
  command:option("--listen", "Let QEMUs connect there; each gets a port."):argname("ADDRESS"):count "*"
  command:option("--dial", "Connect to a QEMU that listens."):argname("ADDRESS"):count "*"
  command:option("--capture", "Write every frame to this pcapng file or FIFO; - is the standard output."):argname "FILE"
  command:option("--snaplen", "Bytes of each frame that the capture keeps."):argname("BYTES")
    :convert(units.integer("--snaplen", 14, 69632))
  command:option("--capture-filter", "Capture only what this expression of libpcap's lets through."):argname "EXPRESSION"
  command:option("--tap", "Join a TAP device of this machine."):argname "NAME"
  command:flag("--user", "Let guests out, by libslirp's user network.")
  for _, name in ipairs(FAULTS) do
    local seconds = name == "delay" or name == "jitter"
    local what = seconds and "A time such as 50ms, for every frame." or "The chance of it, such as 0.1 or 10%, for every frame."
    command:option("--" .. name, what)
      :argname(seconds and "TIME" or "CHANCE"):convert(seconds and units.seconds("--" .. name) or units.chance("--" .. name))
  end
  command:option("--rate", "Bits a second of each port, such as 10mbit."):argname("RATE"):convert(units.rate "--rate")
  command:option("--seed", "Makes the faults repeatable."):argname("NUMBER"):convert(units.integer "--seed")
end

local function faults_of(opts)
  local faults = { rate = opts.rate }
  for _, name in ipairs(FAULTS) do faults[name] = opts[name] end
  return next(faults) and faults or nil
end

local function connect(switch, opts)
  local ways = {}
  for i, where in ipairs(opts.listen) do
    ways[#ways + 1] = { switch.listen, where, { name = #opts.listen > 1 and ("listen-%d"):format(i) or "guest" } }
  end
  for i, where in ipairs(opts.dial) do ways[#ways + 1] = { switch.dial, where, { name = ("dial-%d"):format(i) } } end
  if opts.tap then ways[#ways + 1] = { switch.uplink, { tap = opts.tap } } end
  if opts.user then ways[#ways + 1] = { switch.uplink, "user" } end
  if #ways == 0 then return errors.fail("EINVAL", "nothing to join: --listen, --dial, --tap or --user expected") end
  for _, way in ipairs(ways) do
    local ok, err, code = way[1](switch, way[2], way[3])
    if not ok then return nil, err, code end
  end
  return true
end

local INCOMPLETE = 1 -- the exit code when the capture has gaps
local LAST, LOOK = 2, 0.02 -- seconds that the reader of a capture has for the rest, and between two looks

local function dropped(port)
  return port.dropped_full + port.dropped_long + port.dropped_link + port.dropped_cut + port.dropped_loss + port.dropped_rate
end

local function describe(counts)
  local rows = {}
  for name, port in pairs(counts.ports) do
    rows[#rows + 1] = { name, tostring(port.frames_in), tostring(port.frames_out), tostring(dropped(port)) }
  end
  table.sort(rows, function(a, b) return a[1] < b[1] end)
  return output.table({ "PORT", "FRAMES IN", "FRAMES OUT", "DROPPED" }, rows)
end

-- A capture on the standard output has it for itself.
local function say(opts, document, text)
  if opts.capture == "-" then
    io.stderr:write(text, "\n")
  else
    output.result(opts, document, text)
  end
end

-- Gives the reader of a pipe the time to take what waits. The error of a capture that is not complete.
local function finish(capture)
  local deadline = core.now() + LAST
  local frames, lost, waiting = capture:status()
  while frames and waiting > 0 and core.now() < deadline do
    core.sleep(LOOK)
    frames, lost, waiting = capture:status()
  end
  if not frames then return nil, lost, waiting end
  lost = lost + (waiting > 0 and 1 or 0)
  local ok, err, code = capture:close()
  if not ok then return nil, err, code end
  if lost == 0 then return true end
  return errors.fail("ENOBUFS", "capture: it is not complete: its reader was too slow, and %d frames or more were left out", lost)
end

function M.run(opts)
  local switch <close> = l2.switch { seed = opts.seed, faults = faults_of(opts) } -- luacheck: ignore
  local ok, err, code = connect(switch, opts)
  local capture
  if ok and opts.capture then
    capture, err, code = switch:capture(opts.capture, { snaplen = opts.snaplen, filter = opts.capture_filter })
  end
  if opts.capture and not capture then ok = nil end
  if not ok then return nil, err, code end
  say(opts, { event = "running", seed = switch:seed() }, ("the switch runs, seed %d"):format(switch:seed()))
  interrupt.wait()
  local counts = switch:counts()
  say(opts, { event = "ended", counts = counts }, describe(counts))
  if capture then ok, err, code = finish(capture) end
  if ok then return 0 end
  output.failure(opts, err, code)
  return INCOMPLETE
end

return M
