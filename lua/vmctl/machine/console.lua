--- A guest's console: its output is kept in a bounded ring and written to a log file if there is one; tasks can wait for a pattern.
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local log = require "vmctl.log"
local search = require "vmctl.text.search"
local texts = require "vmctl.text"

local M = {}

local SIZE = 256 * 1024
local PAUSE = 0.02 -- seconds between two searches for a pattern

---@class vmctl.Ring
local ring = {}
local ring_mt = { __name = "vmctl.Ring", __index = ring }

--- A ring of the last `size` bytes.
function M.ring(size)
  return setmetatable({ _size = size, _parts = {}, _first = 1, _last = 0, _bytes = 0, total = 0 }, ring_mt)
end

function ring:add(data)
  self._last = self._last + 1
  self._parts[self._last] = data
  self._bytes = self._bytes + #data
  self.total = self.total + #data
  while self._bytes - #self._parts[self._first] >= self._size do
    self._bytes = self._bytes - #self._parts[self._first]
    self._parts[self._first] = nil
    self._first = self._first + 1
  end
end

function ring:text()
  local text = table.concat(self._parts, "", self._first, self._last)
  self._parts, self._first, self._last, self._bytes = { text }, 1, 1, #text
  return text:sub(-self._size)
end

--- The kept output after the first `position` bytes.
function ring:since(position)
  local want, at = math.min(self.total - position, self._bytes, self._size), self._last
  if want <= 0 then return "" end
  local have = #self._parts[at]
  while have < want do
    at = at - 1
    have = have + #self._parts[at]
  end
  return table.concat(self._parts, "", at, self._last):sub(-want)
end

--- The last lines, safe to show: no control bytes, no terminal escapes.
function ring:tail(lines)
  local text = log.sanitize(texts.trim_end((self:text():gsub("\r", ""))), 4096)
  return texts.tail(text, lines)
end

--- Adds all data of a stream, until it ends. Waits.
function ring:follow(stream)
  for data in function() return (stream:read(math.maxinteger, math.huge)) end do self:add(data) end
end

---@class vmctl.Console
---@field far vmctl.Stream the guest's end, until QEMU has it: bytes written to it are console output
---@field child_fd integer descriptor of that end
local methods = {}
local mt = { __name = "vmctl.Console", __index = methods }

--- Makes a console of a stream, which it takes over.
---@param stream vmctl.Stream
---@param name string
---@param size? integer bytes that are kept
---@param path? string the log file
---@return vmctl.Console|nil, string?, string?
function M.of(stream, name, size, path)
  local file, err, code
  if path then
    file, err, code = core.fs.private(path)
    if not file then
      stream:close()
      return nil, ("console of %s: %s"):format(name, err), code
    end
  end
  stream:label("console of " .. name)
  return setmetatable({ _stream = stream, _ring = M.ring(size or SIZE), _news = core.queue(), _file = file, _name = name }, mt)
end

--- Opens a console: one end of a socket pair is for QEMU. As `of` otherwise.
function M.open(name, size, path)
  local ours, theirs, code = core.pair()
  if not ours then return nil, theirs, code end
  local self, err
  self, err, code = M.of(ours, name, size, path)
  if not self then
    theirs:close()
    return nil, err, code
  end
  self.far, self.child_fd = theirs, theirs:fileno()
  return self
end

--- Closes our copy of QEMU's end, after QEMU was started.
function methods:started()
  if self.far then self.far:close() end
end

-- A full disk is logged once. Later pieces are still written, because there may be room again.
local function write_log(self, data)
  if not self._file then return end
  local ok, err, code = self._file:write(data)
  if ok then return end
  if not self._lost then log.error("console of %s: %s: what comes is missing from its log", self._name, err) end
  self._lost = { message = err, code = code }
end

--- True if the console's log is complete. Does not wait.
---@return true|nil, string?, string? code ENOSPC, EIO …
function methods:status()
  if not self._lost then return true end
  return nil, ("console of %s: %s"):format(self._name, self._lost.message), self._lost.code
end

-- Keeps output until the console ends.
local function run(self)
  while true do
    local data = self._stream:read(math.maxinteger, math.huge)
    if not data then break end
    self._ring:add(data)
    write_log(self, data)
    self._news:wake()
  end
  self._ended = true
  self._news:wake()
end

--- Starts a background task that keeps the output until the console is closed. Does not wait.
function methods:begin()
  self._task = background.spawn("console of " .. self._name, run, self)
end

--- Waits until the console has ended.
---@param timeout number seconds
---@return true|nil, string?, string? code ETIMEDOUT
function methods:await_end(timeout)
  local deadline = core.now() + timeout
  while not self._ended do
    local ok, err, code = self._news:wait(deadline - core.now(), "wait for the console's end")
    if not ok then return nil, err, code end
  end
  return true
end

function methods:text() return self._ring:text() end

function methods:tail(lines) return self._ring:tail(lines) end

--- Passes the kept output and then all further output to `take`, until `take` returns false or nil, or the console ends. A `take` that
--- is slower than the console misses output that the ring no longer has. Waits.
---@param take fun(data: string): any
---@return true|nil, string?, string? code ECANCELED
function methods:follow(take)
  local at = self._ring.total - #self._ring:text()
  while true do
    local data = self._ring:since(at)
    at = self._ring.total
    if data ~= "" then
      if not take(data) then return true end
    elseif self._ended then
      return true
    else
      local ok, err, code = self._news:wait(math.huge, "follow the console")
      if not ok then return nil, err, code end
    end
  end
end

function methods:write(bytes, timeout) return self._stream:write(bytes, timeout) end

-- Makes a search in the kept and the further output. There is a pause between two searches for a pattern, so that a guest that sends
-- single bytes cannot cause a search for each of them.
local function new_search(kept, pattern, plain, deadline)
  local seen = kept.total - #kept:text()
  if not plain and pattern:find "[%^%$%*%+%?%.%(%)%[%]%%%-]" then
    return function()
      local text = kept:text()
      local before = kept.total - #text -- bytes that are gone
      local match, next_at, code = search.find(text, pattern, math.max(1, seen - before + 1), deadline)
      if not code then seen = before + next_at - 1 end
      return match, next_at, code
    end, PAUSE
  end
  return function()
    local text = kept:since(math.max(seen - #pattern + 1, 0))
    seen = kept.total
    return text:find(pattern, 1, true) and pattern
  end, 0
end

--- Waits until the output matches a pattern. A match has 2 KiB at most.
---@return string|nil match, string?, string? code ETIMEDOUT, EOF
function methods:wait(pattern, timeout, plain)
  local deadline = core.now() + timeout
  local look, pause = new_search(self._ring, pattern, plain, deadline)
  while true do
    local total, ok = self._ring.total, true
    local found, err, code = look()
    if found then return found end
    if code then return nil, err, code end
    if self._ring.total == total then -- no output came during the search
      if self._ended then return nil, "the console has ended", "EOF" end
      ok, err, code = self._news:wait(deadline - core.now(), "wait for the console")
    elseif core.now() >= deadline then
      return nil, "wait for the console: it never stops", "ETIMEDOUT"
    end
    if not ok then return nil, err, code end
    if pause > 0 and deadline - core.now() > pause then ok, err, code = core.sleep(pause) end
    if not ok then return nil, err, code end
  end
end

function methods:close()
  if self._task then self._task:cancel() end
  self._stream:close()
  self:started()
  if self._file then self._file:close() end
  self._file = nil
  self._ended = true
  self._news:wake()
  return true
end

return M
