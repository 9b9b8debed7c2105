--- Results of a suite as JUnit's XML, as CI servers read it.
local markup = require "vmctl.suite.markup"
local results = require "vmctl.suite.results"

local M = {}

local escape = markup.escape_attribute

local function body_of(test)
  if test.status == "skipped" then return ('<skipped message="%s"/>'):format(escape(test.message or "")) end
  if test.status ~= "failed" then return "" end
  local first = (test.message or "failed"):match "[^\n]*"
  return ('<failure message="%s">%s</failure>'):format(escape(first), escape((test.message or "") .. "\n" .. (test.trace or "")))
end

local function case(path, test)
  local flaky = test.status == "flaky" and ('<properties><property name="flaky" value="%d"/></properties>'):format(test.attempts) or ""
  return ('    <testcase classname="%s" name="%s" time="%.3f">%s%s</testcase>\n'):format(escape(path), escape(test.name),
    test.seconds or 0, flaky, body_of(test))
end

local function suite(file)
  local counts = results.count(file)
  local parts = {}
  for _, test in ipairs(file.tests) do parts[#parts + 1] = case(file.path, test) end
  for _, other in ipairs(results.others(file)) do parts[#parts + 1] = case(file.path, other) end
  return ('  <testsuite name="%s" tests="%d" failures="%d" skipped="%d" time="%.3f">\n%s    <system-out>%s</system-out>\n  </testsuite>\n')
    :format(escape(file.path), #parts, counts.failed, counts.skipped, file.seconds, table.concat(parts), escape(file.output))
end

--- The whole document.
---@param files vmctl.SuiteFile[]
---@return string
function M.encode(files)
  local parts, sum = {}, results.sum(files)
  for i, file in ipairs(files) do parts[i] = suite(file) end
  return ('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites tests="%d" failures="%d" skipped="%d">\n%s</testsuites>\n'):format(
    sum.passed + sum.failed + sum.skipped, sum.failed, sum.skipped, table.concat(parts))
end

return M
