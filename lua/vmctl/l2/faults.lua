--- The faults of a switch: checks the options, and converts them for the C part.
local options = require "vmctl.base.options"

local M = {}

local CHANCE, SECONDS = "number>=0<=1", "number>=0<=3600"
local BURST, REORDER_BY = 0.1, 0.02 -- seconds
local UNITS = { [""] = 1, k = 1e3, K = 1e3, M = 1e6, G = 1e9 }

local known = {
  loss = CHANCE, duplicate = CHANCE, reorder = CHANCE, corrupt = CHANCE, delay = SECONDS, jitter = SECONDS,
  reorder_by = SECONDS, rate = "number>0|string", burst = "number>0<=3600",
  limit = "integer>=1<=4294967295",
}

---@class vmctl.L2Faults
---@field loss? number the chance that a frame is lost, 0 to 1
---@field duplicate? number the chance that it comes twice
---@field corrupt? number the chance that one bit behind the addresses and the type is flipped
---@field delay? number seconds by which each frame comes later
---@field jitter? number seconds: the delay varies by so much, up and down; frames keep their order
---@field reorder? number the chance that a frame is held back, so that later ones overtake it
---@field reorder_by? number seconds for which it is held back (0.02)
---@field rate? number|string bits a second: 1e7 or "10M"
---@field limit? integer frames of one direction that may be delayed at a time, as netem's; further ones are dropped, and counted by the
--- receiver's dropped_full (by default as many as there is memory for)
---@field burst? number seconds of traffic that may wait for the rate; further frames are dropped (0.1)

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

--- Checks faults, and fills in defaults. Raises at the line that `level` names.
---@param faults? vmctl.L2Faults
---@param level integer as for `error`
---@return table|nil
function M.check(faults, level)
  if faults == nil then return nil end
  local full = options.merge({ reorder_by = REORDER_BY, burst = BURST }, options.check(faults, known, "faults", level + 2))
  full.rate = rate_of(full.rate, level + 2)
  return full
end

--- The faults for the C part, with `cut` if no frame passes; nil for neither.
function M.with_cut(faults, is_cut)
  if not is_cut then return faults end
  return options.merge(faults, { cut = true })
end

return M
