--- Draws docs/speed/results.json: speed.svg, which fits a phone and follows the reader's light or dark, and figures.md, the same as tables.
-- Usage: lua5.4 bench/picture.lua, from the top folder; `make bench RECORD=1` does it too.

local json = require "vmctl.json"

local M = {}

local WIDTH, MARGIN, ROW, BAR = 420, 14, 34, 7
local INNER = WIDTH - 2 * MARGIN

local STYLE = [[
<style>
svg { --paper: #ffffff; --ink: #1c2430; --soft: #5b6675; --rule: #d5dbe3; --ahead: #1a7f64; --behind: #b4561f; --mark: #1c2430 }
@media (prefers-color-scheme: dark) {
svg { --paper: #12161c; --ink: #e8edf3; --soft: #a3adba; --rule: #333c48; --ahead: #3fc29c; --behind: #f0915a; --mark: #e8edf3 }
}
text { font: 13px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--ink) }
.title { font-size: 18px; font-weight: 650 } .head { font-size: 15px; font-weight: 650 } .soft { fill: var(--soft); font-size: 12px }
.value { font-weight: 650; text-anchor: end } .rule { stroke: var(--rule) } .spread { stroke: var(--mark); stroke-width: 1.5 }
.goal { fill: var(--mark) } .ahead { fill: var(--ahead) } .behind { fill: var(--behind) } .paper { fill: var(--paper) }
</style>]]

local function escaped(text) return (tostring(text):gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" })) end

local function shown(value)
  return value and (value >= 1000 and "%.0f" or value >= 10 and "%.1f" or "%.2f"):format(value) or "–"
end

-- A page that grows downwards.
local function page()
  local parts, y = {}, 0
  local self = {}
  function self.put(text, ...) parts[#parts + 1] = text:format(...) end
  function self.down(by)
    y = y + by
    return y
  end
  function self.line(class, text, gap)
    self.down(gap or 18)
    self.put('<text class="%s" x="%d" y="%d">%s</text>', class, MARGIN, y, escaped(text))
  end
  function self.text()
    local height = y + ROW
    return ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">\n'
      .. '<title>The speed of vmctl</title>\n%s\n<rect class="paper" width="%d" height="%d"/>\n%s\n</svg>\n'):format(
      WIDTH, height, WIDTH, height, STYLE, WIDTH, height, table.concat(parts, "\n"))
  end
  return self
end

local FAR = 8 -- times as fast: what is beyond ends at the edge, so that the others can be told apart

-- A ratio's place: a doubling is as far everywhere, and 1 is at the same place in each row.
local function log_scale(rows)
  local low, high = 0.5, 2
  for _, row in ipairs(rows) do
    low, high = math.min(low, math.max(row.ratio_low, 1 / FAR)), math.max(high, math.min(row.ratio_high, FAR))
  end
  local from, to = math.log(low, 2), math.log(high, 2)
  return function(ratio)
    return MARGIN + INNER * (math.log(math.max(low, math.min(ratio, high)), 2) - from) / (to - from)
  end
end

local function words(out, y, name, beside, value)
  out.put('<text x="%d" y="%d">%s <tspan class="soft">%s</tspan></text>', MARGIN, y, escaped(name), escaped(beside))
  out.put('<text class="value" x="%d" y="%d">%s</text>', WIDTH - MARGIN, y, escaped(value))
end

local function bar(out, y, from, to, class)
  local left, width = math.min(from, to), math.max(math.abs(to - from), 1)
  out.put('<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%d" rx="2"/>', class, left, y, width, BAR)
end

local function spread(out, y, from, to)
  out.put('<path class="spread" d="M%.1f %.1fH%.1f"/>', from, y + BAR / 2, math.max(to, from + 0.5))
end

-- A small triangle below the bar.
local function goal(out, y, at)
  out.put('<path class="goal" d="M%.1f %.1fl-4 6h8z"/>', at, y + BAR + 1)
end

local function ratio_row(out, row, at)
  local y = out.down(ROW)
  words(out, y, row.name, "to " .. row.peer, ("%s×"):format(shown(row.ratio)))
  local top = y + 5
  out.put('<path class="rule" d="M%d %.1fH%d"/>', MARGIN, top + BAR / 2, WIDTH - MARGIN)
  bar(out, top, at(1), at(row.ratio), row.ratio >= (row.bound or 1) and "ahead" or "behind")
  spread(out, top, at(row.ratio_low), at(row.ratio_high))
  if row.bound then goal(out, top, at(row.bound)) end
end

local function ratios(out, rows)
  out.line("head", "To other programs", 30)
  out.line("soft", "Our speed over theirs. The bar starts at 1: both are as fast;")
  out.line("soft", "to the right we are faster, and twice is as far everywhere.", 16)
  out.line("soft", "The line: the spread over the rounds; the triangle: our goal,", 16)
  out.line("soft", "and the bar is orange where it is missed. It ends at 8.", 16)
  local at, group = log_scale(rows), nil
  for _, row in ipairs(rows) do
    if group ~= row.group then
      group = row.group
      out.down(5)
    end
    ratio_row(out, row, at)
  end
end

local function share_of(row, value) return row.kind == "at most" and value / row.bound or row.bound / value end

local function limit_row(out, row)
  local y = out.down(ROW)
  words(out, y, row.name, row.unit, ("%s %s %s"):format(shown(row.value), row.kind == "at most" and "≤" or "≥", shown(row.bound)))
  local function at(value) return MARGIN + INNER * math.min(share_of(row, value), 1.25) / 1.25 end
  local top = y + 5
  out.put('<path class="rule" d="M%d %.1fH%d"/>', MARGIN, top + BAR / 2, WIDTH - MARGIN)
  bar(out, top, MARGIN, at(row.value), share_of(row, row.value) <= 1 and "ahead" or "behind")
  spread(out, top, math.min(at(row.low), at(row.high)), math.max(at(row.low), at(row.high)))
  goal(out, top, at(row.bound))
end

local function limits(out, rows)
  out.line("head", "Within limits", 40)
  out.line("soft", "How much of a limit is used; the triangle is the limit.")
  for _, row in ipairs(rows) do limit_row(out, row) end
end

local function pick(rows, test)
  local list = {}
  for _, row in ipairs(rows) do
    if test(row) then list[#list + 1] = row end
  end
  return list
end

local function svg(results)
  local out, machine = page(), results.machine
  out.line("title", "The speed of vmctl", 30)
  out.line("soft", ("%s: %s"):format(results.date, machine.cpu), 20)
  out.line("soft", ("%d cores, %d GiB; guests: %s"):format(machine.cores, machine.memory_gib, machine.guests), 16)
  out.line("soft", ("%s, %s"):format(machine.system, machine.kernel), 16)
  ratios(out, pick(results.rows, function(row) return row.ratio and row.ratio_low and row.ratio_high end))
  limits(out, pick(results.rows, function(row) return not row.peer and row.bound and row.value end))
  return out.text()
end

local function cells(...) return "| " .. table.concat({ ... }, " | ") .. " |\n" end

local function range(low, high) return low and ("%s – %s"):format(shown(low), shown(high)) or "–" end

local function ratio_line(row)
  return cells("`" .. row.name .. "`", row.peer, ("%s %s"):format(shown(row.value), row.unit), shown(row.peer_value),
    shown(row.ratio), range(row.ratio_low, row.ratio_high), shown(row.bound), row.reason or row.note or "")
end

local function own_line(row)
  local bound = row.bound and ("%s %s"):format(row.kind == "at most" and "≤" or "≥", shown(row.bound)) or ""
  return cells("`" .. row.name .. "`", ("%s %s"):format(shown(row.value), row.unit), range(row.low, row.high), bound,
    row.reason or row.note or "")
end

local function tables(results)
  local machine = results.machine
  local parts = { "# Figures\n\nWritten by `make bench RECORD=1`, as [speed.svg](speed.svg) is; [what they mean](README.md).\n\n",
    ("%s. %s, %d cores, %d GiB, %s, %s; guests: %s.\n\n"):format(results.date, machine.cpu, machine.cores,
      machine.memory_gib, machine.kernel, machine.system, machine.guests) }
  for _, version in ipairs(machine.versions) do parts[#parts + 1] = "- " .. version .. "\n" end
  parts[#parts + 1] = "\n" .. cells("benchmark", "peer", "ours", "theirs", "ratio", "spread", "goal", "")
    .. "|---|---|---|---|---|---|---|---|\n"
  for _, row in ipairs(results.rows) do parts[#parts + 1] = row.peer and ratio_line(row) or nil end
  parts[#parts + 1] = "\n" .. cells("benchmark", "ours", "spread", "limit", "") .. "|---|---|---|---|---|\n"
  for _, row in ipairs(results.rows) do parts[#parts + 1] = not row.peer and own_line(row) or nil end
  return table.concat(parts)
end

--- Draws what the folder's results.json says.
---@param folder string
function M.draw(folder)
  local file <close> = assert(io.open(folder .. "/results.json"))
  local results = assert(json.decode(file:read "a"))
  for name, text in pairs { ["speed.svg"] = svg(results), ["figures.md"] = tables(results) } do
    local output <close> = assert(io.open(folder .. "/" .. name, "w"))
    output:write(text)
  end
end

if arg and arg[0] and arg[0]:match "picture%.lua$" then M.draw "docs/speed" end

return M
