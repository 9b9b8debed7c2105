--- Latencies in a few kilobytes, for any number of them: counts by classes that are 5 % wide.
local M = {}

local LEAST, GROWTH = 1e-5, math.log(1.05) -- seconds of the first class
local log = math.log

---@class vmctl.Latency
local methods = {}
local mt = { __name = "vmctl.Latency", __index = methods }

--- Makes an empty one. Does not wait.
---@return vmctl.Latency
function M.new()
  return setmetatable({ _classes = {}, _count = 0, _worst = 0 }, mt)
end

--- Adds a time. Does not wait.
---@param seconds number
function methods:add(seconds)
  local class = seconds <= LEAST and 0 or log(seconds / LEAST) // GROWTH + 1 | 0
  self._classes[class] = (self._classes[class] or 0) + 1
  self._count = self._count + 1
  if seconds > self._worst then self._worst = seconds end
end

--- The time that this share of all took at most: up to 5 % too high. Does not wait.
---@param share number 0.99: all but the slowest hundredth
---@return number seconds 0 where nothing was measured
function methods:quantile(share)
  local classes = {}
  for class in pairs(self._classes) do classes[#classes + 1] = class end
  table.sort(classes)
  local left = share * self._count
  for _, class in ipairs(classes) do
    left = left - self._classes[class]
    if left <= 0 then return math.min(self._worst, LEAST * math.exp(class * GROWTH)) end
  end
  return self._worst
end

--- The longest one. Does not wait.
---@return number seconds
function methods:worst()
  return self._worst
end

return M
