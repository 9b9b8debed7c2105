--- vmctl switch ctl: changes a switch that runs, and reads its counters.
local core = require "vmctl.core"
local address = require "vmctl.net.address"
local errors = require "vmctl.errors"
local fault_options = require "vmctl.cli.fault_options"
local home = require "vmctl.machine.share_home"
local l2 = require "vmctl.l2"
local output = require "vmctl.cli.output"
local qmp = require "vmctl.cli.commands.qmp"
local share_client = require "vmctl.machine.share_client"
local switch_trunks = require "vmctl.cli.switch_trunks"
local units = require "vmctl.cli.units"

local M = {}

local ACTIONS = {
  "ports", "counts", "addresses", "forget", "faults", "cut", "heal", "partition", "mirror", "link", "disconnect", "seed", "capture",
  "capture-end", "trunk",
}

--- Describes the command below `switch`.
function M.describe(command)
  local ctl = command:command "ctl"
  ctl:summary "Change a switch that runs, or read its counters."
  ctl:description("Changes the switch that vmctl switch --name NAME runs. ACTION is one of\n" ..
    "  ports, counts, addresses        what there is\n" ..
    "  faults [PORT [PORT]] OPTIONS    new faults of all ports, of one, or between two; without options: none\n" ..
    "  cut PORT [PORT], heal [PORT [PORT]], partition PORT,PORT… PORT,PORT…\n" ..
    "  link PORT up|down               with --guest also for the guest\n" ..
    "  mirror [PORT], disconnect PORT, forget, seed NUMBER, capture FILE, capture-end FILE\n" ..
    "  trunk ADDRESS                   join a switch elsewhere; --trunk-key and --network as of vmctl switch\n" ..
    "  vmctl switch ctl net faults guest-1 guest-2 --loss 10% --delay 50ms")
  ctl:argument("name", "The name of the switch, or the address of a control socket."):argname "NAME"
  ctl:argument("action", "What to do."):argname("ACTION"):choices(ACTIONS)
  ctl:argument("words", "Ports, a file, a number."):argname("WORD"):args "*"
  ctl:flag("--json", "Print the result as one JSON document.")
  ctl:option("--direction", "Of faults: from, to or both; between two ports both or one."):argname("DIRECTION")
    :choices { "from", "to", "both", "one" }
  ctl:flag("--clear", "heal ends all faults as well.")
  ctl:option("--guest", "The guest of vmctl run whose card gets the link, or the address of its monitor."):argname "GUEST"
  ctl:option("--card", "Which of its cards (1)."):argname("NUMBER"):convert(units.integer("--card", 1)):default "1"
  switch_trunks.describe_joining(ctl)
  fault_options.describe(ctl)
end

-- Connects to a switch. Refuses a peer that runs as another user.
local function connect(name)
  if name:find "^%l+:" then return l2.control(name) end
  local path, err, code = home.switch(name)
  if not path then return nil, err, code end
  if not home.lstat(path) then return errors.fail("ENOENT", "no switch called '%s' runs here", name) end
  return l2.control(share_client.trusted(address.unix(path), name))
end

local function usage(text) return errors.fail("EINVAL", "%s expected", text) end

-- The arguments of an operation, by the words behind it.
local arguments = {}

local function none(_, words)
  if #words > 0 then return usage "no further words" end
  return {}
end

arguments.ports, arguments.counts, arguments.addresses, arguments.forget = none, none, none, none

local function some_ports(least, most, what)
  return function(_, words)
    if #words < least or #words > most then return usage(what) end
    return { port = words[1], to = words[2] }
  end
end

arguments.cut = some_ports(1, 2, "one port or two")
arguments.mirror = some_ports(0, 1, "a port, or none,")
arguments.disconnect = some_ports(1, 1, "a port")

function arguments.heal(opts, words)
  if #words > 2 then return usage "two ports at most" end
  return { port = words[1], to = words[2], clear = opts.clear }
end

function arguments.faults(opts, words)
  if #words > 2 then return usage "two ports at most" end
  return { port = words[1], to = words[2], faults = fault_options.read(opts), direction = opts.direction }
end

function arguments.partition(_, words)
  local groups = {}
  for i, word in ipairs(words) do
    groups[i] = {}
    for port in word:gmatch "[^,]+" do table.insert(groups[i], port) end
  end
  if #groups == 0 then return usage "groups of ports, such as a,b c," end
  return { groups = groups }
end

function arguments.link(_, words)
  if #words ~= 2 or words[2] ~= "up" and words[2] ~= "down" then return usage "a port, and up or down," end
  return { port = words[1], up = words[2] == "up" }
end

function arguments.trunk(opts, words)
  if #words ~= 1 then return usage "the address of a switch's trunks" end
  if opts.trunk_key then -- the switch runs in another folder
    local path, err, code = core.fs.real(opts.trunk_key)
    if not path then return nil, err, code end
    opts.trunk_key = path
  end
  return { where = words[1], options = switch_trunks.settings(opts) }
end

function arguments.seed(_, words)
  local seed = #words == 1 and math.tointeger(tonumber(words[1]))
  if not seed then return usage "a whole number" end
  return { seed = seed }
end

local function one_file(_, words)
  if #words ~= 1 then return usage "a file" end
  local path = words[1]
  if path:sub(1, 1) ~= "/" then path = (os.getenv "PWD" or ".") .. "/" .. path end -- the switch may run in another folder
  return { path = path }
end

arguments.capture, arguments.capture_end = one_file, one_file

-- Tells the guest with this card that its link is up or down.
local function tell_guest(opts, up)
  local client, err, code = qmp.connect(opts.guest)
  if not client then return nil, err, code end
  local guard <close> = client -- luacheck: ignore
  return client:execute("set_link", { name = ("nic%d"):format(opts.card - 1), up = up })
end

local function dropped(port)
  return port.dropped_full + port.dropped_long + port.dropped_link + port.dropped_cut + port.dropped_loss + port.dropped_rate
end

--- The counters of ports as a table for people.
---@param counts table as `switch:counts` returns them
---@return string
function M.describe_counts(counts)
  local rows = {}
  for name, port in pairs(counts.ports) do
    rows[#rows + 1] = { name, tostring(port.frames_in), tostring(port.frames_out), tostring(dropped(port)) }
  end
  table.sort(rows, function(a, b) return a[1] < b[1] end)
  return output.table({ "PORT", "FRAMES IN", "FRAMES OUT", "DROPPED" }, rows)
end

local texts = { counts = M.describe_counts }

function texts.ports(list)
  local rows = {}
  for i, port in ipairs(list) do
    rows[i] = { port.name, port.reason and ("%s (%s)"):format(port.state, port.reason) or port.state, port.faulty and "faulty" or "" }
  end
  return output.table({ "PORT", "STATE", "" }, rows)
end

function texts.addresses(list)
  local rows = {}
  for i, entry in ipairs(list) do rows[i] = { entry.mac, tostring(entry.vlan), entry.port, ("%d s"):format(entry.age) } end
  return output.table({ "ADDRESS", "VLAN", "PORT", "AGE" }, rows)
end

function texts.trunk(joined) return ("%s joins %s"):format(joined.port, table.concat(joined.networks, ", ")) end

function texts.capture_end(frames) return ("%d frames"):format(frames) end

--- Runs it. Waits.
---@return integer|nil status, string?, string?
function M.run(opts)
  local op = opts.action:gsub("-", "_")
  local request, err, code = arguments[op](opts, opts.words)
  if not request then return nil, ("%s: %s"):format(opts.action, err), code end
  local client
  client, err, code = connect(opts.name)
  if not client then return nil, err, code end
  local guard <close> = client -- luacheck: ignore
  local value
  value, err, code = client:call(op, request)
  if value == nil then return nil, err, code end
  if op == "link" and opts.guest then
    local told
    told, err, code = tell_guest(opts, request.up)
    if told == nil then return nil, err, code end
  end
  output.result(opts, { [op] = value }, texts[op] and texts[op](value))
  return 0
end

return M
