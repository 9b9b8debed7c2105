--- Listeners in the machine's network and the connections that they accept, as objects (docs/wire/cc-ipc.md#network-0x05xx).
--- Each method waits, takes a time-out in seconds as its last argument, and fails as client:call does; EOF at the end of a
--- connection. A call that waits for a peer blocks the connection to the helper, and closes it after a time-out.
local request = require "vmctl.cc.request"
local wire = require "vmctl.cc.wire"

local M = {}

local define, done, field = request.define, request.done, request.field

local calls = {
  net_listen = define("NET_LISTEN", "network:word address:word"), accept = define("LISTENER_ACCEPT", "listener:handle"),
  listener_close = define("LISTENER_CLOSE", "listener:handle"), addr = define("LISTENER_ADDR", "listener:handle"),
  read = define("CONN_READ", "conn:handle bytes:u32"), write = define("CONN_WRITE", "conn:handle data:bytes"),
  conn_close = define("CONN_CLOSE", "conn:handle"), local_addr = define("CONN_LOCAL_ADDR", "conn:handle"),
  remote_addr = define("CONN_REMOTE_ADDR", "conn:handle"),
}

local function ask(self, name, timeout, ...)
  if not self._handle then return nil, ("cc %s: closed"):format(self), "ECLOSED" end
  return calls[name](self.client, timeout, self._handle, ...)
end

local function close(self, name, timeout)
  local handle = self._handle
  if not handle then return true end
  self._handle = nil
  return done(calls[name](self.client, timeout, handle))
end

-- Connections

---@class vmctl.CcConnection
local connection = {}
local connection_mt = { __name = "vmctl.CcConnection", __index = connection }

--- Reads the bytes that are there, at least one.
---@param most? integer bytes, 1 MiB by default and at most
---@return string|nil bytes, string?, string?, table? EOF
function connection:read(most, timeout)
  if most ~= nil and (math.type(most) ~= "integer" or most < 1) then
    error("cc connection read: a number of bytes above 0 expected, got " .. tostring(most), 2)
  end
  local bytes, err, code, more = field("string", ask(self, "read", timeout, math.min(most or wire.PIECE, wire.PIECE)))
  if bytes then return bytes end
  -- The end comes as an error without a code of its own (docs/wire/cc-ipc.md#error-codes).
  if code == "EREMOTE" and more.code == wire.codes.UNKNOWN and more.message == "EOF" then code = "EOF" end
  return nil, err, code, more
end

--- Writes bytes, piece by piece.
---@param data string
---@return true|nil, string?, string?, table?
function connection:write(data, timeout)
  if type(data) ~= "string" then error("cc connection write: a string expected, got " .. type(data), 2) end
  local at = 1
  while at <= #data do
    local piece = #data <= wire.PIECE and data or data:sub(at, at + wire.PIECE - 1)
    local n, err, code, more = field("uint32", ask(self, "write", timeout, piece))
    if not n then return nil, err, code, more end
    if n ~= #piece then return nil, ("cc %s: %d of %d bytes were written"):format(self, n, #piece), "EPROTO" end
    at = at + n
  end
  return true
end

--- "HOST:PORT" of this end.
---@return string|nil, string?, string?, table?
function connection:local_addr(timeout) return field("string", ask(self, "local_addr", timeout)) end

--- "HOST:PORT" of the peer.
---@return string|nil, string?, string?, table?
function connection:remote_addr(timeout) return field("string", ask(self, "remote_addr", timeout)) end

--- Idempotent.
---@return true|nil, string?, string?, table? it is closed in any case
function connection:close(timeout) return close(self, "conn_close", timeout) end

connection_mt.__close = function(self) self:close() end
connection_mt.__tostring = function(self) return ("vmctl.CcConnection(%s)"):format(self._name) end

-- Listeners

---@class vmctl.CcListener
local listener = {}
local listener_mt = { __name = "vmctl.CcListener", __index = listener }

--- Waits for a connection.
---@return vmctl.CcConnection|nil, string?, string?, table?
function listener:accept(timeout)
  local handle, err, code, more = field("uint64", ask(self, "accept", timeout))
  if not handle then return nil, err, code, more end
  return setmetatable({ client = self.client, _handle = handle, _name = self._name }, connection_mt)
end

--- "HOST:PORT" that it listens on.
---@return string|nil, string?, string?, table?
function listener:addr(timeout) return field("string", ask(self, "addr", timeout)) end

--- Idempotent.
---@return true|nil, string?, string?, table? it is closed in any case
function listener:close(timeout) return close(self, "listener_close", timeout) end

listener_mt.__close = function(self) self:close() end
listener_mt.__tostring = function(self) return ("vmctl.CcListener(%s)"):format(self._name) end

--- Listens inside the machine.
---@param client vmctl.CcClient
---@param where string "HOST:PORT" or ":PORT"
---@param kind? "tcp"|"tcp4"
---@return vmctl.CcListener|nil, string?, string?, table?
function M.listen(client, where, kind, timeout)
  if type(where) ~= "string" or kind ~= nil and type(kind) ~= "string" then error("cc listen: an address expected", 2) end
  local handle, err, code, more = field("uint64", calls.net_listen(client, timeout, kind or "tcp", where))
  if not handle then return nil, err, code, more end
  return setmetatable({ client = client, _handle = handle, _name = where }, listener_mt)
end

return M
