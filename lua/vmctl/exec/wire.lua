--- The exec protocol's messages (matchlock's exec over vsock): types, limits, requests and responses.
local core = require "vmctl.core"
local json = require "vmctl.json"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local ports = require "vmctl.net.agent_ports"

local M = {}

M.PORT, M.READY_PORT, M.FILES_PORT = ports.EXEC, ports.READY, ports.EXEC_FILES

--- Message types by name (docs/wire/exec.md#message-types).
M.types = {
  EXEC = 1, EXEC_RESULT = 2, STDOUT = 3, STDERR = 4, SIGNAL = 5, READY = 6, STDIN = 7, RESIZE = 8, EXEC_TTY = 9,
  EXIT = 10, EXEC_STREAM = 11, EXEC_PIPE = 12, PORT_FORWARD = 13, WRITE_FILE = 14, READ_FILE = 15, LIST_FILES = 16,
  FILE_RESULT = 17,
}

local T = M.types
local REQUEST, CHUNK, RESULT, FILE, EXIT, SMALL = 1 << 20, 64 << 10, 1 << 20, 64 << 20, 4 << 10, 64

local SAID = 1000 -- bytes of the peer's reason in a message

M.CHUNK = CHUNK

--- A Signal message for agents of ours: it closes the command's output instead of signalling the group, so that a writer
-- gets SIGPIPE. Others ignore the second byte. Ours also takes a Signal as a first message, for a command whose
-- own connection is full of input: two bytes, and the token of that command's request.
M.CLOSE_OUTPUT = "\13\1"

--- The frame format: type u8, length u32 big endian; a limit for each type, so that no peer makes us hold 4 GiB. A longer answer
--- of a command is decoded as it comes (vmctl.exec.result).
M.format = core.format {
  type = 1, length = 4, max = CHUNK,
  limits = {
    [T.EXEC] = REQUEST, [T.EXEC_TTY] = REQUEST, [T.EXEC_STREAM] = REQUEST, [T.EXEC_PIPE] = REQUEST,
    [T.PORT_FORWARD] = REQUEST, [T.READ_FILE] = REQUEST, [T.LIST_FILES] = REQUEST, [T.READY] = REQUEST,
    [T.WRITE_FILE] = FILE, [T.EXEC_RESULT] = RESULT, [T.FILE_RESULT] = FILE,
    [T.STDOUT] = CHUNK, [T.STDERR] = CHUNK, [T.STDIN] = CHUNK,
    [T.SIGNAL] = SMALL, [T.RESIZE] = SMALL, [T.EXIT] = EXIT,
  },
}

local FROM_GUEST = { [T.EXEC_RESULT] = true, [T.STDOUT] = true, [T.STDERR] = true, [T.READY] = true, [T.EXIT] = true,
  [T.FILE_RESULT] = true }

--- Tells if a guest may send this type. Unknown types may come from later revisions; one of the host's types, or 0, means that
-- the framing is lost (two unlocked writers in the reference agent: docs/wire/exec.md#known-weaknesses-of-the-reference).
---@param type integer
---@return "known"|"later"|nil
function M.from_guest(type)
  if FROM_GUEST[type] then return "known" end
  return type > T.FILE_RESULT and "later" or nil
end

--- Reads a guest's message. A length over the limit is ETOOBIG only for results: in other types it shows
-- that the framing is lost, and is EPROTO. Waits.
---@param stream vmctl.Stream
---@param timeout number
---@return integer|nil type, string payload, string? code, table? refused the header of a result over the limit
function M.read(stream, timeout)
  local type, payload, code, refused = stream:read_frame(timeout)
  if refused and refused.type ~= T.EXEC_RESULT and refused.type ~= T.FILE_RESULT then
    return nil, payload .. ": the framing is lost", "EPROTO"
  end
  return type, payload, code, refused
end

local fields = {
  command = "string", working_dir = "string", stdin = "string", user = "string", rows = "number", cols = "number",
  args = "table", env = "table", argv_b64 = "table", env_b64 = "table", token = "string", keep = "boolean",
}

local keys_of = { env = "string", env_b64 = "string", args = "number", argv_b64 = "number" }

local function check_strings(list, name, keys)
  for key, value in next, list do
    if type(value) ~= "string" or type(key) ~= keys then
      return errors.fail("EPROTO", "request: '%s' holds something other than strings", name)
    end
  end
  return true
end

-- Members that we do not know may be of any kind.
local function check_field(name, value)
  local want, found = fields[name], type(value)
  if want and found ~= want then
    return errors.fail("EPROTO", "request: '%s' is a %s, not a %s", name, found, want)
  elseif want == "number" and (math.type(value) ~= "integer" or value < 0 or value > 65535) then
    return errors.fail("EPROTO", "request: '%s' is no size of a terminal", name)
  elseif want == "table" then
    return check_strings(value, name, keys_of[name])
  end
  return true
end

--- Encodes a request from a table with the JSON's names: command, working_dir, env, user, rows, cols. Members of our own,
-- ignored by other agents: argv_b64, env_b64 (exact bytes, base64), token (see CLOSE_OUTPUT), keep (see vmctl.process.job).
---@param request table
---@return string|nil json, string?, string? code EINVAL
function M.encode_request(request)
  local copy = {}
  for name, value in pairs(request) do copy[name] = value end
  if copy.env then copy.env = next(copy.env) and json.object(copy.env) or nil end
  return json.encode(json.object(copy))
end

--- Decodes and checks a request.
---@param text string
---@return table|nil request, string?, string? code EPROTO
function M.decode_request(text)
  local request, err = json.decode(text)
  if request == nil then return errors.fail("EPROTO", "request: %s", err) end
  if type(request) ~= "table" then return errors.fail("EPROTO", "request: not a JSON object") end
  for name, value in next, request do
    local ok, why, code = check_field(name, value)
    if not ok then return nil, why, code end
  end
  if request.command == nil and request.argv_b64 == nil then
    return errors.fail("EPROTO", "request: no 'command'")
  end
  return request
end

--- Text for JSON: bytes that are not UTF-8 become question marks.
---@param bytes string
function M.text(bytes)
  if utf8.len(bytes) then return bytes end
  return (bytes:gsub("[\x80-\xff]", "?"))
end

--- Encodes an ExecResponse. stdout and stderr are bytes, or nil for null (never started, or streamed).
---@param response { exit_code: integer, stdout: string?, stderr: string?, error: string?, signal: integer?, lingering: boolean? }
-- signal and lingering (a process can still write to its output, see vmctl.process.job) are ours
---@return string json
function M.encode_response(response)
  local function base64(bytes)
    return bytes and core.base64_encode(bytes) or json.null
  end
  return assert(json.encode(json.object {
    exit_code = response.exit_code, stdout = base64(response.stdout), stderr = base64(response.stderr),
    error = M.text(response.error or ""), signal = response.signal, lingering = response.lingering,
  }))
end

--- Tells if a command can have ended with this code. -1: by a signal; other codes show that the framing is lost.
---@return boolean
function M.is_exit_code(code)
  return math.type(code) == "integer" and code >= -1 and code <= 255
end

local function decode_bytes(response, name)
  local value = response[name]
  if value == nil or value == json.null then return "" end
  if type(value) ~= "string" then return errors.fail("EPROTO", "response: '%s' is not a string", name) end
  local bytes, why = core.base64_decode(value)
  if not bytes then return errors.fail("EPROTO", "response: '%s': %s", name, why) end
  return bytes
end

--- Decodes an ExecResponse; absent members mean empty. exit_code is signed.
---@param text string
---@return { exit_code: integer, stdout: string, stderr: string, error: string, signal: integer?, lingering: true? }|nil, string?
---@return string? code EPROTO
function M.decode_response(text)
  local response, err = json.decode(text)
  if type(response) ~= "table" then return errors.fail("EPROTO", "response: %s", err or "not a JSON object") end
  local stdout, why, code = decode_bytes(response, "stdout")
  if not stdout then return nil, why, code end
  local stderr
  stderr, why, code = decode_bytes(response, "stderr")
  if not stderr then return nil, why, code end
  local exit_code = response.exit_code or 0
  if not M.is_exit_code(exit_code) then return errors.fail("EPROTO", "response: 'exit_code' is no exit code") end
  local said = response.error or ""
  if type(said) ~= "string" then return errors.fail("EPROTO", "response: 'error' is not a string") end
  return { exit_code = exit_code, stdout = stdout, stderr = stderr, error = log.one_line(said, SAID),
    signal = math.type(response.signal) == "integer" and response.signal or nil,
    lingering = response.lingering == true or nil }
end

local LINGERING, FAILED = 1, 2 -- flags of an exit message
local EXIT_HEAD = 6

--- Exit: a code of 32 bits, two's complement. Ours adds bytes that others ignore: the signal (0: none), then flags and, of a command
-- that could not be started or whose end was not seen, the reason.
---@param code integer
---@param signal? integer
---@param more? { lingering: boolean?, error: string? }
---@return string payload
function M.encode_exit(code, signal, more)
  local reason = more and more.error
  local flags = (more and more.lingering and LINGERING or 0) | (reason and FAILED or 0)
  local payload = string.pack(">i4", code)
  if flags == 0 then return payload .. (signal and string.char(signal) or "") end
  return payload .. string.char(signal or 0, flags) .. M.text(reason or ""):sub(1, EXIT - EXIT_HEAD)
end

--- A payload under four bytes carries no exit code: that is an error, never 0. So is a code that no command can have.
---@return integer|nil code
---@return integer|string? signal or the message
---@return string|{ lingering: true?, error: string? }|nil added or the code of the failure
function M.decode_exit(payload)
  if #payload < 4 then return errors.fail("EPROTO", "an exit message of %d bytes has no exit code", #payload) end
  local code = string.unpack(">i4", payload)
  if not M.is_exit_code(code) then return errors.fail("EPROTO", "an exit message with %d, which is no exit code", code) end
  local signal, flags = payload:byte(5, EXIT_HEAD)
  if not flags then return code, signal end
  local more = {
    lingering = flags & LINGERING ~= 0 or nil, error = flags & FAILED ~= 0 and log.one_line(payload:sub(EXIT_HEAD + 1)) or nil,
  }
  return code, signal ~= 0 and signal or nil, more
end

--- Resize: u16 rows, u16 columns.
---@return string payload
function M.encode_resize(rows, cols)
  return string.pack(">I2I2", rows, cols)
end

--- Fewer than four bytes are ignored, of more the first four count.
---@return integer|nil rows, integer? cols
function M.decode_resize(payload)
  if #payload < 4 then return nil end
  local rows, cols = string.unpack(">I2I2", payload)
  return rows, cols
end

return M
