--- Output of a command that is kept for a later read, up to a limit; the rest is only counted.
local pieces = require "vmctl.base.pieces"

local M = {}

local ENTRY = 64     -- bytes that each entry counts beside its text, so that single bytes cannot make many entries

---@class vmctl.KeptOutput
---@field discarded integer|nil bytes that were not kept
local methods = {}
local mt = { __name = "vmctl.KeptOutput", __index = methods }

--- Makes it, empty. Does not wait.
---@return vmctl.KeptOutput
function M.new()
  return setmetatable({ _bytes = 0, _first = 1, _last = 0 }, mt)
end

--- Tells if nothing is kept. Does not wait.
---@return boolean
function methods:is_empty()
  return self._first > self._last
end

--- Keeps output; output that would exceed `most` bytes is only counted. Does not wait.
---@param data string
---@param stream "stdout"|"stderr"
---@param most number bytes
function methods:add(data, stream, most)
  if data == "" then return end
  local entry = self._last >= self._first and self[self._last]
  local cost = #data + (entry and entry.stream == stream and 0 or ENTRY)
  if self._bytes + cost > most then
    self.discarded = (self.discarded or 0) + #data
    return
  end
  if cost > #data then
    entry = { data = pieces.new(), stream = stream }
    self._last = self._last + 1
    self[self._last] = entry
  end
  entry.data:add(data)
  self._bytes = self._bytes + cost
end

--- Takes the first entry: the output of one stream up to a change to the other. Does not wait.
---@return string data, "stdout"|"stderr" stream
function methods:take()
  local entry = self[self._first]
  self[self._first] = nil
  self._first = self._first + 1
  self._bytes = self._bytes - entry.data.bytes - ENTRY
  return entry.data:text(), entry.stream
end

return M
