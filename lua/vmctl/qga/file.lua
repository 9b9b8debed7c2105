--- Files through a guest agent, in pieces of base64 (docs/wire/qmp-qga.md#agent-commands). Methods of vmctl.QgaClient.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local options = require "vmctl.base.options"

local M = {}

local PIECE = 64 * 1024         -- bytes per request: larger ones hold up other calls
local MAX_FILE = 256 << 20      -- bytes that read_file takes into memory by default

---@class vmctl.QgaFile
local file = {}
local file_mt = { __name = "vmctl.QgaFile", __index = file }

--- Opens a file of the guest. Waits.
---@param path string
---@param mode? string as for C's fopen: "r" by default
---@return vmctl.QgaFile|nil file with read, write, seek, flush, close, string?, string?, table? EREMOTE: it cannot be opened
function M.open(client, path, mode)
  if type(path) ~= "string" then error("open: a path expected, got " .. type(path), 2) end
  local handle, err, code, problem = client:_execute("guest-file-open", { path = path, mode = mode })
  if handle == nil then return nil, err, code, problem end
  return setmetatable({ _client = client, _handle = handle, _path = path }, file_mt)
end

function file:_call(name, arguments)
  if not self._handle then return errors.fail("ECLOSED", "%s %s: closed", name, self._path) end
  arguments.handle = self._handle
  return self._client:_execute(name, arguments)
end

--- Reads at most `count` bytes. Waits.
---@param count? integer 64 KiB by default and at most
---@return string|nil bytes, string?, string? code EOF at the end
function file:read(count)
  count = math.min(count or PIECE, PIECE)
  if self._at_end and self._handle then return errors.fail("EOF", "read %s on %s: end of file", self._path, self._client) end
  local answer, err, code, problem = self:_call("guest-file-read", { count = count })
  if not answer then return nil, err, code, problem end
  local bytes = core.base64_decode(answer["buf-b64"] or "")
  if not bytes or #bytes > count then return errors.fail("EPROTO", "read %s on %s: an odd answer", self._path, self._client) end
  self._at_end = answer.eof == true or nil
  if bytes == "" then return errors.fail("EOF", "read %s on %s: end of file", self._path, self._client) end
  return bytes
end

--- Writes all bytes. Waits.
---@return true|nil, string?, string?, table?
function file:write(bytes)
  self._at_end = nil
  local at = 1
  while at <= #bytes do
    local piece = bytes:sub(at, at + PIECE - 1)
    local answer, err, code, problem = self:_call("guest-file-write", { ["buf-b64"] = core.base64_encode(piece) })
    if not answer then return nil, err, code, problem end
    local count = answer.count
    if math.type(count) ~= "integer" or count < 1 or count > #piece then
      return errors.fail("EPROTO", "write %s on %s: an odd answer", self._path, self._client)
    end
    at = at + count
  end
  return true
end

--- Moves the offset. Waits.
---@param whence? "set"|"cur"|"end"
---@param offset? integer bytes
---@return integer|nil position, string?, string?, table?
function file:seek(whence, offset)
  self._at_end = nil
  local answer, err, code, problem = self:_call("guest-file-seek", { whence = whence or "cur", offset = offset or 0 })
  if not answer then return nil, err, code, problem end
  return answer.position
end

--- Lets the agent flush its buffer. Waits.
---@return true|nil, string?, string?, table?
function file:flush()
  local ok, err, code, problem = self:_call("guest-file-flush", {})
  return ok and true, err, code, problem
end

--- Closes it. Idempotent; waits for the agent's answer, because flushing its buffer may fail.
---@return true|nil, string?, string?, table?
function file:close()
  if not self._handle then return true end
  local ok, err, code, problem = self:_call("guest-file-close", {})
  self._handle = nil
  return ok and true, err, code, problem
end

file_mt.__close = file.close

--- Reads a whole file. Waits.
---@param path string
---@param opts? { limit: integer? } bytes, 256 MiB by default
---@return string|nil bytes, string?, string? code ETOOBIG, EREMOTE …, table?
function M.read_file(client, path, opts)
  local limit = options.check(opts, { limit = "integer>0" }, "read_file").limit or MAX_FILE
  local from <close>, err, code, problem = M.open(client, path, "rb")
  if not from then return nil, err, code, problem end
  local parts, size = {}, 0
  while true do
    local bytes
    bytes, err, code, problem = from:read()
    if not bytes then break end
    parts[#parts + 1], size = bytes, size + #bytes
    if size > limit then return errors.fail("ETOOBIG", "read_file %s on %s: more than %d bytes", path, client, limit) end
  end
  if code ~= "EOF" then return nil, err, code, problem end
  return table.concat(parts)
end

-- Writes into a new file, and closes it.
local function put(client, path, bytes)
  local to, err, code, problem = M.open(client, path, "wb")
  if not to then return nil, err, code, problem end
  local ok, closed, why, how, more
  ok, err, code, problem = to:write(bytes)
  closed, why, how, more = to:close()
  if not ok then return nil, err, code, problem end
  if not closed then return nil, why, how, more end
  return true
end

--- Writes a whole file: to a temporary name first, and then renames it. Waits.
---@param path string
---@param bytes string
---@param opts? { mode: integer?, direct: boolean? } mode: of the file; without it, by the agent's umask, 0644; direct: write in
-- place, for guests without `mv`
---@return true|nil, string?, string?, table?
function M.write_file(client, path, bytes, opts)
  opts = options.check(opts, { mode = "integer>=0<=4095", direct = "boolean" }, "write_file")
  if type(bytes) ~= "string" then error("write_file: bytes expected, got " .. type(bytes), 2) end
  local place = opts.direct and path or ("%s.%08x"):format(path, math.random(0) & 0xffffffff)
  local ok, err, code, problem = put(client, place, bytes)
  if ok and opts.mode then
    ok, err, code, problem = client:run { "chmod", ("%o"):format(opts.mode), place, check = true }
  end
  if ok and not opts.direct then ok, err, code, problem = client:run { "mv", "-f", place, path, check = true } end
  if ok then return true end
  if not opts.direct then client:run { "rm", "-f", place } end
  return nil, err, code, problem
end

return M
