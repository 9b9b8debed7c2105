--- vmctl switch: runs an Ethernet switch for QEMU's stream sockets, with injected faults.
local channel = require "vmctl.base.channel"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local fault_options = require "vmctl.cli.fault_options"
local home = require "vmctl.machine.share_home"
local interrupt = require "vmctl.cli.interrupt"
local l2 = require "vmctl.l2"
local output = require "vmctl.cli.output"
local switch_control = require "vmctl.cli.switch_control"
local switch_trunks = require "vmctl.cli.switch_trunks"
local units = require "vmctl.cli.units"

local M = { json = "Print two JSON documents, a line each: that it runs, and, at the end, the counts." }

function M.describe(command)
  command:summary "Run an Ethernet switch between QEMUs."
  command:description("Joins QEMU's Ethernet sockets (-netdev stream) until Ctrl-C, and breaks what goes through as it is told.\n" ..
    "  vmctl switch --listen unix:/tmp/net --loss 10% --delay 50ms --capture net.pcapng")
  command:option("--listen", "Let QEMUs connect there; each gets a port."):argname("ADDRESS"):count "*"
  command:option("--dial", "Connect to a QEMU that listens."):argname("ADDRESS"):count "*"
  command:option("--datagrams", "A port of datagrams: unixgram:PATH, or with its peer's address behind a comma.")
    :argname("ADDRESS[,REMOTE]"):count "*"
  switch_trunks.describe(command)
  command:option("--capture", "Write every frame to this pcapng file or FIFO; - is the standard output."):argname "FILE"
  command:option("--snaplen", "Bytes of each frame that the capture keeps."):argname("BYTES")
    :convert(units.integer("--snaplen", 14, 69632))
  command:option("--capture-bytes", "Begin a new file after so many bytes: 100M."):argname("BYTES"):convert(units.bytes "--capture-bytes")
  command:option("--capture-files", "How many of these files are kept (1: the capture ends with the first)."):argname "NUMBER"
    :convert(units.integer("--capture-files", 1, 1000))
  command:option("--capture-filter", "Capture only what this expression of libpcap's lets through."):argname "EXPRESSION"
  command:option("--tap", "Join a TAP device of this machine."):argname "NAME"
  command:flag("--passt", "Let guests out, by passt.")
  command:flag("--user", "Let guests out, by libslirp's user network.")
  command:option("--seed", "Makes the faults repeatable."):argname("NUMBER"):convert(units.integer "--seed")
  command:option("--name", "Let vmctl switch ctl change it under this name while it runs."):argname "NAME"
  command:option("--control", "Let it be changed by this socket, unix:PATH."):argname "ADDRESS"
  command:option("--age", "Seconds after which an address that was not heard is forgotten (5m)."):argname "TIME"
    :convert(units.seconds "--age")
  command:option("--queue", "Bytes that may wait for a port (1M)."):argname("BYTES"):convert(units.bytes "--queue")
  command:option("--memory", "Bytes that may wait for all ports (64M)."):argname("BYTES"):convert(units.bytes "--memory")
  command:option("--longest", "Bytes of a frame to a port (65535)."):argname("BYTES"):convert(units.integer("--longest", 14, 69632))
  fault_options.describe(command)
  command:command_target "subcommand"
  command:require_command(false)
  switch_control.describe(command)
end

local function connect(switch, opts)
  local ways = {}
  for i, where in ipairs(opts.listen) do
    ways[#ways + 1] = { switch.listen, where, { name = #opts.listen > 1 and ("listen-%d"):format(i) or "guest" } }
  end
  for i, where in ipairs(opts.dial) do ways[#ways + 1] = { switch.dial, where, { name = ("dial-%d"):format(i) } } end
  for i, where in ipairs(opts.datagrams) do
    local near, far = where:match "^([^,]+),?(.*)$"
    ways[#ways + 1] = { switch.datagrams, near, { name = ("datagrams-%d"):format(i), remote = far ~= "" and far or nil } }
  end
  if opts.tap then ways[#ways + 1] = { switch.uplink, { tap = opts.tap } } end
  if opts.passt then ways[#ways + 1] = { switch.uplink, { "passt", name = "passt" } } end
  if opts.user then ways[#ways + 1] = { switch.uplink, "user" } end
  if #ways + #opts.trunk + #opts.listen_trunk == 0 then
    return errors.fail("EINVAL",
      "nothing to join: --listen, --dial, --datagrams, --tap, --passt, --user, --trunk or --listen-trunk expected")
  end
  for _, way in ipairs(ways) do
    local ok, err, code = way[1](switch, way[2], way[3])
    if not ok then return nil, err, code end
  end
  return true
end

local LAST, LOOK = 2, 0.02 -- seconds that the reader of a capture has for the rest, and between two looks

-- Prints a message, unless a capture or a trunk uses the standard output.
local function say(opts, document, text)
  if opts.capture == "-" or switch_trunks.has_output(opts) then
    io.stderr:write(text, "\n")
  else
    output.result(opts, document, text)
  end
end

-- Gives the reader of a pipe time to take waiting frames. Returns the error of a capture that is not complete.
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

-- Opens the control sockets of the switch.
local function serve_control(switch, opts)
  local ok, err, code = true, nil, nil
  if opts.control then ok, err, code = switch:control(opts.control) end
  if not ok or not opts.name then return ok, err, code end
  local path
  path, err, code = home.switch(opts.name, true)
  if not path then return nil, err, code end
  return switch:control { kind = "unix", path = path }
end

local function capture_to(switch, opts)
  return switch:capture(opts.capture, {
    snaplen = opts.snaplen, filter = opts.capture_filter, max_bytes = opts.capture_bytes, files = opts.capture_files,
  })
end

local function make_switch(opts)
  return l2.switch {
    seed = opts.seed, faults = fault_options.read(opts), name = opts.name, age = opts.age and math.floor(opts.age), queue = opts.queue,
    memory = opts.memory, longest = opts.longest, thread = true,
  }
end

function M.run(opts)
  if opts.subcommand == "ctl" then return switch_control.run(opts) end
  local switch <close>, err, code = make_switch(opts) -- luacheck: ignore
  if not switch then return nil, err, code end
  local ok
  local over = channel.channel(1)
  ok, err, code = connect(switch, opts)
  if ok then ok, err, code = switch_trunks.connect(switch, opts, over) end
  if ok then ok, err, code = serve_control(switch, opts) end
  local capture
  if ok and opts.capture then capture, err, code = capture_to(switch, opts) end
  if not ok or opts.capture and not capture then return nil, err, code end
  say(opts, { event = "running", seed = switch:seed() }, ("the switch runs, seed %d"):format(switch:seed()))
  interrupt.wait(over)
  local counts = switch:counts()
  say(opts, { event = "ended", counts = counts }, switch_control.describe_counts(counts))
  if capture then ok, err, code = finish(capture) end
  if ok then return 0 end
  output.failure(opts, err, code)
  return output.INCOMPLETE
end

return M
