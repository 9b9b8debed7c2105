--- Protobuf messages as Lua tables. The descriptors come from protoc-c and the wire format from protobuf-c, both inside
-- vmctl/pb.so, which is built where protobuf-c is installed; without it each call here returns "ENOTSUP".
--
-- A table has the fields of the .proto file by their names:
--
--   int32, sint32, sfixed32, uint32, fixed32, int64, sint64, sfixed64   integer; on encode also a float without fraction
--   uint64, fixed64                 integer of the same 64 bits: negative from 2^63 on (use math.ult and "%x")
--   float, double, bool             number, boolean
--   string                          string; UTF-8 is checked both ways, and encode refuses a zero byte in it
--   bytes                           string
--   enum                            integer, also one that has no name; encode takes a name as well
--   message                         table
--   repeated X                      list
--   map<K, V>                       table from key to value; encoded in the order of the keys
--
-- After a decode, a field without presence that was not sent is 0, "" or false, a repeated one or a map is an empty table, and a
-- message, a field declared `optional`, or a member of a oneof is nil. Fields that the .proto does not know are skipped, and groups
-- are refused. On encode, absent and zero fields are left out; an unknown field, or two members of one
-- oneof, are refused. Messages nest at most 100 deep. Equal tables give equal bytes, fields in the order
-- of their numbers. protobuf-c itself has two limits: a message that was sent in parts is merged, except that numbers and
-- booleans are those of the last part, even if it lacks them; and protoc-c before 1.5 refuses `optional` in proto3.
local errors = require "vmctl.errors"

local M = {}

local MISSING = "no protobuf here: install libprotobuf-c-dev and protobuf-c-compiler and make"

local found, core = pcall(require, "vmctl.pb")
if not found then core = nil end

local function check(value, wanted, call, what)
  if type(value) ~= wanted then
    error(("protobuf.%s: %s: %s expected, got %s"):format(call, what, wanted, type(value)), 3)
  end
end

--- True if vmctl/pb.so could be loaded.
---@type boolean
M.available = core ~= nil

--- The bytes of a message. Does not wait.
---@param name string the message's full name: "ttrpc.Request"
---@param fields table
---@param slot? string a field of bytes that gets another message
---@param inner? string that message's full name
---@param inner_fields? table
---@return string|nil bytes, string? message, string? code EINVAL (no such message, or a field that does not fit, which
--- the text names), ENOTSUP
function M.encode(name, fields, slot, inner, inner_fields)
  if type(name) ~= "string" then check(name, "string", "encode", "name") end
  if type(fields) ~= "table" then check(fields, "table", "encode", "fields") end
  if not core then return errors.fail("ENOTSUP", "encode %s: %s", name, MISSING) end
  return core.encode(name, fields, slot, inner, inner_fields)
end

--- The fields of a message. Its memory is bounded by about thirty times the bytes. Does not wait.
---@param name string the message's full name
---@param bytes string
---@param slot? string a field of bytes that holds another message, and becomes a table, unless it is empty
---@param inner? string that message's full name
---@return table|nil fields, string? message, string? code EINVAL (no such message), EPROTO (malformed bytes, a text
--- that is not UTF-8, messages nested too deep, or far too many of them), ENOTSUP
function M.decode(name, bytes, slot, inner)
  if type(name) ~= "string" then check(name, "string", "decode", "name") end
  if type(bytes) ~= "string" then check(bytes, "string", "decode", "bytes") end
  if not core then return errors.fail("ENOTSUP", "decode %s: %s", name, MISSING) end
  return core.decode(name, bytes, slot, inner)
end

--- Says if a message is known.
---@param name string its full name
---@return boolean|nil exists, string? message, string? code ENOTSUP
function M.exists(name)
  check(name, "string", "exists", "name")
  if not core then return errors.fail("ENOTSUP", "look for %s: %s", name, MISSING) end
  return core.exists(name)
end

--- The full names of all messages that are known, sorted.
---@return string[]|nil names, string? message, string? code ENOTSUP
function M.names()
  if not core then return errors.fail("ENOTSUP", "list messages: %s", MISSING) end
  local names = core.names()
  table.sort(names)
  return names
end

---@class vmctl.ProtobufField
---@field name string
---@field type string as in the .proto: "int32", "string" ...; "enum", "message"
---@field number integer
---@field repeated boolean
---@field map boolean it is also repeated, and its message holds the types of `key` and `value`
---@field oneof boolean it belongs to a oneof, or was declared `optional` in a way that needs one
---@field message? string the full name of its message
---@field enum? string the full name of its enum
---@field values? table<string, integer> the enum's values

--- The fields of a message, in the order of the numbers.
---@param name string its full name
---@return vmctl.ProtobufField[]|nil fields, string? message, string? code EINVAL (no such message), ENOTSUP
function M.fields(name)
  check(name, "string", "fields", "name")
  if not core then return errors.fail("ENOTSUP", "fields of %s: %s", name, MISSING) end
  return core.fields(name)
end

--- Adds your own messages: a shared object of protoc-c's output, with a list of the messages as tools/pb-messages prints it
-- (examples/protobuf.lua shows the commands). Its code is trusted like this program's own, and stays loaded. The messages
-- are known in this Lua state only. Waits only for the disk.
---@param path string with a slash in it; other names are searched in the system's library folders
---@param symbol? string the list's name ("vmctl_messages")
---@return string[]|nil names of the added messages, string? message, string? code ENOENT (it cannot be loaded), EINVAL (no such
--- list, or another message of the same name is known already: then nothing was added), ENOTSUP (a static program, as the
--- agent is)
function M.load(path, symbol)
  check(path, "string", "load", "path")
  if symbol ~= nil then check(symbol, "string", "load", "symbol") end
  if not core then return errors.fail("ENOTSUP", "load %s: %s", path, MISSING) end
  return core.load(path, symbol)
end

return M
