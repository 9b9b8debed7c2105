--- Builds the report of a push.
local M = {}

local mt = { __name = "vmctl.ConfigReport" }

--- Makes an empty report.
---@param label string the target
function M.new(label)
  return setmetatable({ target = label, changed = false, steps = {}, notes = {}, failures = {} }, mt)
end

--- Adds a step that was done, or that a dry run has planned.
function M.add(report, entry)
  table.insert(report.steps, entry)
  if entry.changed ~= false then report.changed = true end -- nil, not known, counts as a change
end

local function how(step)
  if step.changed == nil then return step.via and "done" or "to be done" end
  if not step.via then return step.changed and "would change" or "as it is" end
  return step.changed and "changed" or "as it was"
end

local function describe(step)
  local way = step.via and (" (%s, %.0f ms)"):format(step.via, step.seconds * 1000) or ""
  local note = step.note and ": " .. step.note or ""
  return ("  %s %s: %s%s%s"):format(step.kind, step.name, how(step), note, way)
end

function mt.__tostring(report)
  local lines = { ("configuration of %s: %s"):format(report.target,
    report.failed and "failed" or report.planned and "planned" or report.changed and "changed" or "as it was") }
  for _, step in ipairs(report.steps) do lines[#lines + 1] = describe(step) end
  for _, each in ipairs(report.failures) do
    lines[#lines + 1] = each.kind and ("  %s %s: failed: %s"):format(each.kind, each.name, each.message) or "  " .. each.message
  end
  for _, note in ipairs(report.notes) do lines[#lines + 1] = "  " .. note end
  return table.concat(lines, "\n")
end

return M
