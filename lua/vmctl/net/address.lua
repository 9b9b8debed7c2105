--- Addresses of streams: a string, a table or a function becomes one kind of object.
-- "tcp:HOST:PORT" (an IPv6 host in brackets), "unix:PATH" ("unix:@NAME" in the abstract namespace), "vsock:CID:PORT",
-- "hybrid:PATH:PORT" (Firecracker's handshake), "serial:PATH", "chardev:PATH", "exec:COMMAND", "fd:N"; and, made by a target's
-- `inside`, an address as the guest sees it. No function here yields but `dial`.

local fields_of = require "vmctl.net.address_fields"
local options = require "vmctl.base.options"
local targets = require "vmctl.base.target"
local texts = require "vmctl.net.address_text"

local M = {}

---@class vmctl.Address
---@field kind "tcp"|"unix"|"vsock"|"hybrid"|"serial"|"chardev"|"exec"|"fd"|"func"|"inside"
---@field network? string "tcp", "unix" or "vsock" where it is a plain socket
---@field host? string
---@field port? integer
---@field path? string
---@field cid? integer
---@field command? string
---@field argv? string[]
---@field fd? integer
---@field fn? fun(timeout: number): vmctl.Stream
---@field text? string the label of a function, of a target
---@field target? table a machine, an exec client
---@field at? vmctl.Address as that target sees it
local methods = {}
local mt = { __name = "vmctl.Address", __index = methods }

local function malformed(why) return nil, why, "EINVAL" end

local function complete_inside(fields)
  local at, why, code = M.parse(fields.at)
  if not at then return nil, why, code end
  fields.at = at
  if at.kind == "tcp" or at.kind == "unix" then return fields end
  return malformed(("%s cannot be reached inside a guest: tcp or unix expected"):format(at))
end

--- The address, or nil, message, code. `shown` is the text that the message names.
local function make(fields, shown)
  local complete = fields.kind == "inside" and complete_inside or fields_of.complete[fields.kind]
  local whole, why, code = complete(fields)
  if not whole then
    return nil, ("address %s: %s"):format(shown or fields.kind, why), code
  end
  return setmetatable(fields, mt)
end

--- A constructor that takes the named fields in this order. A malformed value is a mistake of the program and raises at
-- the caller's line; a path that is too long is not, and comes back as nil, message, code.
local function constructor(kind, first, second)
  return function(a, b)
    local fields = { kind = kind, [first] = a }
    if second then
      fields[second] = b
    end
    local address, message, code = make(fields)
    if code == "EINVAL" then
      error(message, 2)
    end
    return address, message, code
  end
end

--- A TCP address: a name, an IPv4 or an IPv6 address (without brackets), and a port (0 to listen on any).
---@type fun(host: string, port: integer): vmctl.Address
M.tcp = constructor("tcp", "host", "port")

--- The address of a Unix socket: at most 107 bytes; "@NAME" in the abstract namespace.
---@type fun(path: string): vmctl.Address|nil, string?, string?
M.unix = constructor("unix", "path")

--- A vsock address: a CID of 32 bits, "host", "local", "hypervisor" or "any", and a port of 32 bits or "any".
---@type fun(cid: integer|string, port: integer|string): vmctl.Address
M.vsock = constructor("vsock", "cid", "port")

--- A vsock port behind the Unix socket of a VMM, with the handshake of Firecracker and Cloud Hypervisor.
---@type fun(path: string, port: integer): vmctl.Address|nil, string?, string?
M.hybrid = constructor("hybrid", "path", "port")

--- A character device or a virtio port.
---@type fun(path: string): vmctl.Address|nil, string?, string?
M.serial = constructor("serial", "path")

--- The Unix socket that a VMM gives for a virtio-serial port.
---@type fun(path: string): vmctl.Address|nil, string?, string?
M.chardev = constructor("chardev", "path")

--- An open file descriptor. The stream that is dialled from it owns it.
---@type fun(fd: integer): vmctl.Address
M.fd = constructor("fd", "fd")

local exec_line, exec_words = constructor("exec", "command"), constructor("exec", "argv")

--- The input and output of a child process.
---@param command string|string[] a line for the shell, or a program and its arguments
---@return vmctl.Address
function M.exec(command)
  if type(command) == "table" then
    return exec_words(options.merge(command))
  end
  return exec_line(command)
end

--- A function that connects. It may wait; this call does not.
---@param fn fun(timeout: number): vmctl.Stream|nil, string?, string?
---@param label? string its text in logs and errors
---@return vmctl.Address
function M.func(fn, label)
  if type(fn) ~= "function" or label ~= nil and type(label) ~= "string" then
    error("address func: a function expected, and perhaps a label", 2)
  end
  return (make { kind = "func", fn = fn, text = label or "function" })
end

--- An address as a target sees it: a TCP port or a Unix socket of the guest, or one that the guest can reach. Users call
-- `target:inside(where)`.
---@param target table whose `connect(where, timeout)` gives a stream
---@param where string|table "unix:/run/docker.sock", "tcp:127.0.0.1:80"
---@return vmctl.Address|nil, string?, string? code EINVAL, ENAMETOOLONG
function M.inside(target, where)
  return make { kind = "inside", target = target, at = where, text = targets.label(target) }
end

local NUMBER = "integer|string"
local FIELDS = {
  tcp = { kind = "any", host = "string", port = NUMBER }, unix = { kind = "any", path = "string" },
  vsock = { kind = "any", cid = NUMBER, port = NUMBER }, hybrid = { kind = "any", path = "string", port = NUMBER },
  serial = { kind = "any", path = "string" }, chardev = { kind = "any", path = "string" },
  exec = { kind = "any", command = "string", argv = "table" }, fd = { kind = "any", fd = NUMBER },
  func = { kind = "any", fn = "function", label = "string" },
}

local function show(text)
  local shown = text:sub(1, 200):gsub("[%c\127]", "?")
  return ("'%s'"):format(#text > 200 and shown .. "..." or shown)
end

local function from_table(tbl)
  if not FIELDS[tbl.kind] then
    return malformed(("address of kind %s: no such kind"):format(show(tostring(tbl.kind))))
  end
  local fields = options.merge(options.check(tbl, FIELDS[tbl.kind], "address " .. tbl.kind, 4))
  if fields.kind == "func" then
    fields.text, fields.label = fields.label or "function", nil
  elseif fields.argv then
    fields.argv = options.merge(fields.argv)
  end
  return make(fields)
end

--- Makes an address from a string, a table of its fields (`{ kind = "tcp", host = "::1", port = 80 }`), a function or
-- an address. Raises at the caller's line for anything else and for unknown fields.
---@param where string|table|function|vmctl.Address
---@return vmctl.Address|nil
---@return string? message
---@return string? code "EINVAL", "ENAMETOOLONG"
function M.parse(where)
  local kind = type(where)
  if kind == "string" then
    local fields = texts.split(where)
    if not fields then return malformed(("address %s: %s expected"):format(show(where), texts.FORMS)) end
    return make(fields, show(where))
  elseif kind == "function" then
    return M.func(where)
  elseif kind ~= "table" then
    error(("address: string, table or function expected, got %s"):format(kind), 2)
  elseif getmetatable(where) == mt then
    return where
  end
  local address, message, code = from_table(where)
  return address, message, code
end

--- Tells if a value is an address object.
---@param value any
---@return boolean
function M.is_address(value)
  return getmetatable(value) == mt
end

--- The same address; `fn(stream)` is called for each stream that a dial makes for it.
---@param fn fun(stream: vmctl.Stream)
---@return vmctl.Address
function methods:observed(fn)
  local copy = options.merge(self)
  copy.on_stream = fn
  return setmetatable(copy, mt)
end

local dial -- the function of vmctl.net.dial, a module above this one, which sets it

--- Connects. Waits (see `vmctl.dial`).
---@param opts? number|{ timeout: number?, format?: vmctl.Format|table }
---@return vmctl.Stream|nil stream
---@return string? message
---@return string? code
function methods:dial(opts)
  return dial(self, opts)
end

-- Sets the function that dials addresses.
function M.set_dial(fn)
  dial = fn
end

--- The address as logs and errors show it. `parse` can read it, unless it is a function's, is inside a target or has
--- control bytes.
---@param style? "stereos" as StereOS' own tools write a vsock address: "vsock:CID=3,port=1024"
---@return string
function methods:label(style)
  if style == "stereos" and self.kind == "vsock" then
    return ("vsock:CID=%d,port=%d"):format(self.cid, self.port)
  end
  return (texts.join(self):gsub("[%c\127]", "?"))
end

function mt:__tostring()
  return methods.label(self)
end

return M
