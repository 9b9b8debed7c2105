--- Reads a test's commands.log: its steps with their times, and when its machines ran.
local M = {}

local MOST = 1 << 20 -- bytes that are read

---@class vmctl.SuiteStep
---@field at number seconds since the test began
---@field text string
---@field output string[] lines

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read(MOST) or ""
  file:close()
  return text
end

--- The steps of a log.
---@param path string
---@return vmctl.SuiteStep[]|nil steps nil where there is no log
function M.read(path)
  local text = read(path)
  if not text then return nil end
  local steps = {}
  for line in text:gmatch "[^\n]+" do
    local at, what = line:match "^ *(%d+%.%d+) (.*)"
    if at then
      steps[#steps + 1] = { at = tonumber(at), text = what, output = {} }
    elseif #steps > 0 then
      table.insert(steps[#steps].output, line:match "^ *(.*)")
    end
  end
  return steps
end

--- When each machine ran: from the beginning of its boot to its crash, its shutdown or the test's last step.
---@param steps vmctl.SuiteStep[]
---@return { name: string, from: number, to: number }[] spans in the order of their beginnings
---@return number seconds of the last step
function M.machines(steps)
  local spans, open, last = {}, {}, 0
  for _, step in ipairs(steps) do
    last = math.max(last, step.at)
    local name, seconds = step.text:match "^([%a][%w-]*): booted after (%d+%.%d+) s"
    if not name then name, seconds = step.text:match "^([%a][%w-]*): started from its snapshot after (%d+%.%d+) s" end
    local ended = step.text:match "^([%a][%w-]*): crash$" or step.text:match "^([%a][%w-]*): shutdown$"
    if name then
      open[name] = { name = name, from = math.max(0, step.at - tonumber(seconds)) }
      spans[#spans + 1] = open[name]
    elseif ended and open[ended] then
      open[ended].to, open[ended] = step.at, nil
    end
  end
  for _, span in ipairs(spans) do span.to = span.to or last end
  return spans, last
end

return M
