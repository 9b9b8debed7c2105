--- What the command line prints: text for a person, one JSON document for a program.
local json = require "vmctl.json"
local log = require "vmctl.log"

local M = {}

--- Prints a result: as JSON if that was asked for, else as `text`.
---@param opts { json: boolean? }
---@param value any for JSON
---@param text string? for a person; without it nothing is printed
function M.result(opts, value, text)
  if opts.json then
    io.stdout:write(assert(json.encode(value)), "\n")
  elseif text then
    io.stdout:write(text, text:sub(-1) == "\n" and "" or "\n")
  end
  io.stdout:flush()
end

--- Says why it did not work.
function M.failure(opts, message, code)
  io.stdout:flush()
  if opts.json then
    io.stdout:write(assert(json.encode { error = { message = log.sanitize(message), code = code or "" } }), "\n")
  else
    io.stderr:write("vmctl: ", log.sanitize(message), "\n")
  end
end

--- A table of cells with a heading, its columns aligned.
---@param heading string[]
---@param rows string[][]
---@return string
function M.table(heading, rows)
  local widths = {}
  local all = { heading, table.unpack(rows) }
  for _, row in ipairs(all) do
    for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, #cell) end
  end
  local lines = {}
  for n, row in ipairs(all) do
    local cells = {}
    for i, cell in ipairs(row) do cells[i] = i == #row and cell or cell .. (" "):rep(widths[i] - #cell) end
    lines[n] = table.concat(cells, "  ")
  end
  return table.concat(lines, "\n")
end

return M
