--- The names and numbers of cc-helper's protocol (docs/wire/cc-ipc.md#framing, docs/wire/cc-ipc.md#error-codes,
--- docs/wire/cc-ipc.md#message-table).
local core = require "vmctl.core"

local M = {}

M.HEADER_SIZE = 6
M.MAX = 64 << 20 -- bytes of a payload: the protocol has no limit of its own, only that of a length of 32 bits
M.PIECE = 1 << 20 -- bytes of a file or a connection that one request asks for or carries at most

local requests = {
  [0x0100] = {
    [0] = "INSTANCE_NEW", "INSTANCE_CLOSE", "INSTANCE_WAIT", "INSTANCE_ID", "INSTANCE_IS_RUNNING", "INSTANCE_SET_CONSOLE",
    "INSTANCE_SET_NETWORK", "INSTANCE_EXEC",
  },
  [0x0200] = {
    [0] = "FS_OPEN", "FS_CREATE", "FS_OPEN_FILE", "FS_READ_FILE", "FS_WRITE_FILE", "FS_STAT", "FS_LSTAT", "FS_REMOVE",
    "FS_REMOVE_ALL", "FS_MKDIR", "FS_MKDIR_ALL", "FS_RENAME", "FS_SYMLINK", "FS_READLINK", "FS_READ_DIR", "FS_CHMOD",
    "FS_CHOWN", "FS_CHTIMES", "FS_SNAPSHOT",
  },
  [0x0300] = {
    [0] = "FILE_CLOSE", "FILE_READ", "FILE_WRITE", "FILE_SEEK", "FILE_SYNC", "FILE_TRUNCATE", "FILE_STAT", "FILE_NAME",
  },
  [0x0400] = {
    [0] = "CMD_NEW", "CMD_ENTRYPOINT", "CMD_FREE", "CMD_SET_DIR", "CMD_SET_ENV", "CMD_GET_ENV", "CMD_ENVIRON", "CMD_START",
    "CMD_WAIT", "CMD_RUN", "CMD_OUTPUT", "CMD_COMBINED_OUTPUT", "CMD_EXIT_CODE", "CMD_KILL",
  },
  [0x0500] = {
    [0] = "NET_LISTEN", "LISTENER_ACCEPT", "LISTENER_CLOSE", "LISTENER_ADDR", "CONN_READ", "CONN_WRITE", "CONN_CLOSE",
    "CONN_LOCAL_ADDR", "CONN_REMOTE_ADDR",
  },
  [0x0600] = { [0] = "SNAPSHOT_CACHE_KEY", "SNAPSHOT_PARENT", "SNAPSHOT_CLOSE", "SNAPSHOT_AS_SOURCE" },
  [0x0700] = { [0] = "BUILD_DOCKERFILE" },
}

--- The types by name: the 63 requests, RESPONSE and ERROR.
---@type table<string, integer>
M.types = { RESPONSE = 0xFF00, ERROR = 0xFF01 }

--- The names of the requests by type.
---@type table<integer, string>
M.names = {}

for first, names in pairs(requests) do
  for i = 0, #names do
    M.types[names[i]] = first + i
    M.names[first + i] = names[i]
  end
end

--- The requests without a bound on their time, by type: they wait for a program, a peer or a machine.
---@type table<integer, true>
M.may_block = {}

for _, name in ipairs {
  "INSTANCE_NEW", "INSTANCE_WAIT", "INSTANCE_EXEC", "FS_SNAPSHOT", "CMD_WAIT", "CMD_RUN", "CMD_OUTPUT",
  "CMD_COMBINED_OUTPUT", "LISTENER_ACCEPT", "CONN_READ", "BUILD_DOCKERFILE",
} do
  M.may_block[M.types[name]] = true
end

--- The codes of failures, by name.
---@type table<string, integer>
M.codes = {
  OK = 0, INVALID_HANDLE = 1, INVALID_ARGUMENT = 2, NOT_RUNNING = 3, ALREADY_CLOSED = 4, TIMEOUT = 5,
  HYPERVISOR_UNAVAILABLE = 6, IO = 7, NETWORK = 8, CANCELLED = 9, UNKNOWN = 99,
}

--- The source types of InstanceNew, by name.
---@type table<string, integer>
M.sources = { TAR = 0, DIRECTORY = 1, REFERENCE = 2 }

-- Code 2 with this message: the helper does not know the request (docs/wire/cc-ipc.md#known-weaknesses-of-the-reference).
local UNKNOWN_TYPE = "unknown message type"

--- The code of this library for a failure read from the wire.
---@param code integer
---@param message string
---@return "ETIMEDOUT"|"ECANCELED"|"ENOTSUP"|"EREMOTE"
function M.errno_of(code, message)
  if code == M.codes.TIMEOUT then return "ETIMEDOUT" end
  if code == M.codes.CANCELLED then return "ECANCELED" end
  if code == M.codes.INVALID_ARGUMENT and message:sub(1, #UNKNOWN_TYPE) == UNKNOWN_TYPE then return "ENOTSUP" end
  return "EREMOTE"
end

local by_errno = {
  ETIMEDOUT = M.codes.TIMEOUT, ECANCELED = M.codes.CANCELLED, ECLOSED = M.codes.ALREADY_CLOSED, EPROTO = M.codes.UNKNOWN,
  EOF = M.codes.UNKNOWN,
}

--- The number on the wire for a handler's code: a number is kept, and an errno's name without its own number is IO.
---@param code integer|string|nil
---@return integer
function M.code_of(code)
  if math.type(code) == "integer" and code > 0 and code < 256 then return code end
  if type(code) ~= "string" then return M.codes.UNKNOWN end
  return by_errno[code] or M.codes.IO
end

--- The answer to a request of an unknown type (docs/wire/cc-ipc.md#framing).
---@param kind integer
---@return nil, string, integer
function M.unknown_type(kind)
  return nil, ("%s: 0x%04x"):format(UNKNOWN_TYPE, kind), M.codes.INVALID_ARGUMENT
end

--- A frame format for `set_format` of a stream.
---@param max? integer bytes of a payload, 64 MiB by default
---@return vmctl.Format
function M.format_of(max)
  return core.format { type = 2, length = 4, max = max or M.MAX }
end

M.format = M.format_of()

return M
