--- Reads a terminal session of a reference agent. There two threads write Exit and the last Stdout, each of them header and body
--- apart, so that an Exit's header or body may stand at any boundary between writes (docs/wire/exec.md#traps).
local core = require "vmctl.core"
local wire = require "vmctl.exec.wire"

local M = {}

local T = wire.types
local HEADER, CODE = 5, 4
local EXIT_HEADER = string.pack(">BI4", T.EXIT, CODE)
local QUIET = 0.05 -- seconds without further bytes, after which bytes that may be two writes are taken for one

---@class vmctl.TornFrames
local methods = {}
local mt = { __index = methods }

--- Wraps a stream from which nothing else reads.
---@param stream vmctl.Stream
---@return vmctl.TornFrames
function M.new(stream)
  -- _buf: bytes, of which those before _at are taken; _parts: further bytes, fewer than are needed;
  -- _exit: Exit's header has come, and not yet its code; _over: its code has come, too
  return setmetatable({ _stream = stream, _buf = "", _at = 1, _parts = {}, _got = 0, _need = 1, _exit = false, _over = false }, mt)
end

local function is_code(text)
  return #text == CODE and wire.is_exit_code((string.unpack(">i4", text)))
end

-- Bytes that are not taken yet, from an offset on.
local function peek(self, offset, n)
  return self._buf:sub(self._at + offset, self._at + offset + n - 1)
end

-- Takes bytes out of the middle. Happens twice in a session.
local function cut(self, offset, n)
  self._buf, self._at = peek(self, 0, offset) .. self._buf:sub(self._at + offset + n), 1
end

local function take_exit(self, offset)
  local code = peek(self, offset, CODE)
  cut(self, offset, CODE)
  self._exit, self._over = false, true
  return T.EXIT, code
end

local function take_body(self, type, n)
  local body = peek(self, HEADER, n)
  self._at = self._at + HEADER + n
  return type, body
end

-- Tells if a body and a code, which come in either order, begin with the code. If both may be a code, the body is the one without NUL.
local function code_is_first(both)
  if not is_code(both:sub(1, CODE)) then return false end
  return not is_code(both:sub(-CODE)) or not both:find("\0", CODE + 1, true)
end

-- Takes a Stdout whose header is there. An Exit's header may be before its body, and an Exit's code before or behind it.
local function take_stdout(self, n, final)
  local head = not self._exit and not self._over and peek(self, HEADER, HEADER) or ""
  if head == EXIT_HEADER then
    self._exit = true
    cut(self, HEADER, HEADER)
  elseif head ~= "" and #head < HEADER and not final and head == EXIT_HEADER:sub(1, #head) then
    return nil, #head >= n -- a short body, so far
  end
  local have = #self._buf - self._at + 1 - HEADER
  if have < n then
    self._need = n - have
    return nil
  end
  if not self._exit then return take_body(self, T.STDOUT, n) end
  if have < n + CODE and not final then return nil, true end
  if have >= n + CODE and code_is_first(peek(self, HEADER, n + CODE)) then return take_exit(self, HEADER) end
  return take_body(self, T.STDOUT, n)
end

-- Takes the next message of the buffer. nil: more bytes are needed; nil, true: unless no more come soon; false, message: it is none.
local function take(self, final)
  local have = #self._buf - self._at + 1
  if self._exit and have >= CODE then
    local code = peek(self, 0, CODE)
    if is_code(code) then return take_exit(self, 0) end
    if code:byte() ~= T.STDOUT then
      return false, ("an exit message with %d, which is no exit code"):format((string.unpack(">i4", code)))
    end
  end
  if have < HEADER then return nil end
  local type, n = string.unpack(">BI4", self._buf, self._at)
  if not wire.from_guest(type) or n > wire.CHUNK then
    return false, ("a message of type %d with %d bytes: the framing is lost"):format(type, n)
  end
  if type == T.STDOUT then return take_stdout(self, n, final) end
  if type == T.EXIT and n == CODE and not self._exit then
    self._exit, self._at = true, self._at + HEADER
    return take(self, final)
  end
  if have < HEADER + n then
    self._need = HEADER + n - have
    return nil
  end
  return take_body(self, type, n)
end

local function add(self, data)
  self._parts[#self._parts + 1] = data
  self._got = self._got + #data
  if self._got < self._need then return end
  self._buf, self._at = self._buf:sub(self._at) .. table.concat(self._parts), 1
  self._parts, self._got, self._need = {}, 0, 1
end

--- Reads the next message. Waits.
---@param timeout number
---@return integer|nil type, string payload, string? code EPROTO, EOF, ETIMEDOUT …
function methods:read(timeout)
  local ok, why, how = core.turn() -- a message that is here already is no wait
  if not ok then return nil, why, how end
  local deadline, final = core.now() + timeout, false
  while true do
    local type, payload
    if self._got == 0 then type, payload = take(self, final) end
    if type then return type, payload end
    if type == false then return nil, payload, "EPROTO" end
    local unsure, left = payload, deadline - core.now()
    local data, err, code = self._stream:read(wire.CHUNK, unsure and math.min(QUIET, left) or left)
    if data then
      add(self, data)
    elseif unsure and not final and (code == "EOF" or code == "ETIMEDOUT" and left > QUIET) then
      final = true
    else
      return nil, err, code
    end
  end
end

return M
