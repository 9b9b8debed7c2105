--- Protobuf messages as Lua tables. The descriptors come from protoc-c, or from a descriptor set while the program runs, and the
-- wire format from protobuf-c, all inside vmctl/pb.so, which is built where protobuf-c is installed; without it each call here
-- returns "ENOTSUP".
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
-- of their numbers; only −0.0 of a field without presence stands behind the others. A number that a float cannot hold is refused.
-- protobuf-c itself has two limits: a message that was sent in parts is merged, except that numbers and
-- booleans are those of the last part, even if it lacks them; and protoc-c before 1.5 refuses `optional` in proto3.
local errors = require "vmctl.errors"
local option_tables = require "vmctl.base.options"

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

--- Tells if a message is known.
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

local known_options = { symbol = "string", include = "table", timeout = "number>0" }

local COMPILE_TIMEOUT = 60 -- seconds

-- The messages of a set without known ones of google.protobuf: sets have descriptor.proto and others in their protoc's form, which may be
-- older or newer.
local function to_be_made(messages)
  local list = {}
  for _, message in ipairs(messages) do
    if not (message.name:find "^google%.protobuf%." and core.exists(message.name)) then list[#list + 1] = message end
  end
  return list
end

-- Makes the messages of a set. Returns the schema.
local function define(bytes, what)
  local found_schema, schema = pcall(require, "vmctl.protobuf.schema") -- not in the agent, whose messages are all built in
  if not found_schema then return errors.fail("ENOTSUP", "load %s: this program knows its own messages alone", what) end
  if #bytes > schema.LARGEST then return errors.fail("ETOOBIG", "load %s: more than %d bytes", what, schema.LARGEST) end
  local set, broken = core.decode("vmctl.schema.FileSet", bytes)
  if not set then return errors.fail("EINVAL", "load %s: no descriptor set: %s", what, broken) end
  local made, err, code = schema.parse(set, core.exists)
  if made then
    local added
    added, err, code = core.define(to_be_made(made.messages), made.enums)
    if added then return made end
  end
  return errors.fail(code, "load %s: %s", what, err)
end

-- The set that a file holds, or that protoc makes of a .proto; false: it is a shared object.
local function read_set(path, opts)
  local found_source, source = pcall(require, "vmctl.protobuf.source")
  if not found_source then return errors.fail("ENOTSUP", "this program knows its own messages alone") end
  if path:find "%.proto$" then return source.compile(path, opts.include, opts.timeout or COMPILE_TIMEOUT) end
  local is_library = not path:find("/", 1, true) and path:find "%.so%f[%.%z]" -- looked for in the system's folders
  if is_library or source.is_object(path) then return false end
  return source.read(path)
end

local function load_file(path, opts)
  local bytes, err, code = read_set(path, opts)
  if bytes then return define(bytes, path) end
  if bytes == nil then return errors.fail(code, "load %s: %s", path, err) end
  return false
end

local function names_of(list)
  local names = {}
  for i, each in ipairs(list) do names[i] = each.name end
  return names
end

local function options_of(options, call)
  if type(options) == "string" then return { symbol = options } end
  local opts = option_tables.check(options, known_options, "protobuf." .. call, 4)
  for _, folder in ipairs(opts.include or {}) do
    if type(folder) ~= "string" then error(("protobuf.%s: option 'include': a list of paths expected"):format(call), 3) end
  end
  return opts
end

--- Adds your own messages, known in this Lua state only, from one of three:
--
--   * a descriptor set, as `protoc --include_imports --descriptor_set_out=agent.pb agent.proto` writes it: no compiler is needed.
--     proto2 and proto3 are understood; extensions and defaults of proto2 are left out, groups and editions refused;
--   * a .proto, which protoc (protobuf-compiler; protoc-c before 1.6 will do) makes a set of;
--   * a shared object of protoc-c's output, with a list of the messages as tools/pb-messages prints it (examples/protobuf.lua shows
--     the commands). Its code is trusted like this program's own, and stays loaded.
--
-- The bytes of a set are not trusted: mistakes in them are reported. Messages of google.protobuf that are known already stay as
-- they are, also if a set has a later form of them. Waits for the disk, and for protoc.
---@param path string ending in .proto: to be compiled; a shared object's without a slash is searched in the system's library folders
---@param options? string|{ symbol: string?, include: string[]?, timeout: number? } symbol (or the string alone): a shared object's
-- list ("vmctl_messages"); include: folders for protoc's imports, one of which holds the file (its own folder alone); timeout: the
-- seconds for which protoc may be silent (60)
---@return string[]|nil names of the messages, string? message, string? code ENOENT (it cannot be loaded, or there is no protoc),
-- EINVAL (a path with a NUL byte, a set that is none or breaks its rules, no such list, or another message of the same name is known
-- already: then nothing was added), ETOOBIG (a set above 8 MiB), ENOTSUP (in a static program, as the agent is), ETIMEDOUT
function M.load(path, options)
  check(path, "string", "load", "path")
  local opts = options_of(options, "load")
  if not core then return errors.fail("ENOTSUP", "load %s: %s", path, MISSING) end
  local made, err, code = load_file(path, opts)
  if made then return names_of(made.messages) end
  if made == nil then return nil, err, code end
  return core.load(path, opts.symbol)
end

--- Adds the messages of a descriptor set in a string, as `load` does. Does not wait.
---@param bytes string
---@return string[]|nil names, string? message, string? code EINVAL, ETOOBIG, ENOTSUP
function M.load_set(bytes)
  check(bytes, "string", "load_set", "bytes")
  if not core then return errors.fail("ENOTSUP", "load a descriptor set: %s", MISSING) end
  local made, err, code = define(bytes, "a descriptor set")
  if not made then return nil, err, code end
  return names_of(made.messages)
end

---@class vmctl.ProtobufService
---@field name string with its package
---@field methods table<string, { request: string, response: string, client_stream: boolean, server_stream: boolean }>

--- The services of a descriptor set or a .proto, whose messages are added as `load` does. Waits for the disk, and for protoc.
---@param path string
---@param options? { include: string[]?, timeout: number? }
---@return vmctl.ProtobufService[]|nil services, string? message, string? code as `load`; EINVAL also of a shared object
function M.services(path, options)
  check(path, "string", "services", "path")
  local opts = options_of(options, "services")
  if not core then return errors.fail("ENOTSUP", "load %s: %s", path, MISSING) end
  local made, err, code = load_file(path, opts)
  if made then return made.services end
  if made == nil then return nil, err, code end
  return errors.fail("EINVAL", "load %s: a shared object says nothing of services", path)
end

return M
