--- Requests over the limit of a payload. The reference has no limit, so that its clients write whole files and long pieces in one
--- request (docs/wire/cc-ipc.md#file-system-0x02xx): the data of such a request goes to the handler in pieces, each a request of
--- its own, as it comes. So memory stays bounded, and the connection and its instance live. All other requests are refused.
local wire = require "vmctl.cc.wire"

local M = {}

local pack, unpack = string.pack, string.unpack
local types = wire.types

local IDLE = 60             -- seconds for which nothing of the request may come
local PATH_MOST = 64 << 10  -- bytes of a path
local OWNER_ONLY = 384      -- 0600: of a new file, until the mode has come, which stands behind the data
local WRITE, AT_END = 1, 2  -- FsOpenFile's flags, FileSeek's whence
local TOO_LARGE = "payload too large"

---@class vmctl.CcOversized
local methods = {}
local mt = { __index = methods }

--- The connection ends, since its bytes cannot be read. Raised and caught here.
local broken_mt = {}

local function break_off(err, code)
  error(setmetatable({ err = err, code = code }, broken_mt), 0)
end

-- An answer that ends the request: the kind and the payload of the frame.
local function answer_with(kind, body)
  error({ kind = kind, body = body }, 0)
end

function methods:piece(most)
  local piece, err, code = self.stream:read_skipped(most, IDLE)
  if not piece then break_off(err, code) end
  self.left = self.left - #piece
  return piece
end

-- Reads so many bytes as one string.
function methods:take(size)
  if size > self.left then self.refuse "unexpected EOF" end
  local parts, need = {}, size
  while need > 0 do
    parts[#parts + 1] = self:piece(need)
    need = need - #parts[#parts]
  end
  return table.concat(parts)
end

-- Makes a request of the handler. Returns the fields of its answer; a failure becomes the answer to the whole request.
function methods:ask(kind, ...)
  local answer, body = self.handle(kind, pack(...))
  if answer ~= types.RESPONSE then answer_with(answer, body) end
  return body:sub(2)
end

-- The length in front of the data, which end `after` bytes before the end of the request.
function methods:data_size(after)
  local size = unpack(">I4", self:take(4))
  if size > self.left - after then self.refuse "unexpected EOF" end
  return size
end

-- Passes `size` bytes on by requests that write to a handle. Returns the number of bytes that were written.
function methods:write(kind, handle, size)
  local written = 0
  while written < size do
    local piece = self:piece(math.min(size - written, wire.PIECE))
    local n = unpack(">I4", self:ask(kind, ">I8s4", handle, piece) .. "\0\0\0\0")
    written = written + math.min(n, #piece)
    if n < #piece then break end
  end
  return written
end

local function write_to_handle(kind)
  return function(self)
    local handle = unpack(">I8", self:take(8))
    answer_with(types.RESPONSE, pack(">I1I4", 0, self:write(kind, handle, self:data_size(0))))
  end
end

-- The rest of a new content behind its first piece.
local function append(self, path, size)
  local handle = unpack(">I8", self:ask(types.FS_OPEN_FILE, ">s4i4I4", path, WRITE, OWNER_ONLY))
  local close = { __close = function() self.handle(types.FILE_CLOSE, pack(">I8", handle)) end }
  local guard <close> = setmetatable({}, close) -- luacheck: ignore
  self:ask(types.FILE_SEEK, ">I8i8i4", handle, 0, AT_END)
  if self:write(types.FILE_WRITE, handle, size) < size then self.refuse "short write" end
end

local function write_file(self)
  local size = unpack(">I4", self:take(4))
  if size > PATH_MOST then self.refuse(TOO_LARGE) end
  local path = self:take(size)
  size = self:data_size(4)
  local is_new = self.handle(types.FS_STAT, pack(">s4", path)) ~= types.RESPONSE
  local first = self:take(math.min(size, wire.PIECE))
  self:ask(types.FS_WRITE_FILE, ">s4s4I4", path, first, OWNER_ONLY)
  if size > #first then append(self, path, size - #first) end
  local mode = unpack(">I4", self:take(4))
  if is_new then self:ask(types.FS_CHMOD, ">s4I4", path, mode) end
  answer_with(types.RESPONSE, "\0")
end

local serve = {
  [types.FS_WRITE_FILE] = write_file, [types.FILE_WRITE] = write_to_handle(types.FILE_WRITE),
  [types.CONN_WRITE] = write_to_handle(types.CONN_WRITE),
}

--- Serves the oversized request at the beginning of a stream. Waits. Its rest has to be dropped with `drain`.
---@param stream vmctl.Stream that has failed with ETOOBIG
---@param frame { type: integer, size: integer } the fourth value of that failure
---@param handle fun(kind: integer, payload: string): integer, string answers a request: the kind and the payload of a frame
---@param refusal fun(message: string, code: integer): integer, string makes the frame of a failure
---@return integer|nil kind of the answer, string payload_or_message, string? code the connection is of no further use: EOF …
function M.serve(stream, frame, handle, refusal)
  local fn = serve[frame.type]
  if not fn then return refusal(TOO_LARGE, wire.codes.INVALID_ARGUMENT) end
  local self = setmetatable({ stream = stream, left = frame.size, handle = handle }, mt)
  function self.refuse(text) answer_with(refusal(text, text == TOO_LARGE and wire.codes.INVALID_ARGUMENT or wire.codes.UNKNOWN)) end
  local _, why = xpcall(fn, function(err) return type(err) == "table" and err or debug.traceback(err) end, self)
  if type(why) ~= "table" then error(why, 0) end
  if getmetatable(why) == broken_mt then return nil, why.err, why.code end
  return why.kind, why.body
end

--- Reads and drops the rest of the request, as it comes. Waits.
---@param stream vmctl.Stream
---@return true|nil, string?, string? code EOF, ETIMEDOUT: nothing came for a minute
function M.drain(stream)
  local piece, err, code
  repeat piece, err, code = stream:read_skipped(wire.PIECE, IDLE) until not piece or piece == ""
  if not piece then return nil, err, code end
  return true
end

return M
