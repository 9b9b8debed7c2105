--- NetListen to ConnRemoteAddr: listeners and connections inside an instance.
local dial = require "vmctl.net.dial"
local failure = require "vmctl.cc.backend.failure"
local fields = require "vmctl.cc.backend.fields"
local wire = require "vmctl.cc.wire"

local M = {}

local pack = string.pack

local SEND_TIMEOUT = 600 -- seconds for bytes that the other side does not take

-- host:port, with brackets around an IPv6 address.
local function text_of(address)
  if not address or not address.port then return "" end
  local form = address.host:find(":", 1, true) and "[%s]:%d" or "%s:%d"
  return form:format(address.host, address.port)
end

local function parse(b, text)
  local host, port = text:match "^%[(.*)%]:(%d+)$"
  if not host then host, port = text:match "^([^:]*):(%d+)$" end
  port = math.tointeger(tonumber(port))
  if not port or port > 65535 then return nil, "an address like 127.0.0.1:8080 expected" end
  if host == "" then host = b.any_host end
  if host == "localhost" then host = "127.0.0.1" end
  if b.only_loopback and not (host:find "^127%." or host == "::1") then
    return nil, "only addresses of the loopback can be listened on here"
  end
  return { kind = "tcp", host = host, port = port }
end

local function listen(b, network, address)
  if network ~= "tcp" and network ~= "tcp4" then
    return failure.say("listen", address, ("network %q is not supported"):format(network))
  end
  local where, why = parse(b, address)
  if not where then return failure.say("listen", address, why) end
  local listener, err, code = dial.listen(where)
  if not listener then return failure.of("listen", address, err, code) end
  local handle, full, number = b.handles:add("listener", listener)
  if not handle then return nil, full, number end
  return pack(">I1I8", 0, handle)
end

local function accept(b, listener)
  local ok, err, code = b.handles:room "conn"
  if not ok then return nil, err, code end
  local stream
  stream, err, code = listener:accept()
  if not stream then return failure.of("accept", text_of(listener:address()), err, code) end
  local handle
  handle, err, code = b.handles:add("conn", stream)
  if not handle then return nil, err, code end
  return pack(">I1I8", 0, handle)
end

local function address_of(object, method)
  return pack(">I1s4", 0, text_of(object[method](object)))
end

local function read(stream, most)
  if most == 0 then return pack(">I1s4", 0, "") end
  local data, err, code = stream:read(math.min(most, wire.PIECE), math.huge)
  if data then return pack(">I1s4", 0, data) end
  if code == "EOF" then return nil, "EOF", wire.codes.UNKNOWN end
  return failure.of("read", text_of(stream:peer()), err, code)
end

local function write(stream, data)
  local ok, err, code = stream:write(data, SEND_TIMEOUT)
  if not ok then return failure.of("write", text_of(stream:peer()), err, code) end
  return pack(">I1I4", 0, #data)
end

local function close(object)
  object:close()
end

--- Registers the handlers.
---@param router vmctl.CcRouter
---@param b vmctl.CcBackend
function M.install(router, b)
  local listener, conn = b.handles:getter "listener", b.handles:getter "conn"
  fields.on(router, "NET_LISTEN", function(network)
    local ok, err, code = b:present()
    if not ok then return nil, err, code end
    return network
  end, function(network, address) return listen(b, network, address) end)
  fields.on(router, "LISTENER_ACCEPT", listener, function(l) return accept(b, l) end)
  fields.on(router, "LISTENER_CLOSE", b.handles:taker "listener", close)
  fields.on(router, "LISTENER_ADDR", listener, function(l) return address_of(l, "address") end)
  fields.on(router, "CONN_READ", conn, read)
  fields.on(router, "CONN_WRITE", conn, write)
  fields.on(router, "CONN_CLOSE", b.handles:taker "conn", close)
  fields.on(router, "CONN_LOCAL_ADDR", conn, function(s) return address_of(s, "address") end)
  fields.on(router, "CONN_REMOTE_ADDR", conn, function(s) return address_of(s, "peer") end)
end

return M
