--- Prints the command line's output: text for a person, one JSON document for a program. A command whose output cannot be written
--- fails.
local core = require "vmctl.core"
local hints = require "vmctl.cli.hints"
local json = require "vmctl.json"
local log = require "vmctl.log"

local M = {}

--- The exit status of a command that succeeded, but whose log, capture or trace is incomplete.
M.INCOMPLETE = 1

local EPIPE = 32 -- Linux' number, as io gives it

local lost_mt = { __name = "vmctl.OutputLost" }

--- Returns an error that `write` has raised, nil for any other value.
---@return { message: string, reader_left: boolean }|nil
function M.lost(err)
  return getmetatable(err) == lost_mt and err or nil
end

local function check(ok, err, number)
  if ok then return end
  error(setmetatable({ message = "standard output: " .. err, reader_left = number == EPIPE }, lost_mt), 0)
end

--- Writes bytes to standard output and flushes it. When that fails, raises an error that `lost` recognises.
---@param ... string
function M.write(...)
  check(io.stdout:write(...))
  check(io.stdout:flush())
end

-- JSON for programs, with sorted keys. A string that is not UTF-8 has its exact bytes in a second member, NAME_base64; in a list it
-- is an object with `base64`.

local REPLACEMENT = "\u{fffd}"

-- Replaces the bytes that are not UTF-8, for the readable member.
local function readable(bytes)
  local out, at = {}, 1
  while at <= #bytes do
    local ok, bad = utf8.len(bytes, at)
    if ok then
      out[#out + 1] = bytes:sub(at)
      break
    end
    out[#out + 1] = bytes:sub(at, bad - 1)
    out[#out + 1] = REPLACEMENT
    at = bad + 1
  end
  return table.concat(out)
end

local function is_bytes(value)
  return type(value) == "string" and not utf8.len(value)
end

-- Members that are lists: an empty Lua table can not be told from an object.
local LISTS = {}
for name in ("agents changed files findings guests images instances mistakes notes records removed skipped started steps stopped tests "
  .. "used_by vanished"):gmatch "%S+" do
  LISTS[name] = true
end

local encode

local function encode_member(name, value)
  if LISTS[name] and type(value) == "table" and next(value) == nil then return "[]" end
  return encode(is_bytes(value) and readable(value) or value)
end

local function encode_list(list)
  local items = {}
  for i, value in ipairs(list) do
    items[i] = encode(is_bytes(value) and { base64 = core.base64_encode(value) } or value)
  end
  return "[" .. table.concat(items, ",") .. "]"
end

local function encode_object(object)
  local members = {}
  for key, value in pairs(object) do
    key = readable(tostring(key))
    members[key] = encode_member(key, value)
    if is_bytes(value) then members[key .. "_base64"] = encode(core.base64_encode(value)) end
  end
  local names, items = {}, {}
  for key in pairs(members) do names[#names + 1] = key end
  table.sort(names)
  for i, key in ipairs(names) do items[i] = assert(json.encode(key)) .. ":" .. members[key] end
  return "{" .. table.concat(items, ",") .. "}"
end

function encode(value)
  if type(value) == "number" and (value ~= value or value == math.huge or value == -math.huge) then return "null" end
  if type(value) ~= "table" or value == json.null then return assert(json.encode(value)) end
  return json.is_array(value) and encode_list(value) or encode_object(value)
end

--- The text of a JSON document: one line with sorted keys, and base64 for strings that are not UTF-8.
---@param value any
---@return string
M.encode = function(value)
  if is_bytes(value) then return encode { base64 = core.base64_encode(value), text = readable(value) } end
  return encode(value)
end

--- Prints a JSON document on one line.
function M.json(value)
  M.write(M.encode(value), "\n")
end

--- Prints a result: as JSON with --json, else as `text`.
---@param opts { json: boolean? }
---@param value any for JSON
---@param text string? for a person; without it nothing is printed
function M.result(opts, value, text)
  if opts.json then return M.json(value) end
  if text then M.write(text, text:sub(-1) == "\n" and "" or "\n") end
end

--- Prints the reason of a failure, and below it for a person what to do, where that is known.
---@param opts { json: boolean? }
---@param message string
---@param code? string
---@param partial? any for JSON: the result up to the failure
function M.failure(opts, message, code, partial)
  if opts.json then
    return M.json { error = { message = log.sanitize(message), code = code or "" }, partial = partial }
  end
  io.stdout:flush()
  local hint = hints.of(message, code)
  io.stderr:write("vmctl: ", log.sanitize(message), "\n", hint and "  -> " .. hint .. "\n" or "")
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
