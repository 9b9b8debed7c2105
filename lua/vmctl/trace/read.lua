--- Reads a trace: an iterator of records. A line that is no record, such as one that a crash cut off, is reported and skipped.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local json = require "vmctl.json"

local M = {}

local BLOCK = 64 << 10
local LONGEST = 16 << 20 -- bytes of a line: a message of 4 MiB, escaped or in base64
local MOST_VALUES = 4 << 20 -- of a line: its texts may have commas, too

local MEMBERS = {
  ev = "string", t = "number", s = "string", dir = "string", address = "string", protocol = "string", how = "string",
  type = "number", stream = "number", flags = "number", size = "number", text = "string", data = "string", code = "string",
  call = "string", bytes_in = "number", bytes_out = "number", count = "number", pid = "number", time = "string",
  version = "string", masked = "boolean", fill = "boolean", cut = "boolean",
}

--- A record that was checked: every member has its type, and `payload` the bytes of a message if they were kept.
---@class vmctl.TraceRecord
---@field ev string start, open, name, handshake, frame, line, bytes, end, close, detach, relayed, full, dropped, stop; or broken
---@field line integer its line in the file
---@field t number? seconds on the clock of the machine that recorded; of all but "broken"
---@field s string? the session
---@field dir "in"|"out"|nil as the recorder saw it
---@field payload string?

local function broken(number)
  return { ev = "broken", line = number }
end

local function decode(text, number)
  local record = not json.is_crowded(text, MOST_VALUES) and json.decode(text)
  if type(record) ~= "table" or json.is_array(record) then return broken(number) end
  for member, want in pairs(MEMBERS) do
    local got = record[member]
    if got ~= nil and type(got) ~= want then return broken(number) end
  end
  if not record.ev or not record.t then return broken(number) end
  record.line, record.payload = number, record.text
  if record.data then record.payload = core.base64_decode(record.data) end
  return record
end

-- The pieces of an unfinished line; each is searched once.
local Rest = {}
Rest.__index = Rest

function Rest:add(piece)
  self.size = self.size + #piece
  self.skipping = self.skipping or self.size > LONGEST
  if self.skipping then self.pieces = {} else self.pieces[#self.pieces + 1] = piece end
end

-- The line with its last piece; false: it was too long, and was not kept.
function Rest:take(piece)
  self:add(piece)
  local line = not self.skipping and table.concat(self.pieces)
  self.pieces, self.size, self.skipping = {}, 0, false
  return line
end

-- A function that gives one line after the other, nil at the end; false for one that is too long.
local function lines_of(file)
  local block, from, rest = "", 1, setmetatable({ pieces = {}, size = 0, skipping = false }, Rest)
  return function()
    while block do
      local at = block:find("\n", from, true)
      if at then
        local line = rest:take(block:sub(from, at - 1))
        from = at + 1
        return line
      end
      rest:add(block:sub(from))
      block, from = file:read(BLOCK), 1
    end
    if rest.size > 0 then return rest:take "" end
    file:close()
  end
end

--- The records of a trace, one after the other: `for record in assert(trace.read(path)) do`. Does not yield; the file is closed
--- at the end of the loop.
---@param path string
---@return (fun(): vmctl.TraceRecord?)|nil iterator
---@return string? message
---@return string? code ENOENT, EACCES, EINVAL (no regular file)
function M.read(path)
  local found, err, code = core.fs.stat(path)
  if not found then return nil, "read the trace: " .. err, code end
  local file = found.type == "file" and io.open(path, "rb")
  if not file then
    return errors.fail(found.type == "file" and "EACCES" or "EINVAL", "read the trace %s: no file that can be read", path)
  end
  local next_line, number, over = lines_of(file), 0, false
  return function()
    local line = not over and next_line()
    over = over or line == nil
    if over then return nil end
    number = number + 1
    return line and decode(line, number) or broken(number)
  end, nil, nil, file
end

return M
