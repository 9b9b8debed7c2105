--- Addresses: strings or tables that say where a stream leads to.
local errors = require "vmctl.errors"

local M = {}

local methods = {}
local mt = { __name = "vmctl.Address", __index = methods }

local UNIX_MAX = 107
local CIDS = { any = 0xffffffff, hypervisor = 0, ["local"] = 1, host = 2 }

local function make(fields) return setmetatable(fields, mt) end

local function number(text, most)
  local n = type(text) == "number" and math.tointeger(text) or tostring(text):match "^%d+$" and math.tointeger(tonumber(text))
  return n and n >= 0 and n <= most and n or nil
end

local function path_fits(path, most)
  if path == "" then return errors.fail("EINVAL", "an empty path") end
  if #path > most then
    return errors.fail("ENAMETOOLONG", "a path of %d bytes, a Unix socket has room for %d: %s", #path, most, path)
  end
  if path:find("\0", 2, true) then return errors.fail("EINVAL", "a path with a NUL byte") end
  return true
end

local build = {}

function build.tcp(host, port)
  local n = number(port, 65535)
  if not n then return errors.fail("EINVAL", "tcp:%s:%s: a port from 0 to 65535 expected", host, tostring(port)) end
  if host == "" then return errors.fail("EINVAL", "tcp: a host expected") end
  return make { kind = "tcp", network = "tcp", host = host, port = n }
end

function build.vsock(cid, port)
  local c, n = CIDS[cid] or number(cid, 0xffffffff), port == "any" and 0xffffffff or number(port, 0xffffffff)
  if not c or not n then
    return errors.fail("EINVAL", "vsock:%s:%s: a CID and a port of 32 bits expected", tostring(cid), tostring(port))
  end
  return make { kind = "vsock", network = "vsock", cid = c, port = n }
end

function build.unix(path)
  local ok, err, code = path_fits(path, UNIX_MAX)
  if not ok then return nil, "unix:" .. path .. ": " .. err, code end
  return make { kind = "unix", network = "unix", path = path }
end

function build.chardev(path)
  local ok, err, code = path_fits(path, UNIX_MAX)
  if not ok then return nil, "chardev:" .. path .. ": " .. err, code end
  return make { kind = "chardev", path = path }
end

function build.serial(path)
  if path == "" then return errors.fail("EINVAL", "serial: a path expected") end
  return make { kind = "serial", path = path }
end

function build.hybrid(path, port)
  local n = number(port, 0xffffffff)
  if not n then return errors.fail("EINVAL", "hybrid:%s:%s: a port of 32 bits expected", path, tostring(port)) end
  local ok, err, code = path_fits(path, UNIX_MAX)
  if not ok then return nil, "hybrid:" .. path .. ": " .. err, code end
  return make { kind = "hybrid", path = path, port = n }
end

function build.exec(command)
  if type(command) == "table" then return make { kind = "exec", argv = command, command = table.concat(command, " ") } end
  if command == "" then return errors.fail("EINVAL", "exec: a command expected") end
  return make { kind = "exec", command = command }
end

function build.fd(fd)
  local n = number(fd, 0x7fffffff)
  if not n then return errors.fail("EINVAL", "fd:%s: a number expected", tostring(fd)) end
  return make { kind = "fd", fd = n }
end

function build.func(fn, label)
  return make { kind = "func", fn = fn, text = label or "function" }
end

local function checked(name)
  return function(...)
    local a, err = build[name](...)
    if not a then error("address." .. name .. ": " .. err, 2) end
    return a
  end
end

M.tcp, M.vsock, M.unix, M.hybrid = checked "tcp", checked "vsock", checked "unix", checked "hybrid"
M.serial, M.chardev, M.exec, M.fd, M.func = checked "serial", checked "chardev", checked "exec", checked "fd", checked "func"

local parsers = {
  tcp = function(rest)
    local host, port = rest:match "^%[([%x:.%%%w]+)%]:(%d+)$"
    if not host then host, port = rest:match "^([^:]+):(%d+)$" end
    if not host then return errors.fail("EINVAL", "tcp:%s: HOST:PORT expected", rest) end
    return build.tcp(host, port)
  end,
  vsock = function(rest)
    local cid, port = rest:match "^(%w+):(%w+)$"
    if not cid then return errors.fail("EINVAL", "vsock:%s: CID:PORT expected", rest) end
    return build.vsock(cid, port)
  end,
  hybrid = function(rest)
    local path, port = rest:match "^(.+):(%d+)$"
    if not path then return errors.fail("EINVAL", "hybrid:%s: PATH:PORT expected", rest) end
    return build.hybrid(path, port)
  end,
  unix = build.unix, chardev = build.chardev, serial = build.serial, exec = build.exec, fd = build.fd,
}

--- An address from a string, a table, a function or an address.
---@param where string|table|function
---@return vmctl.Address|nil, string?, string? EINVAL, ENAMETOOLONG
function M.parse(where)
  if getmetatable(where) == mt then return where end
  if type(where) == "function" then return build.func(where) end
  if type(where) == "table" then
    local kind = where.kind
    if not build[kind] then return errors.fail("EINVAL", "an address of unknown kind '%s'", tostring(kind)) end
    if kind == "tcp" then return build.tcp(where.host, where.port) end
    if kind == "vsock" then return build.vsock(where.cid, where.port) end
    if kind == "hybrid" then return build.hybrid(where.path, where.port) end
    return build[kind](where.path or where.argv or where.command or where.fd or where.fn, where.label)
  end
  if type(where) ~= "string" then error("an address expected, got " .. type(where), 3) end
  local kind, rest = where:match "^(%a+):(.*)$"
  if not kind or not parsers[kind] then
    return errors.fail("EINVAL", "'%s' is no address: tcp:, unix:, vsock:, hybrid:, serial:, chardev:, exec: or fd: expected", where)
  end
  return parsers[kind](rest)
end

--- Connects. See vmctl.dial.
function methods:dial(opts)
  return require("vmctl.dial").dial(self, opts)
end

function mt:__tostring()
  local kind = self.kind
  if kind == "tcp" then return (self.host:find ":" and "tcp:[%s]:%d" or "tcp:%s:%d"):format(self.host, self.port) end
  if kind == "vsock" then return ("vsock:%d:%d"):format(self.cid, self.port) end
  if kind == "hybrid" then return ("hybrid:%s:%d"):format(self.path, self.port) end
  if kind == "func" then return self.text end
  return kind .. ":" .. tostring(self.path or self.command or self.fd)
end

return M
