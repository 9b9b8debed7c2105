--- Descriptions of services: which messages a method takes and gives, and which sides stream. Messages of a described method
--- are tables; those of others are bytes.
local errors = require "vmctl.errors"
local nerdbox = require "vmctl.ttrpc.nerdbox_services"
local options = require "vmctl.base.options"
local protobuf = require "vmctl.protobuf"

local M = {}

---@class vmctl.TtrpcService
---@field name string with its package
---@field methods table<string, table>

local mt = { __name = "vmctl.TtrpcService" }

local known_service = { name = "string", methods = "table" }
local known_method = { request = "string", response = "string", client_stream = "boolean", server_stream = "boolean" }

local RAW = {} -- of a method without description

--- Describes a service.
---@param description { name: string, methods: table<string, table> } name: with its package; methods: { request =, response = }
-- (full names of messages; without one the message is bytes), client_stream, server_stream
---@return vmctl.TtrpcService
function M.new(description)
  options.check(description, known_service, "ttrpc.service")
  if not description.name or not description.methods then error("ttrpc.service: 'name' and 'methods' expected", 2) end
  local methods = {}
  for name, method in pairs(description.methods) do
    methods[name] = options.merge(options.check(method, known_method, "ttrpc.service: method " .. tostring(name)))
  end
  return setmetatable({ name = description.name, methods = methods }, mt)
end

--- Describes all services of a descriptor set or a .proto, and adds its messages, as protobuf.load does. Waits for the disk, and
--- for protoc.
---@param path string
---@param opts? { include: string[]?, timeout: number? } see protobuf.load
---@return vmctl.TtrpcService[]|nil services in the file's order, for the option `services` and for a server's handlers; each is also
--- there under its name, with its package: services["spec.Echo"]
---@return string? message, string? code as protobuf.services
function M.load(path, opts)
  local found, err, code = protobuf.services(path, opts)
  if not found then return nil, err, code end
  local services = {}
  for i, each in ipairs(found) do
    services[i] = M.new(each)
    services[each.name] = services[i]
  end
  return services
end

--- Tells if a value is a description.
---@return boolean
function M.is_service(value)
  return getmetatable(value) == mt
end

local built_in = {}
for name, methods in pairs(nerdbox) do built_in[name] = M.new { name = name, methods = methods } end

--- A table of descriptions by name: those that are built in, and the given ones.
---@param list? vmctl.TtrpcService[]
---@return table<string, vmctl.TtrpcService>
function M.table_of(list, where)
  local services = setmetatable({}, { __index = built_in })
  for _, service in ipairs(list or {}) do
    if not M.is_service(service) then error(where .. ": option 'services': a list of ttrpc.service{} expected", 4) end
    services[service.name] = service
  end
  return services
end

--- The description of a method; an empty one if its service is not described; false if the service is described without it.
---@return table|false
function M.method(services, service, method)
  local described = services[service]
  if not described then return RAW end
  return described.methods[method] or false
end

--- A message as bytes. Bytes go through as they are.
---@param type_name? string
---@param message table|string|nil nil: the empty message
---@return string|nil, string?, string? code EINVAL, ENOTSUP
function M.encode(type_name, message)
  if message == nil then return "" end
  if type(message) == "string" then return message end
  if not type_name then return errors.fail("EINVAL", "a message without a type has to be bytes, got a %s", type(message)) end
  if type(message) ~= "table" then return errors.fail("EINVAL", "%s: a table expected, got a %s", type_name, type(message)) end
  return protobuf.encode(type_name, message)
end

--- A message as a table, or as its bytes where it has no type.
---@return table|string|nil, string?, string? code EPROTO, ENOTSUP
function M.decode(type_name, bytes)
  if not type_name then return bytes end
  return protobuf.decode(type_name, bytes)
end

return M
