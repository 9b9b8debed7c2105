--- Addresses as texts, such as "tcp:HOST:PORT": how a text splits into fields, and how fields become a text.
local vsock = require "vmctl.net.vsock_numbers"

local M = {}

-- Functions that split the part after "KIND:" into fields.
local split = {
  tcp = function(rest)
    local host, port = rest:match "^%[([^%[%]]*)%]:([^:]*)$"
    if host and not host:find(":", 1, true) then host, port = nil, nil end
    if not host then
      host, port = rest:match "^([^:%[%]]*):([^:]*)$"           -- an IPv6 host without brackets has one ':' too many
    end
    return { kind = "tcp", host = host, port = port }
  end,
  vsock = function(rest)
    local cid, port = rest:match "^([^:]*):([^:]*)$"
    return { kind = "vsock", cid = cid, port = port }
  end,
  hybrid = function(rest)
    local path, port = rest:match "^(.*):([^:]*)$"
    return { kind = "hybrid", path = path, port = port }
  end,
  unix = function(rest) return { kind = "unix", path = rest } end,
  serial = function(rest) return { kind = "serial", path = rest } end,
  chardev = function(rest) return { kind = "chardev", path = rest } end,
  exec = function(rest) return { kind = "exec", command = rest } end,
  fd = function(rest) return { kind = "fd", fd = rest } end,
}

--- The forms that a text can have, for messages.
M.FORMS = "tcp:HOST:PORT, tcp:[IPV6]:PORT, unix:PATH, vsock:CID:PORT, hybrid:PATH:PORT, serial:PATH, chardev:PATH, "
  .. "exec:COMMAND or fd:N"

local function number_or_any(n)
  return n == vsock.CID_ANY and "any" or ("%d"):format(n) -- PORT_ANY is the same number
end

local texts = {
  tcp = function(a) return (a.host:find(":", 1, true) and "tcp:[%s]:%d" or "tcp:%s:%d"):format(a.host, a.port) end,
  vsock = function(a) return ("vsock:%s:%s"):format(number_or_any(a.cid), number_or_any(a.port)) end,
  hybrid = function(a) return ("hybrid:%s:%d"):format(a.path, a.port) end,
  exec = function(a) return "exec:" .. a.command end,
  fd = function(a) return ("fd:%d"):format(a.fd) end,
  func = function(a) return a.text end,
  inside = function(a) return ("%s!%s"):format(a.text, a.at) end,
}

--- The fields of a text; nil where it begins with no known kind. Their values are not checked. Does not wait.
---@param text string
---@return table|nil
function M.split(text)
  local kind, rest = text:match "^(%l+):(.*)$"
  return split[kind] and split[kind](rest)
end

--- The text of an address. Does not wait.
---@param fields table
---@return string
function M.join(fields)
  local text = texts[fields.kind]
  return text and text(fields) or fields.kind .. ":" .. fields.path
end

return M
