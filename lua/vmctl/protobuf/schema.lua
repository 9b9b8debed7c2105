--- Descriptor sets: protoc's descriptions of .proto files (google.protobuf.FileDescriptorSet), as lists of messages, enums and services
--- with full names. A set is checked here as a whole, before it is used.
local errors = require "vmctl.errors"

local M = {}

--- Bytes of a set.
M.LARGEST = 8 << 20

local MOST_TYPES, MOST_FIELDS = 65535, 16384
local LAST_NUMBER, RESERVED_FROM, RESERVED_TO = (1 << 29) - 1, 19000, 19999

-- By protoc's numbers of them.
local TYPES = {
  "double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "group", "message", "bytes", "uint32",
  "enum", "sfixed32", "sfixed64", "sint32", "sint64",
}
local LABELS = { "optional", "required", "repeated" }
local NOT_PACKED = { string = true, bytes = true, message = true }

-- A refusal is an error with this class, caught in `parse`.
local refusal = {}

local function refuse(...) error(setmetatable({ text = string.format(...) }, refusal), 0) end

-- Checks a name without dots. `where`: the thing that has it, for the message.
local function check_name(name, what, where)
  if not name or not name:find "^[%a_][%w_]*$" then refuse("%s: %s has no proper name", where, what) end
  return name
end

local function check_unique(seen, key, format, ...)
  if seen[key] then refuse(format, ...) end
  seen[key] = true
end

local function add_type(set, full, type)
  if set.types[full] then refuse("%s is there twice", full) end
  set.count = set.count + 1
  if set.count > MOST_TYPES then refuse("more than %d types", MOST_TYPES) end
  set.types[full] = type
end

local function add_enum(set, prefix, enum, where)
  local full = prefix .. check_name(enum.name, "an enum", where)
  add_type(set, full, "enum")
  local values, seen = {}, {}
  if #enum.value > MOST_FIELDS then refuse("%s: more than %d values", full, MOST_FIELDS) end
  for i, value in ipairs(enum.value) do
    local name = check_name(value.name, "a value", full)
    check_unique(seen, name, "%s: two values are named %s", full, name)
    values[i] = { name = name, number = value.number or 0 }
  end
  table.insert(set.enums, { name = full, values = values })
end

local function add_message(set, prefix, message, syntax, where)
  local full = prefix .. check_name(message.name, "a message", where)
  add_type(set, full, "message")
  if #message.field > MOST_FIELDS then refuse("%s: more than %d fields", full, MOST_FIELDS) end
  table.insert(set.raw, { name = full, message = message, syntax = syntax })
  for _, enum in ipairs(message.enum_type) do add_enum(set, full .. ".", enum, full) end
  for _, nested in ipairs(message.nested_type) do add_message(set, full .. ".", nested, syntax, full) end
end

local function check_number(number, what)
  if not number or number < 1 or number > LAST_NUMBER or number >= RESERVED_FROM and number <= RESERVED_TO then
    refuse("%s: no field can have the number %s", what, number or "0")
  end
  return number
end

-- The full name that a field or a method refers to; protoc writes them with a dot in front.
local function referred(set, name, kind, what)
  local full = name and name:match "^%.(.+)$"
  if not full then refuse("%s: '%s' is no full name of a type", what, name or "") end
  local known = set.types[full] or set.is_known(full) and "message"
  if not known then refuse("%s: the set lacks %s (protoc --include_imports takes in what is imported)", what, full) end
  if known ~= kind then refuse("%s: %s is no %s", what, full, kind) end
  return full
end

local function label_of(field, syntax, what)
  local label = LABELS[field.label or 0] or refuse("%s: there is no label %d", what, field.label or 0)
  if syntax == "proto2" or label == "repeated" or field.proto3_optional and label == "optional" then return label end
  if label == "required" then refuse("%s: proto3 knows nothing required", what) end
  return "none"
end

-- The number of the field's oneof, from 1; none for the synthetic one of an optional field of proto3.
local function oneof_of(raw, field, label, what)
  local index = field.oneof_index
  if not index or field.proto3_optional then return nil end
  if index < 0 or index >= #raw.message.oneof_decl then refuse("%s: there is no oneof %d", what, index) end
  if label == "repeated" or label == "required" then refuse("%s: a field of a oneof that is %s", what, label) end
  return index + 1
end

local function is_packed(field, type, label, syntax)
  if label ~= "repeated" or NOT_PACKED[type] then return false end
  local asked = field.options and field.options.packed
  if asked == nil then return syntax == "proto3" end
  return asked
end

local function make_field(set, raw, field)
  local name = check_name(field.name, "a field", raw.name)
  local what = raw.name .. "." .. name
  local type = TYPES[field.type or 0] or refuse("%s: there is no type %d", what, field.type or 0)
  if type == "group" then refuse("%s: groups are not supported", what) end
  local label = label_of(field, raw.syntax, what)
  return {
    name = name, number = check_number(field.number, what), type = type, label = label,
    packed = is_packed(field, type, label, raw.syntax), oneof = oneof_of(raw, field, label, what),
    of = (type == "message" or type == "enum") and referred(set, field.type_name, type, what) or nil,
  }
end

-- Numbers the oneofs that have fields; those that have none need no room.
local function count_oneofs(fields)
  local numbers, count = {}, 0
  for _, field in ipairs(fields) do
    local oneof = field.oneof
    if oneof and not numbers[oneof] then
      count = count + 1
      numbers[oneof] = count
    end
    field.oneof = oneof and numbers[oneof]
  end
  return count
end

local function make_message(set, raw)
  local fields, names, numbers = {}, {}, {}
  for i, field in ipairs(raw.message.field) do
    local made = make_field(set, raw, field)
    check_unique(names, made.name, "%s: two fields are named %s", raw.name, made.name)
    check_unique(numbers, made.number, "%s: two fields have the number %d", raw.name, made.number)
    fields[i] = made
  end
  table.sort(fields, function(a, b) return a.number < b.number end)
  return { name = raw.name, fields = fields, oneofs = count_oneofs(fields) }
end

local function make_service(set, prefix, service, where)
  local full = prefix .. check_name(service.name, "a service", where)
  if set.types[full] then refuse("%s is there twice", full) end
  set.types[full] = "service"
  local methods = {}
  for _, method in ipairs(service.method) do
    local name = check_name(method.name, "a method", full)
    local what = full .. "." .. name
    if methods[name] then refuse("%s: two methods are named %s", full, name) end
    methods[name] = {
      request = referred(set, method.input_type, "message", what),
      response = referred(set, method.output_type, "message", what),
      client_stream = method.client_streaming or false, server_stream = method.server_streaming or false,
    }
  end
  return { name = full, methods = methods }
end

local function prefix_of(file, where)
  local package = file.package or ""
  if package == "" then return "" end
  for part in (package .. "."):gmatch "([^.]*)%." do check_name(part, "its package", where) end
  return package .. "."
end

local function syntax_of(file, where)
  local syntax = file.syntax or ""
  if syntax == "" then return "proto2" end
  if syntax ~= "proto2" and syntax ~= "proto3" then refuse("%s: the syntax '%s' is not supported", where, syntax) end
  return syntax
end

local function collect(set, files)
  for i, file in ipairs(files) do
    local where = file.name or ("file %d"):format(i)
    local prefix, syntax = prefix_of(file, where), syntax_of(file, where)
    for _, enum in ipairs(file.enum_type) do add_enum(set, prefix, enum, where) end
    for _, message in ipairs(file.message_type) do add_message(set, prefix, message, syntax, where) end
  end
end

local function make(files, is_known)
  local set = { types = {}, count = 0, enums = {}, raw = {}, is_known = is_known }
  collect(set, files)
  local made = { messages = {}, enums = set.enums, services = {} }
  for i, raw in ipairs(set.raw) do made.messages[i] = make_message(set, raw) end
  for i, file in ipairs(files) do
    local where = file.name or ("file %d"):format(i)
    for _, service in ipairs(file.service) do
      table.insert(made.services, make_service(set, prefix_of(file, where), service, where))
    end
  end
  return made
end

--- The contents of a decoded set. Does not wait.
---@param set table a vmctl.schema.FileSet
---@param is_known fun(name: string): boolean is a message known that the set refers to, and lacks?
---@return { messages: table[], enums: table[], services: table[] }|nil schema, string? message, string? code EINVAL
function M.parse(set, is_known)
  local fine, made = pcall(make, set.file, is_known)
  if fine then return made end
  if getmetatable(made) ~= refusal then error(made, 0) end
  return errors.fail("EINVAL", "%s", made.text)
end

return M
