--- An open file of the machine, with the methods of Lua's files (docs/wire/cc-ipc.md#file-0x03xx). Each method waits, takes a
--- time-out in seconds as its last argument (for each request that it makes), and fails as client:call does; EOF at the end.
local mode = require "vmctl.base.go_mode"
local pieces = require "vmctl.base.pieces"
local request = require "vmctl.cc.request"
local wire = require "vmctl.cc.wire"

local M = {}

local READ = wire.types.FILE_READ
local LINES = 64 << 10 -- bytes that are read ahead for a line
local MAX_LINE = 1 << 20
local MAX_WHOLE = 1 << 30 -- bytes of a file that is read as a whole

---@class vmctl.CcFile
local methods = {}
local mt = { __name = "vmctl.CcFile", __index = methods }

local define, done, field = request.define, request.done, request.field

local calls = {
  close = define("FILE_CLOSE", "file:handle"),
  write = define("FILE_WRITE", "file:handle data:bytes"), seek = define("FILE_SEEK", "file:handle offset:i64 whence:i32"),
  sync = define("FILE_SYNC", "file:handle"), truncate = define("FILE_TRUNCATE", "file:handle size:i64"),
  stat = define("FILE_STAT", "file:handle"), name = define("FILE_NAME", "file:handle"),
}

-- Calls a request of an open file.
local function ask(self, name, timeout, ...)
  if not self._handle then return nil, ("cc file %s: closed"):format(self.path), "ECLOSED" end
  return calls[name](self.client, timeout, self._handle, ...)
end

local function ended(self)
  return nil, ("cc file %s: at its end"):format(self.path), "EOF"
end

-- Reading. `_ahead` holds bytes that were read ahead from the helper.

-- At most `most` bytes; "" at the end.
local function fetch(self, most, timeout)
  if not self._handle then return nil, ("cc file %s: closed"):format(self.path), "ECLOSED" end
  return self.client:call_for_bytes(READ, string.pack(">I8I4", self._handle, math.min(most, wire.PIECE)), timeout)
end

local function take(self, size)
  local bytes = self._ahead
  self._ahead = bytes:sub(size + 1)
  return bytes:sub(1, size)
end

-- Up to `size` bytes, fewer only at the end; "" at the end.
local function read_bytes(self, size, timeout)
  if #self._ahead >= size then return take(self, size) end
  local read, left = pieces.new(), size - #self._ahead
  read:add(self._ahead)
  self._ahead = ""
  while left > 0 do
    local bytes, err, code, more = fetch(self, left, timeout)
    if not bytes then
      self._ahead = read:text() -- bytes already read are kept
      return nil, err, code, more
    end
    if bytes == "" then break end
    if #bytes > left then return nil, ("cc file %s: more bytes than asked for"):format(self.path), "EPROTO" end
    read:add(bytes)
    left = left - #bytes
  end
  return read:text()
end

local function read_all(self, timeout)
  local bytes, err, code, more = read_bytes(self, MAX_WHOLE, timeout)
  if not bytes then return nil, err, code, more end
  if #bytes == MAX_WHOLE then
    return nil, ("cc file %s: over %d bytes: read it in pieces"):format(self.path, MAX_WHOLE), "ETOOBIG"
  end
  return bytes
end

local function read_line(self, keep, timeout)
  local line, bytes = pieces.new(), self._ahead
  self._ahead = ""
  while true do
    local at = bytes:find("\n", 1, true)
    if at then
      line:add(bytes:sub(1, at - 1))
      self._ahead = bytes:sub(at + 1)
      return line:text() .. (keep and "\n" or "")
    end
    line:add(bytes)
    if line.bytes >= MAX_LINE then
      self._ahead = line:text()
      return nil, ("cc file %s: a line over %d bytes"):format(self.path, MAX_LINE), "ETOOBIG"
    end
    local err, code, more
    bytes, err, code, more = fetch(self, LINES, timeout)
    if not bytes then
      self._ahead = line:text() -- bytes already read are kept
      return nil, err, code, more
    end
    if bytes == "" then
      if line.bytes == 0 then return ended(self) end
      return line:text()
    end
  end
end

--- Reads.
---@param what? integer|"a"|"l"|"L" that many bytes (fewer only at the end), all the rest (1 GiB at most), a line without
-- or with its line feed; "l" by default
---@return string|nil bytes, string?, string?, table? EOF at the end, but "" of "a" there
function methods:read(what, timeout)
  what = what or "l"
  if what == "a" then return read_all(self, timeout) end
  if what == "l" or what == "L" then return read_line(self, what == "L", timeout) end
  if math.type(what) ~= "integer" or what < 1 then
    error("cc file read: a number of bytes, 'a', 'l' or 'L' expected, got " .. tostring(what), 2)
  end
  local bytes, err, code, more = read_bytes(self, what, timeout)
  if bytes == "" then return ended(self) end
  return bytes, err, code, more
end

--- An iterator over the rest: `for line in file:lines() do`. It ends at the end of the file, and raises any other failure.
---@param what? any as for `read`
---@return fun(): string?
function methods:lines(what, timeout)
  return function()
    local line, err, code = self:read(what, timeout)
    if line and (line ~= "" or what ~= "a") then return line end
    if not line and code ~= "EOF" then error(err, 2) end
  end
end

-- Writing

-- Seeks back by the bytes that were read ahead, so that the helper's offset is ours.
local function settle(self, timeout)
  local ahead = #self._ahead
  if ahead == 0 then return true end
  local d, err, code, more = ask(self, "seek", timeout, -ahead, 1)
  if not d then return nil, err, code, more end
  self._ahead = ""
  return true
end

--- Writes bytes, piece by piece.
---@param data string
---@return vmctl.CcFile|nil, string?, string?, table? after a failure, a part of it may have been written
function methods:write(data, timeout)
  if type(data) ~= "string" then error("cc file write: a string expected, got " .. type(data), 2) end
  local ok, err, code, more = settle(self, timeout)
  if not ok then return nil, err, code, more end
  local at = 1
  repeat
    local piece = #data <= wire.PIECE and data or data:sub(at, at + wire.PIECE - 1)
    local n
    n, err, code, more = field("uint32", ask(self, "write", timeout, piece))
    if not n then return nil, err, code, more end
    if n > #piece or n == 0 and piece ~= "" then
      return nil, ("cc file %s: %d of %d bytes were written"):format(self.path, n, #piece), "EPROTO"
    end
    at = at + n
  until at > #data
  return self
end

local whences = { set = 0, cur = 1, ["end"] = 2 }

--- Moves the position.
---@param whence? "set"|"cur"|"end" "cur" by default
---@param offset? integer bytes, 0 by default
---@return integer|nil position from the beginning, string?, string?, table?
function methods:seek(whence, offset, timeout)
  local number = whences[whence or "cur"]
  if not number then error("cc file seek: 'set', 'cur' or 'end' expected, got " .. tostring(whence), 2) end
  offset = offset or 0
  if math.type(offset) ~= "integer" then error("cc file seek: an integer expected, got " .. type(offset), 2) end
  if number == 1 then offset = offset - #self._ahead end
  local at, err, code, more = field("int64", ask(self, "seek", timeout, offset, number))
  if not at then return nil, err, code, more end
  self._ahead = ""
  return at
end

--- Writes the file's data to the disk.
---@return true|nil, string?, string?, table?
function methods:sync(timeout)
  return done(ask(self, "sync", timeout))
end

--- Cuts the file, or makes it longer.
---@param size integer bytes
---@return true|nil, string?, string?, table?
function methods:truncate(size, timeout)
  if math.type(size) ~= "integer" or size < 0 then error("cc file truncate: a size expected, got " .. tostring(size), 2) end
  return done(ask(self, "truncate", timeout, size))
end

--- Its properties, as from fs:stat.
---@return table|nil, string?, string?, table?
function methods:stat(timeout)
  local info, err, code, more = field("file_info", ask(self, "stat", timeout))
  if not info then return nil, err, code, more end
  return mode.shown(info)
end

--- The path that it was opened with, as the helper knows it.
---@return string|nil, string?, string?, table?
function methods:name(timeout)
  return field("string", ask(self, "name", timeout))
end

--- Closes it. Idempotent. (A file that is dropped without `close` stays open in the helper.)
---@return true|nil, string?, string?, table? it is closed in any case
function methods:close(timeout)
  local handle = self._handle
  if not handle then return true end
  self._handle, self._ahead = nil, ""
  return done(calls.close(self.client, timeout, handle))
end

mt.__close = function(self) self:close() end

function mt:__tostring()
  return ("vmctl.CcFile(%s%s)"):format(self.path, self._handle and "" or ", closed")
end

--- An open file with a handle.
---@param client vmctl.CcClient
---@param handle integer
---@param path string
function M.new(client, handle, path)
  return setmetatable({ client = client, path = path, _handle = handle, _ahead = "" }, mt)
end

return M
