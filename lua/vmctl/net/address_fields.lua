--- The fields of addresses: what each kind must have, with numbers and names converted.
local vsock = require "vmctl.net.vsock_numbers"

local M = {}

local SOCKET_PATH = 107                 -- bytes: sun_path has 108, the last is NUL (or the first, of an abstract name)
local DEVICE_PATH = 4095                -- PATH_MAX without its NUL
local TCP_PORT, U32, FD = 65535, 0xffffffff, 0x7fffffff
local CIDS = { any = vsock.CID_ANY, hypervisor = vsock.CID_HYPERVISOR, ["local"] = vsock.CID_LOCAL, host = vsock.CID_HOST }
local PORTS = { any = vsock.PORT_ANY }

local function is_text(value)
  return type(value) == "string" and value ~= "" and not value:find("\0", 1, true)
end

--- An integer from 0 to `most` from a number or from decimal digits, or a name's value; else nil.
local function integer(value, most, names)
  if type(value) == "string" then
    if names and names[value] then
      return names[value]
    elseif value ~= "0" and not value:find "^[1-9]%d*$" then    -- "010" is 8 for some and 10 for others
      return nil
    end
    value = tonumber(value)
  end
  value = math.tointeger(value)
  return value and value >= 0 and value <= most and value or nil
end

local function is_host(host)
  if not is_text(host) or #host > 253 then
    return false
  elseif host:find(":", 1, true) then
    return host:find "^[%x:.]+$" ~= nil and host:find ":.*:" ~= nil
      or host:find "^[%x:.]+%%[%w._-]+$" ~= nil                 -- fe80::1%eth0
  end
  return host:find "^[%w._-]+$" ~= nil
end

--- One function per kind: converts numbers and names. Returns the fields; or nil, a reason and a code. None waits.
---@type table<string, fun(fields: table): table|nil, string?, string?>
M.complete = {}
local complete = M.complete

local function malformed(why)
  return nil, why, "EINVAL"
end

local function fields_if(ok, fields, why)
  if ok then
    return fields
  end
  return malformed(why)
end

local function check_path(fields, longest)
  if not is_text(fields.path) or fields.path == "@" then
    return malformed "a path expected, without NUL bytes"
  end
  local abstract = fields.path:sub(1, 1) == "@" and 1 or 0      -- '@' takes the room of the last NUL
  if #fields.path > longest + abstract then
    return nil, ("the path has %d bytes, at most %d are possible"):format(#fields.path, longest), "ENAMETOOLONG"
  end
  return fields
end

function complete.tcp(fields)
  if not is_host(fields.host) then
    return malformed "a host expected: a name, an IPv4 address or an IPv6 address"
  end
  fields.port, fields.network = integer(fields.port, TCP_PORT), "tcp"
  return fields_if(fields.port, fields, "a port from 0 to 65535 expected, without leading zeros")
end

function complete.vsock(fields)
  fields.cid, fields.port = integer(fields.cid, U32, CIDS), integer(fields.port, U32, PORTS)
  fields.network = "vsock"
  if not fields.cid then
    return malformed "a CID expected: a number of 32 bits, host, local, hypervisor or any"
  end
  return fields_if(fields.port, fields, "a port expected: a number of 32 bits without leading zeros, or any")
end

function complete.unix(fields)
  fields.network = "unix"
  return check_path(fields, SOCKET_PATH)
end

function complete.chardev(fields)
  return check_path(fields, SOCKET_PATH)
end

function complete.serial(fields)
  return check_path(fields, DEVICE_PATH)
end

function complete.hybrid(fields)
  fields.port = integer(fields.port, U32)
  if not fields.port then
    return malformed "a port expected: a number of 32 bits without leading zeros"
  end
  return check_path(fields, SOCKET_PATH)
end

function complete.exec(fields)
  if fields.argv then
    for _, word in ipairs(fields.argv) do
      if type(word) ~= "string" or word:find("\0", 1, true) then
        return malformed "a command of strings without NUL bytes expected"
      end
    end
    fields.command = is_text(fields.argv[1]) and table.concat(fields.argv, " ") or nil
  end
  return fields_if(is_text(fields.command), fields, "a command expected, without NUL bytes")
end

function complete.fd(fields)
  fields.fd = integer(fields.fd, FD)
  return fields_if(fields.fd, fields, "the number of a file descriptor expected")
end

function complete.func(fields)
  return fields_if(type(fields.fn) == "function", fields, "a function expected")
end

return M
