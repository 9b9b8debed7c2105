--- Bytes that come in pieces, and are kept. A peer decides how long its pieces are: a million of one byte each take hardly more room
--- here than one of a million.
local M = {}

local LONG = 512     -- bytes: shorter pieces are joined
local TOGETHER = 4096 -- bytes of those, and EACH for each of them: at the most 256
local EACH = 16

---@class vmctl.Pieces
---@field bytes integer that are kept
local methods = {}
local mt = { __name = "vmctl.Pieces", __index = methods }

--- Makes an empty one. Does not wait.
---@return vmctl.Pieces
function M.new()
  -- Pieces from _first to _last; those from _open on are short, and not joined yet: there is room for some more.
  return setmetatable({ bytes = 0, _first = 1, _last = 0, _open = 1, _room = TOGETHER }, mt)
end

local function join(self)
  local from, to = self._open, self._last
  if from < to then
    self[from] = table.concat(self, "", from, to)
    for i = from + 1, to do self[i] = nil end
    self._last = from
  end
  self._open, self._room = self._last + 1, TOGETHER
end

--- Adds a piece. Does not wait.
---@param data string
function methods:add(data)
  local size = #data
  if size == 0 then return end
  if size >= LONG and self._room < TOGETHER then join(self) end
  local last, room = self._last + 1, self._room - size - EACH
  self[last], self._last, self._room, self.bytes = data, last, room, self.bytes + size
  if room <= 0 or size >= LONG then join(self) end
end

--- Drops what came first, as long as at least `keep` bytes stay. Does not wait.
---@param keep integer
---@return integer dropped bytes
function methods:drop(keep)
  local before = self.bytes
  while self._first < self._open and self.bytes - #self[self._first] >= keep do
    self.bytes = self.bytes - #self[self._first]
    self[self._first] = nil
    self._first = self._first + 1
  end
  return before - self.bytes
end

--- All that is kept, as one string. Does not wait.
---@return string
function methods:text() return table.concat(self, "", self._first, self._last) end

return M
