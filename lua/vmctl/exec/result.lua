--- Decodes a long answer of a command (ExecResult) as it comes, so that its output is never in memory as a whole: the reference's
--- agents put all output of the plain mode into that one message.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local wire = require "vmctl.exec.wire"

local M = {}

local find, sub = string.find, string.sub

local PIECE = 64 << 10 -- bytes that are read at a time
local REST = 1 << 20   -- bytes of the answer beside the output
local NAME = 8         -- bytes of the longest member whose name counts, with its quotes
local ESCAPE = 5       -- bytes of an escape sequence that may be missing the last one

---@class vmctl.ExecResultReader
local methods = {}
local mt = { __index = methods }

--- Makes the decoder of the message in a stream, whose bytes it reads itself.
---@param stream vmctl.Stream that has failed with ETOOBIG
---@return vmctl.ExecResultReader
function M.new(stream)
  -- _rest: the JSON text, with empty strings in place of the output; _depth of objects and lists; _name: the last string, and
  -- _between: what stands behind it; _string: "other", "stdout" or "stderr", in which the text stands; _left: text of the last piece that
  -- is not whole; _digits: base64 that is not whole; _padded: its end has come; _output: decoded, and not taken yet
  return setmetatable({ _stream = stream, _rest = {}, _rest_bytes = 0, _depth = 0, _name = "", _between = "", _left = "",
    _digits = "", _padded = false, _output = {} }, mt)
end

local function malformed(why) return errors.fail("EPROTO", "response: %s", why) end

local function keep(self, text)
  self._rest[#self._rest + 1] = text
  self._rest_bytes = self._rest_bytes + #text
  if self._rest_bytes > REST then return malformed(("over %d bytes beside the output"):format(REST)) end
  return true
end

-- A string begins. Output is that of a member of the answer itself.
local function begin_string(self)
  local name = self._depth == 1 and self._between:find "^%s*:%s*$" and self._name
  self._string = (name == '"stdout"' or name == '"stderr"') and sub(name, 2, -2) or "other"
  self._name, self._between = '"', ""
  return keep(self, '"')
end

-- Text outside of strings, up to the next one. Returns where that begins; nil, true: not in this piece; nil, message, code.
local function outside(self, text, at)
  local quote = find(text, '"', at, true)
  local part = sub(text, at, (quote or 0) - 1)
  local _, opened = part:gsub("[%[{]", "")
  local _, closed = part:gsub("[%]}]", "")
  self._depth = self._depth + opened - closed
  self._between = sub(self._between .. part, 1, NAME)
  local ok, err, code = keep(self, part)
  if ok and quote then ok, err, code = begin_string(self) end
  if not ok then return nil, err, code end
  return quote and quote + 1, true
end

-- Inside of a string that is not output: up to its end, or past an escaped character.
local function inside(self, text, at)
  local stop = find(text, '["\\]', at)
  local is_escape = stop and text:byte(stop) == 92
  if is_escape and stop == #text then
    self._left = "\\"
    text, stop = sub(text, 1, -2), nil
  elseif is_escape then
    stop = stop + 1
  elseif stop then
    self._string = nil
  end
  local part = sub(text, at, stop)
  self._name = sub(self._name .. part, 1, NAME + 1)
  local ok, err, code = keep(self, part)
  if not ok then return nil, err, code end
  return stop and stop + 1, true
end

local function unescape(text)
  if not find(text, "\\", 1, true) then return text end
  return (text:gsub("\\/", "/"):gsub("\\u00(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- Decodes complete groups of the output's base64, and the last one at its end.
local function decode(self, name, digits, is_end)
  digits = self._digits .. digits
  local whole = is_end and #digits or #digits - #digits % 4
  self._digits = sub(digits, whole + 1)
  if whole == 0 then return true end
  if self._padded then return malformed(("'%s': text behind its end"):format(name)) end
  local bytes, why = core.base64_decode(sub(digits, 1, whole))
  if not bytes then return malformed(("'%s': %s"):format(name, why)) end
  self._padded = digits:byte(whole) == 61
  self._output[#self._output + 1] = { bytes, name }
  return true
end

-- Inside of output, which has no quotation marks.
local function output(self, text, at)
  local name, quote = self._string, find(text, '"', at, true)
  local part = sub(text, at, (quote or 0) - 1)
  local escape = not quote and find(part, "\\", math.max(1, #part - ESCAPE + 1), true)
  if escape then part, self._left = sub(part, 1, escape - 1), sub(part, escape) end
  local ok, err, code = decode(self, name, unescape(part), quote ~= nil)
  if not ok then return nil, err, code end
  if not quote then return nil, true end
  self._string, self._padded = nil, false
  ok, err, code = keep(self, '"')
  if not ok then return nil, err, code end
  return quote + 1
end

local function take(self, piece)
  local text, at = self._left .. piece, 1
  self._left = ""
  while at and at <= #text do
    local step = not self._string and outside or self._string == "other" and inside or output
    local err, code
    at, err, code = step(self, text, at)
    if not at and err ~= true then return nil, err, code end
  end
  return true
end

--- The next output; at the end of the message the answer without it. Waits.
---@param timeout number
---@return string|table|nil data or response as of wire.decode_response
---@return string? name "stdout", "stderr"; of the response nil; or the message
---@return string? code EPROTO, EOF, ETIMEDOUT (it can be called again) …
function methods:read(timeout)
  local deadline = core.now() + timeout
  while not self._output[1] do
    local piece, err, code = self._stream:read_skipped(PIECE, deadline - core.now())
    if not piece then return nil, err, code end
    if piece == "" then
      if self._string then return malformed "it ends inside a string" end
      return wire.decode_response(table.concat(self._rest))
    end
    local ok
    ok, err, code = take(self, piece)
    if not ok then return nil, err, code end
  end
  return table.unpack(table.remove(self._output, 1))
end

return M
