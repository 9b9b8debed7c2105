--- The options that describe a switch's faults, as `vmctl switch` and `vmctl switch ctl` have them: values with units, as netem's.
local units = require "vmctl.cli.units"

local M = {}

local CHANCES = { "loss", "duplicate", "corrupt", "reorder" }
local SECONDS = {
  delay = "A time such as 50ms, for every frame.", jitter = "The delay varies by so much: 20ms.",
  reorder_by = "How much later a reordered frame is (20ms).", latency = "How long a frame may wait for the rate (100ms).",
}
local SECONDS_ORDER = { "delay", "jitter", "reorder_by", "latency" }
local CORRELATED = { "loss", "duplicate", "corrupt", "reorder", "jitter" }
local WHOLE = {
  loss_every = { 1, 4294967295, "NUMBER", "Lose each so many-th frame." },
  limit = { 1, 4294967295, "FRAMES", "So many delayed frames of a direction, further ones are lost." },
  overhead = { -65535, 65535, "BYTES", "What each frame takes on the wire beside its own bytes." },
  cell = { 1, 65535, "BYTES", "Frames take whole cells of so many bytes on the wire." },
  cell_overhead = { 0, 65535, "BYTES", "What each cell takes beside its own bytes." },
}
local WHOLE_ORDER = { "loss_every", "limit", "overhead", "cell", "cell_overhead" }

local function flag_of(name) return "--" .. name:gsub("_", "-") end

-- "a,b,c" by a converter for each part; those behind the first may be missing.
local function parts(option, names, converters)
  return function(text)
    local value, at = {}, 0
    for part in (text .. ","):gmatch "([^,]*)," do
      at = at + 1
      local name = names[at]
      if not name then return nil, ("%s: at most %d values expected, got '%s'"):format(option, #names, text) end
      local err
      value[name], err = converters[at](part)
      if value[name] == nil then return nil, err end
    end
    return value
  end
end

-- The name of a distribution, or numbers.
local function distribution(text)
  if not text:find "^[-%d.]" then return text end
  local list = {}
  for part in (text .. ","):gmatch "([^,]*)," do
    list[#list + 1] = tonumber(part)
    if not list[#list] or #list > 256 then return nil, ("--distribution: a name, or up to 256 numbers, expected, got '%s'"):format(text) end
  end
  return list
end

local NUMBERS = { ethertype = true, port = true, nth = true, first = true, last = true }

-- "tcp" is a name, "6" a number.
local function only(text)
  local key, value = text:match "^(%l+)=(.+)$"
  if not key then return nil, ("--only: KEY=VALUE expected, got '%s'"):format(text) end
  if NUMBERS[key] or key == "protocol" and tonumber(value) then
    value = math.tointeger(tonumber(value))
    if not value then return nil, ("--only: %s: a whole number expected, got '%s'"):format(key, text) end
  end
  return { key, value }
end

local function add_list(command, name, argument, what, converter)
  command:option(flag_of(name), what):argname(argument):convert(converter)
end

--- Adds the options to an argparse command.
function M.describe(command)
  local chance, seconds = units.chance, units.seconds
  for _, name in ipairs(CHANCES) do
    add_list(command, name, "CHANCE", "The chance of it, such as 0.1 or 10%, for every frame.", chance("--" .. name))
  end
  for _, name in ipairs(SECONDS_ORDER) do add_list(command, name, "TIME", SECONDS[name], seconds(flag_of(name))) end
  add_list(command, "distribution", "NAME", "Of the jitter: uniform, normal, pareto, paretonormal, or numbers: -1,0,0.5.", distribution)
  command:flag("--ordered", "Frames overtake none, whatever the jitter.")
  for _, name in ipairs(CORRELATED) do
    local option = name .. "_correlation"
    add_list(command, option, "CHANCE", ("That a frame meets the same %s as the one before."):format(name), chance(flag_of(option)))
  end
  add_list(command, "gemodel", "P[,R[,BAD[,GOOD]]]", "Loss by the model of Gilbert and Elliott, as netem's.",
    parts("--gemodel", { "p", "r", "bad", "good" }, { chance "--gemodel", chance "--gemodel", chance "--gemodel", chance "--gemodel" }))
  add_list(command, "slot", "MIN[,MAX[,FRAMES]]", "Frames leave together, at times that lie so far apart.",
    parts("--slot", { "min", "max", "frames" }, { seconds "--slot", seconds "--slot", units.integer("--slot", 1) }))
  add_list(command, "rate", "RATE", "Bits a second, such as 10mbit.", units.rate "--rate")
  add_list(command, "burst", "BYTES", "Bytes that go at once after a pause, as tbf's: 64k.", units.bytes "--burst")
  for _, name in ipairs(WHOLE_ORDER) do
    local least, most, argument, what = table.unpack(WHOLE[name])
    add_list(command, name, argument, what, units.integer(flag_of(name), least, most))
  end
  command:option("--only", "Only frames with to=, from=, mac=, ethertype=, protocol=, port=, tcp=, filter=, nth=, first=, last=.")
    :argname("KEY=VALUE"):convert(only):count "*"
end

local NAMES = { "distribution", "ordered", "gemodel", "slot", "rate", "burst" }
for _, name in ipairs(CHANCES) do NAMES[#NAMES + 1] = name end
for _, name in ipairs(SECONDS_ORDER) do NAMES[#NAMES + 1] = name end
for _, name in ipairs(WHOLE_ORDER) do NAMES[#NAMES + 1] = name end
for _, name in ipairs(CORRELATED) do NAMES[#NAMES + 1] = name .. "_correlation" end

--- The faults that were asked for, nil for none.
---@return vmctl.L2Faults|nil
function M.read(opts)
  local faults = {}
  for _, name in ipairs(NAMES) do faults[name] = opts[name] end
  if not next(faults) then return nil end
  for _, pair in ipairs(opts.only or {}) do
    faults.only = faults.only or {}
    faults.only[pair[1]] = pair[2]
  end
  return faults
end

return M
