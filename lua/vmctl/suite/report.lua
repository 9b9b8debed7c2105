--- A suite's report for people: one HTML file that needs no network. Failures come first; each test has its steps with their times, a
--- timeline of its machines, and links to its artefacts: consoles, screenshots, captures.
local core = require "vmctl.core"
local log = require "vmctl.log"
local markup = require "vmctl.suite.markup"
local results = require "vmctl.suite.results"
local step_log = require "vmctl.suite.step_log"
local style = require "vmctl.suite.report_style"

local M = {}

local ORDER = { failed = 1, flaky = 2, passed = 3, skipped = 4 }
local SECTIONS = { { "failed", "Failed" }, { "flaky", "Flaky" }, { "passed", "Passed" }, { "skipped", "Skipped" } }
local OUTPUT_SHOWN = 20000      -- bytes of a file's output
local STEPS_SHOWN = 500         -- of a test

local escape = markup.escape

-- All tests with their files, the failures first.
local function entries(files)
  local list = {}
  for _, file in ipairs(files) do
    for _, test in ipairs(file.tests) do list[#list + 1] = { file = file, test = test } end
    for _, other in ipairs(results.others(file)) do list[#list + 1] = { file = file, test = other } end
  end
  for i, entry in ipairs(list) do entry.number = i end
  table.sort(list, function(a, b)
    local first, second = ORDER[a.test.status] or 1, ORDER[b.test.status] or 1
    if first ~= second then return first < second end
    return a.number < b.number
  end)
  return list
end

local function timeline(steps)
  local spans, total = step_log.machines(steps)
  if #spans == 0 or total <= 0 then return "" end
  local parts = { "<h3>Machines</h3>" }
  for _, span in ipairs(spans) do
    parts[#parts + 1] = ('<div class="line"><span>%s</span><div class="track" title="%.1f s to %.1f s"><div class="span" ' ..
      'style="left:%.2f%%;width:%.2f%%"></div></div></div>'):format(escape(span.name), span.from, span.to, 100 * span.from / total,
      100 * (span.to - span.from) / total)
  end
  return table.concat(parts, "\n")
end

local function steps_table(steps)
  if #steps == 0 then return "" end
  local rows = { "<h3>Steps</h3><table>" }
  for i = 1, math.min(#steps, STEPS_SHOWN) do
    local step = steps[i]
    local output = #step.output > 0 and ('<div class="output">%s</div>'):format(escape(table.concat(step.output, "\n"))) or ""
    rows[#rows + 1] = ('<tr><td class="at">%.2f s</td><td>%s%s</td></tr>'):format(step.at, escape(step.text), output)
  end
  if #steps > STEPS_SHOWN then rows[#rows + 1] = ("<tr><td></td><td>%d more in commands.log</td></tr>"):format(#steps - STEPS_SHOWN) end
  rows[#rows + 1] = "</table>"
  return table.concat(rows, "\n")
end

-- Links to the files of a test's folder; pictures are shown.
local function left_behind(root, folder)
  local names = core.fs.list(root .. "/" .. folder) or {}
  table.sort(names)
  local links, pictures = {}, {}
  for _, name in ipairs(names) do
    local target = markup.escape_path(folder .. "/" .. name)
    links[#links + 1] = ('<li><a href="%s">%s</a></li>'):format(target, escape(name))
    if name:find "%.png$" then
      pictures[#pictures + 1] = ('<p><img src="%s" alt="%s" loading="lazy"></p>'):format(target, escape(name))
    end
  end
  if #links == 0 then return "" end
  return ('<h3>Files</h3><ul class="files">%s</ul>%s'):format(table.concat(links), table.concat(pictures))
end

-- The path of a test's folder in the folder of the report, if it is in there.
local function relative(root, path)
  if not path or path:sub(1, #root + 1) ~= root .. "/" then return nil end
  return path:sub(#root + 2)
end

local function body_of(root, entry)
  local test, file = entry.test, entry.file
  local parts = { ("<p>%s%s%s</p>"):format(escape(file.path), test.line and (", line %d"):format(test.line) or "",
    (test.attempts or 1) > 1 and (", ran %d times"):format(test.attempts) or "") }
  local function preformatted(text)
    if text and text ~= "" then parts[#parts + 1] = ("<pre>%s</pre>"):format(escape(log.sanitize(text))) end
  end
  preformatted(test.message)
  local folder = relative(root, test.artefacts)
  local steps = folder and step_log.read(("%s/%s/commands.log"):format(root, folder))
  if steps then
    parts[#parts + 1] = timeline(steps)
    parts[#parts + 1] = steps_table(steps)
  end
  if folder then parts[#parts + 1] = left_behind(root, folder) end
  if test.status == "failed" and file.output ~= "" then
    parts[#parts + 1] = "<h3>Output of the file</h3>"
    preformatted(file.output:sub(-OUTPUT_SHOWN))
  end
  return table.concat(parts, "\n")
end

local function test_section(root, entry)
  local test = entry.test
  return ([[<details class="%s"%s><summary><span class="status">%s</span><span class="name">%s</span><span class="seconds">%.1f s</span>
</summary><div class="inside">%s</div></details>]]):format(test.status, test.status == "failed" and " open" or "", test.status,
    escape(test.name), test.seconds or 0, body_of(root, entry))
end

local function counts_of(files)
  local sum = results.sum(files)
  local parts = {}
  for _, name in ipairs { "passed", "failed", "flaky", "skipped" } do
    parts[#parts + 1] = ('<div class="%s"><b>%d</b>%s</div>'):format(sum[name] > 0 and name or "none", sum[name], name)
  end
  return table.concat(parts), sum
end

-- When each file ran: a bar for each, the first to begin at the top.
local function files_timeline(files)
  local total, list = 0, {}
  for _, file in ipairs(files) do
    if file.began then
      total = math.max(total, file.began + file.seconds)
      list[#list + 1] = file
    end
  end
  if #list < 2 or total <= 0 then return "" end
  table.sort(list, function(a, b) return a.began < b.began end)
  local parts = { "<details><summary><span class=\"name\">When each file ran</span></summary><div class=\"inside\">" }
  for _, file in ipairs(list) do
    parts[#parts + 1] = ('<div class="line"><span>%s</span><div class="track" title="%s: %.1f s"><div class="span" ' ..
      'style="left:%.2f%%;width:%.2f%%"></div></div></div>'):format(escape(file.path:match "[^/]*$"), escape(file.path), file.seconds,
      100 * file.began / total, 100 * file.seconds / total)
  end
  parts[#parts + 1] = "</div></details>"
  return table.concat(parts, "\n")
end

--- The page.
---@param suite { files: vmctl.SuiteFile[], began: string?, seconds: number? } began: date and time
---@param root string the folder of the artefacts, in which the page will be
---@return string html
function M.page(suite, root)
  local counts, sum = counts_of(suite.files)
  local parts = { ([[<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>%d passed, %d failed</title><style>%s</style></head><body>
<h1>%s</h1><p class="about">%s</p><div class="counts">%s</div>]]):format(sum.passed, sum.failed, style,
    sum.failed == 0 and "The suite passed" or "The suite failed",
    escape(("%s%d files in %.1f s"):format(suite.began and suite.began .. ", " or "", #suite.files, suite.seconds or 0)), counts) }
  parts[#parts + 1] = files_timeline(suite.files)
  local list = entries(suite.files)
  for _, section in ipairs(SECTIONS) do
    local shown = {}
    for _, entry in ipairs(list) do
      if entry.test.status == section[1] then shown[#shown + 1] = test_section(root, entry) end
    end
    if #shown > 0 then parts[#parts + 1] = ("<h2>%s</h2>\n%s"):format(section[2], table.concat(shown, "\n")) end
  end
  parts[#parts + 1] = "</body></html>\n"
  return table.concat(parts, "\n")
end

return M
