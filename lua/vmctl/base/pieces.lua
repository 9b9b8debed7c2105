--- Bytes that come in pieces, and are kept. A peer decides how long its pieces are: a million of one byte each take hardly more room
--- here than one of a million.
local M = {}

local PIECE = 4096 -- bytes: shorter pieces are joined
local MANY = 256   -- as soon as there are so many of them

---@class vmctl.Pieces
---@field bytes integer that are kept
local methods = {}
local mt = { __name = "vmctl.Pieces", __index = methods }

--- Makes an empty one. Does not wait.
---@return vmctl.Pieces
function M.new()
  -- Pieces from _first to _last; those from _open on are short, and not joined yet.
  return setmetatable({ bytes = 0, _first = 1, _last = 0, _open = 1, _open_bytes = 0 }, mt)
end

local function join(self)
  local from, to = self._open, self._last
  if from < to then
    self[from] = table.concat(self, "", from, to)
    for i = from + 1, to do self[i] = nil end
    self._last = from
  end
  self._open, self._open_bytes = self._last + 1, 0
end

--- Adds a piece. Does not wait.
---@param data string
function methods:add(data)
  if data == "" then return end
  if #data >= PIECE then join(self) end
  self._last = self._last + 1
  self[self._last] = data
  self.bytes, self._open_bytes = self.bytes + #data, self._open_bytes + #data
  if self._open_bytes >= PIECE or self._last - self._open >= MANY - 1 then join(self) end
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
