--- The results of a suite: its files, in the order of their names, and their counts.
local M = {}

---@class vmctl.SuiteCounts
---@field passed integer tests, the flaky ones among them
---@field failed integer tests, mistakes outside of tests, and early ends
---@field skipped integer
---@field flaky integer tests that failed, and passed when they ran again

-- Tells if a file has failed by itself, besides its tests: that counts as one failure.
local function failed_itself(file)
  return #file.mistakes > 0 or file.ended ~= nil
end

--- The failures outside of tests, in the shape of tests: mistakes, and an early end that is no test's failure.
---@param file vmctl.SuiteFile
---@return vmctl.SuiteTest[]
function M.others(file)
  local list = {}
  for _, mistake in ipairs(file.mistakes) do
    list[#list + 1] = { name = mistake.name, status = "failed", seconds = 0, message = mistake.message }
  end
  local last = file.tests[#file.tests]
  if file.ended and not (last and last.message == file.ended) then
    list[#list + 1] = { name = "the file gets to its end", status = "failed", seconds = 0, message = file.ended }
  end
  return list
end

--- The counts of one file.
---@param file vmctl.SuiteFile
---@return vmctl.SuiteCounts
function M.count(file)
  local counts = { passed = 0, failed = 0, skipped = 0, flaky = 0 }
  for _, test in ipairs(file.tests) do
    local status = test.status
    if status == "flaky" then
      counts.flaky = counts.flaky + 1
      status = "passed"
    end
    counts[status] = counts[status] + 1
  end
  counts.failed = counts.failed + #M.others(file)
  return counts
end

--- The counts of all files.
---@param files vmctl.SuiteFile[]
---@return vmctl.SuiteCounts
function M.sum(files)
  local sum = { passed = 0, failed = 0, skipped = 0, flaky = 0 }
  for _, file in ipairs(files) do
    for name, count in pairs(M.count(file)) do sum[name] = sum[name] + count end
  end
  return sum
end

--- The names of the tests that have to run again; nil for a file that has to run as a whole, because after a mistake or an early end not
--- all of its tests are known; false for a file that passed.
---@param file vmctl.SuiteFile
---@return string[]|false|nil
function M.failed_names(file)
  if failed_itself(file) then return nil end
  local names = {}
  for _, test in ipairs(file.tests) do
    if test.status == "failed" then names[#names + 1] = test.name end
  end
  return #names > 0 and names
end

--- Takes the results of another run of a file. A test that failed before and passed now is flaky.
---@param file vmctl.SuiteFile
---@param again vmctl.SuiteFile
function M.merge(file, again)
  local by_name = {}
  for _, test in ipairs(again.tests) do by_name[test.name] = test end
  for _, test in ipairs(file.tests) do
    local new = by_name[test.name]
    by_name[test.name] = nil
    if new and test.status == "failed" then
      test.attempts = test.attempts + 1
      test.status = new.status == "passed" and "flaky" or new.status
      if new.status == "failed" then test.message, test.trace = new.message, new.trace end
    end
  end
  for _, test in ipairs(again.tests) do -- tests that an early end had kept from running
    if by_name[test.name] == test then table.insert(file.tests, test) end
  end
  if #again.mistakes == 0 then file.mistakes = {} end
  file.ended, file.exit_code = again.ended, again.exit_code
  file.output = file.output .. again.output
  file.seconds = file.seconds + again.seconds
end

return M
