--- Bytes that come in pieces, and are kept. A peer chooses the size of its pieces: a million of one byte each take hardly more memory
--- here than one of a million.
local M = {}

local LONG = 512 -- bytes: shorter pieces are joined
local EACH = 128 -- of those at a time
local FEW = 8

---@class vmctl.Pieces
---@field bytes integer that are kept
local methods = {}
local mt = { __name = "vmctl.Pieces", __index = methods }

--- Makes an empty one. Does not wait.
---@return vmctl.Pieces
function M.new()
  -- Pieces from _first to _last, and _count short ones behind them that are not joined yet. Entries of _short beyond those are old, and
  -- are overwritten.
  return setmetatable({ bytes = 0, _first = 1, _last = 0, _short = {}, _count = 0 }, mt)
end

local function join(self)
  local count = self._count
  if count == 0 then return end
  local last = self._last + 1
  self[last], self._last, self._count = table.concat(self._short, "", 1, count), last, 0
end

--- Adds a piece. Does not wait. It is a function as well, for callers that add very often.
---@param self vmctl.Pieces
---@param data string
function M.add(self, data)
  local size = #data
  if size == 0 then return end
  self.bytes = self.bytes + size
  if size < LONG then
    local count = self._count + 1
    self._short[count], self._count = data, count
    if count == EACH then join(self) end
  else
    join(self)
    local last = self._last + 1
    self[last], self._last = data, last
  end
end

methods.add = M.add

--- Drops the first pieces, as long as at least `keep` bytes stay. Does not wait.
---@param keep integer
---@return integer dropped bytes
function methods:drop(keep)
  local before = self.bytes
  while self._first <= self._last and self.bytes - #self[self._first] >= keep do
    self.bytes = self.bytes - #self[self._first]
    self[self._first] = nil
    self._first = self._first + 1
  end
  return before - self.bytes
end

-- table.concat copies each byte into a buffer that grows, and from there into the string: this copies it once.
local function join_few(a, b, c, d, e, f, g, h)
  return (a or "") .. (b or "") .. (c or "") .. (d or "") .. (e or "") .. (f or "") .. (g or "") .. (h or "")
end

--- All bytes as one string. Does not wait.
---@return string
function methods:text()
  join(self)
  local first, last = self._first, self._last
  if last - first < FEW then return join_few(table.unpack(self, first, last)) end
  return table.concat(self, "", first, last)
end

return M
