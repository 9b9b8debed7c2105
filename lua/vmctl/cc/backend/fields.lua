--- The fields of each request about the inside of an instance (docs/wire/cc-ipc.md#message-table), and how a
--- handler for one is registered: all fields are read, then the instance or the handle is looked up, then it is called.
local decoder = require "vmctl.cc.decoder"
local failure = require "vmctl.cc.backend.failure"
local wire = require "vmctl.cc.wire"

local M = {}

-- path, text: a string; args: several. A path or an argument with a NUL byte is refused: the system would cut it there.
M.fields = {
  FS_OPEN = "path", FS_CREATE = "path", FS_OPEN_FILE = "path int32 uint32", FS_READ_FILE = "path",
  FS_WRITE_FILE = "path bytes uint32", FS_STAT = "path", FS_LSTAT = "path", FS_REMOVE = "path", FS_REMOVE_ALL = "path",
  FS_MKDIR = "path uint32", FS_MKDIR_ALL = "path uint32", FS_RENAME = "path path", FS_SYMLINK = "path path",
  FS_READLINK = "path", FS_READ_DIR = "path", FS_CHMOD = "path uint32", FS_CHOWN = "path int32 int32",
  FS_CHTIMES = "path int64 int64", FS_SNAPSHOT = "snapshot_options",

  FILE_CLOSE = "uint64", FILE_READ = "uint64 uint32", FILE_WRITE = "uint64 bytes", FILE_SEEK = "uint64 int64 int32",
  FILE_SYNC = "uint64", FILE_TRUNCATE = "uint64 int64", FILE_STAT = "uint64", FILE_NAME = "uint64",

  CMD_NEW = "path args", CMD_ENTRYPOINT = "args", CMD_FREE = "uint64", CMD_SET_DIR = "uint64 path",
  CMD_SET_ENV = "uint64 path path", CMD_GET_ENV = "uint64 string", CMD_ENVIRON = "uint64", CMD_START = "uint64",
  CMD_WAIT = "uint64", CMD_RUN = "uint64", CMD_OUTPUT = "uint64", CMD_COMBINED_OUTPUT = "uint64", CMD_EXIT_CODE = "uint64",
  CMD_KILL = "uint64",

  NET_LISTEN = "path path", LISTENER_ACCEPT = "uint64", LISTENER_CLOSE = "uint64", LISTENER_ADDR = "uint64",
  CONN_READ = "uint64 uint32", CONN_WRITE = "uint64 bytes", CONN_CLOSE = "uint64", CONN_LOCAL_ADDR = "uint64",
  CONN_REMOTE_ADDR = "uint64",

  SNAPSHOT_CACHE_KEY = "uint64", SNAPSHOT_PARENT = "uint64", SNAPSHOT_CLOSE = "uint64", SNAPSHOT_AS_SOURCE = "uint64",

  INSTANCE_CLOSE = "", INSTANCE_WAIT = "", INSTANCE_ID = "", INSTANCE_IS_RUNNING = "",
  INSTANCE_SET_CONSOLE = "int32 int32", INSTANCE_SET_NETWORK = "bool", INSTANCE_EXEC = "path args",
}

local function has_nul(value)
  for _, text in ipairs(type(value) == "table" and value or { value }) do
    if text:find("\0", 1, true) then return true end
  end
  return false
end

-- The reader of a field: returns the value, and true if the system may get it.
local function reader(name)
  if name == "path" or name == "args" then
    local method = name == "path" and "string" or "string_slice"
    return function(d)
      local value = d[method](d)
      return value, value ~= nil and has_nul(value)
    end
  end
  return function(d) return (d[name](d)) end
end

local function nothing() end

-- The readers of up to three fields.
local function readers(kind)
  local list = {}
  for name in M.fields[kind]:gmatch "%S+" do list[#list + 1] = reader(name) end
  return list[1] or nothing, list[2] or nothing, list[3] or nothing
end

--- Reads a request's fields.
---@param kind string a name of vmctl.cc.types
---@return fun(d: vmctl.CcDecoder): true|nil, ... true and the fields; or nil, message, code
function M.decode(kind)
  local first, second, third = readers(kind)
  return function(d)
    local a, odd_a = first(d)
    local b, odd_b = second(d)
    local c, odd_c = third(d)
    if d:failed() then return nil, decoder.SHORT, wire.codes.UNKNOWN end
    if odd_a or odd_b or odd_c then return failure.argument "a NUL byte in a path or an argument" end
    return true, a, b, c
  end
end

--- Registers a handler.
---@param router vmctl.CcRouter
---@param kind string
---@param guard fun(first: any): any|nil, string?, integer? maps the first field (a handle to its object), or
-- refuses
---@param fn fun(first: any, second: any, third: any): ... as a router calls it; may wait
function M.on(router, kind, guard, fn)
  local decode = M.decode(kind)
  router:handle(wire.types[kind], function(d)
    local ok, a, b, c = decode(d)
    if not ok then return nil, a, b end
    local err, code
    a, err, code = guard(a)
    if a == nil then return nil, err, code end
    return fn(a, b, c)
  end)
end

return M
