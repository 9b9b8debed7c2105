--- Results of a suite as TAP, version 13.
local results = require "vmctl.suite.results"

local M = {}

local function comment(text)
  return "  # " .. text:gsub("\n", "\n  # ") .. "\n"
end

local function line(number, ok, path, test)
  local name = ("%s: %s"):format(path, test.name):gsub("#", "\\#"):gsub("\n", " ")
  local text = ("%s %d - %s"):format(ok and "ok" or "not ok", number, name)
  if test.status == "skipped" then text = text .. " # SKIP " .. (test.message or ""):gsub("\n", " ") end
  text = text .. "\n"
  if not ok then text = text .. comment(test.message or "failed") end
  if test.status == "flaky" then text = text .. comment(("flaky: passed when it ran for the %d. time"):format(test.attempts)) end
  return text
end

--- The whole document.
---@param files vmctl.SuiteFile[]
---@return string
function M.encode(files)
  local parts, number = {}, 0
  local function add(path, test)
    number = number + 1
    parts[#parts + 1] = line(number, test.status ~= "failed", path, test)
  end
  for _, file in ipairs(files) do
    for _, test in ipairs(file.tests) do add(file.path, test) end
    for _, other in ipairs(results.others(file)) do add(file.path, other) end
  end
  return ("TAP version 13\n1..%d\n"):format(number) .. table.concat(parts)
end

return M
