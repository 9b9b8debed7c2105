--- The faults of a switch: checks the options, and converts them for the C part.
local match = require "vmctl.l2.match"
local options = require "vmctl.base.options"

local M = {}

local CHANCE, SECONDS = "number>=0<=1", "number>=0<=3600"
local LATENCY, REORDER_BY = 0.1, 0.02 -- seconds
local UNITS = { [""] = 1, k = 1e3, K = 1e3, M = 1e6, G = 1e9 }

local WHOLE = "integer>=1<=4294967295"

local known = {
  loss = CHANCE, duplicate = CHANCE, reorder = CHANCE, corrupt = CHANCE, delay = SECONDS, jitter = SECONDS,
  reorder_by = SECONDS, rate = "number>0|string", burst = "integer>=0<=4294967295", latency = "number>0<=3600", limit = WHOLE,
  loss_correlation = CHANCE, duplicate_correlation = CHANCE, reorder_correlation = CHANCE, corrupt_correlation = CHANCE,
  jitter_correlation = CHANCE, distribution = "string|table", ordered = "boolean", loss_every = WHOLE, gemodel = "table",
  slot = "table", overhead = "integer>=-65535<=65535", cell = "integer>=1<=65535", cell_overhead = "integer>=0<=65535",
  only = "table",
}

---@class vmctl.L2Faults
---@field loss? number the chance that a frame is lost, 0 to 1
---@field loss_every? integer each so many-th frame is lost
---@field gemodel? { p: number, r: number?, bad: number?, good: number? } loss by the model of Gilbert and Elliott, as netem's: the
--- chance to become bad (p) and good again (r: 1 - p), and to lose a frame in the bad (1) and the good state (0)
---@field duplicate? number the chance that it comes twice
---@field corrupt? number the chance that one bit behind the addresses and the type is flipped
---@field delay? number seconds by which each frame comes later
---@field jitter? number seconds: the delay varies by so much, up and down; frames may overtake each other, as with netem
---@field distribution? "uniform"|"normal"|"pareto"|"paretonormal"|number[] of the jitter: uniform goes from -jitter to jitter, of the
--- others it is the standard deviation; a table has up to 256 multiples of the jitter, which are drawn alike
---@field ordered? boolean frames overtake none, and are later for it than asked
---@field reorder? number the chance that a frame is held back, so that later ones overtake it
---@field reorder_by? number seconds for which it is held back (0.02)
---@field loss_correlation? number the chance that a frame's fate is the previous one's; also duplicate_correlation,
--- reorder_correlation, corrupt_correlation, and jitter_correlation (that it is as late as the previous one)
---@field slot? { min: number, max: number?, frames: integer? } frames leave together, at times that lie min to max seconds apart; at
--- most so many at a time
---@field rate? number|string bits a second: 1e7 or "10M"; copies count as well
---@field overhead? integer bytes that each frame takes on the wire beside its own; may be negative
---@field cell? integer frames take whole cells of so many bytes on the wire, and each `cell_overhead` more
---@field burst? integer bytes that go at once after a pause, as tbf's (0)
---@field latency? number seconds for which frames may wait for the rate; further ones are dropped (0.1)
---@field limit? integer frames of one direction that may be delayed at a time, as netem's; further ones are dropped, and counted by the
--- receiver's dropped_full (by default as many as there is memory for)
---@field only? vmctl.L2Match which frames it hits; others pass as if there were no fault

-- Bits a second.
local function rate_of(rate, level)
  if type(rate) ~= "string" then return rate end
  local number, unit = rate:match "^(%d+%.?%d*)([kKMG]?)$"
  number = tonumber(number)
  if not number or number <= 0 then
    error("faults: option 'rate': bits a second expected, as 1e7 or \"10M\"", level)
  end
  return number * UNITS[unit]
end

local DISTRIBUTIONS = { uniform = 0, normal = 1, pareto = 2, paretonormal = 3 }
local TABLE, TABLE_LONGEST = 4, 256

local function read_distribution(full, level)
  local wanted = full.distribution
  if type(wanted) ~= "table" then
    full.distribution = DISTRIBUTIONS[wanted or "uniform"]
    if not full.distribution then error("faults: option 'distribution': no distribution is called " .. wanted, level) end
    return
  end
  if #wanted < 1 or #wanted > TABLE_LONGEST then error("faults: option 'distribution': 1 to 256 numbers expected", level) end
  for _, value in ipairs(wanted) do
    if type(value) ~= "number" or value ~= value or math.abs(value) > 1e6 then
      error("faults: option 'distribution': numbers expected", level)
    end
  end
  full.distribution, full.table = TABLE, wanted
end

local function read_loss(full, level)
  if not full.gemodel then return end
  local model = options.check(full.gemodel, { p = "number>0<=1", r = CHANCE, bad = CHANCE, good = CHANCE }, "faults: gemodel", level)
  if not model.p then error("faults: option 'gemodel': p expected", level) end
  full.to_bad, full.to_good = model.p, model.r or 1 - model.p
  full.loss_bad, full.loss_good = model.bad or 1, model.good or 0
end

local function read_slot(full, level)
  if not full.slot then return end
  local slot = options.check(full.slot, { min = "number>0<=3600", max = "number>0<=3600", frames = WHOLE }, "faults: slot", level)
  if not slot.min or slot.max and slot.max < slot.min then error("faults: option 'slot': min, and a max above it expected", level) end
  full.slot_min, full.slot_max, full.slot_frames = slot.min, slot.max or slot.min, slot.frames
end

--- Checks faults, and fills in defaults. Raises at the line that `level` names.
---@param faults? vmctl.L2Faults
---@param level integer as for `error`
---@return table|nil
function M.check(faults, level)
  if faults == nil then return nil end
  local full = options.merge({ reorder_by = REORDER_BY, latency = LATENCY }, options.check(faults, known, "faults", level + 2))
  full.rate = rate_of(full.rate, level + 2)
  read_distribution(full, level + 2)
  read_loss(full, level + 2)
  read_slot(full, level + 2)
  match.read(full, level + 2)
  return full
end

--- The faults for the C part, with `cut` if no frame passes; nil for neither.
function M.with_cut(faults, is_cut)
  if not is_cut then return faults end
  return options.merge(faults, { cut = true })
end

return M
