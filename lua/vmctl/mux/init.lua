--- Reaches a guest without AF_VSOCK: one virtio-serial port carries many streams. A serial port has no connections
--- (docs/wire/hybrid-vsock.md#resynchronisation), so each session begins
--- with an unmistakable hello; then yamux, in which each stream begins with the hybrid handshake's "CONNECT port".
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local random = require "vmctl.base.random"
local yamux = require "vmctl.yamux"

local M = {}

--- The virtio-serial port's name.
M.PORT_NAME = "org.vmctl.mux.0"

-- No yamux frame begins with 0xFF: its first byte is the version, 0.
local HELLO, ANSWER = "\xff\xfevmctl?\n", "\xff\xfevmctl!\n"
local NONCE, HEAD = 16, 12     -- bytes of the random number; of a yamux header
local HELLO_AGAIN = 0.1        -- seconds between hellos without an answer
local CONNECT_TIMEOUT = 10
local LINE = 32

--- The host's side of the hello. Waits until the guest has answered it, at most until the time-out.
---@param transport vmctl.Stream
---@param timeout number
---@return true|nil, string?, string?
local function greet(transport, timeout)
  local deadline, number = core.now() + timeout, assert(random.bytes(NONCE))
  local expected = ANSWER .. number
  repeat
    local left = deadline - core.now()
    local ok, err, code = transport:write(HELLO .. number, left)
    if ok then ok, err, code = transport:skip_past(expected, math.min(HELLO_AGAIN, left)) end
    if ok then return true end
    if code ~= "ETIMEDOUT" then return nil, err, code end
  until core.now() >= deadline
  return errors.fail("ETIMEDOUT", "%s: nobody answered in the guest", transport:label())
end

---@class vmctl.Mux
local host = {}
local host_mt = { __name = "vmctl.Mux", __index = host }

--- Begins a session over a transport to the guest. Waits for the guest's answer.
---@param transport vmctl.Stream which it takes over
---@param timeout number seconds
---@return vmctl.Mux|nil mux with connect(port, timeout), ping, close, string?, string?
function M.connect(transport, timeout)
  transport:discard() -- input left by an earlier session
  local ok, err, code = greet(transport, timeout)
  if not ok then return nil, err, code end
  local self = setmetatable({ _transport = transport, _session = yamux.session(transport, { client = true }) }, host_mt)
  self._session:start("mux")
  core.yield() -- its task has to run before a stream can be opened
  return self
end

--- Connects to a port of the guest's agent. Waits.
---@param port integer
---@param timeout? number
---@return vmctl.Stream|nil, string?, string? code ECONNREFUSED: the port is not served
function host:connect(port, timeout)
  timeout = timeout or CONNECT_TIMEOUT
  local s, err, code = self._session:open(timeout)
  if not s then return nil, err, code end
  local ok, line
  ok, err, code = s:write(("CONNECT %d\n"):format(port), timeout)
  if ok then line, err, code = s:read_line(LINE, timeout) end
  if line and core.hybrid_ok(line) then return s end
  s:close()
  if self._dropped then return errors.fail("ERESET", "connect to port %d of the guest: it has begun anew", port) end
  if line then return errors.fail("EPROTO", "connect to port %d of the guest: an answer that is no OK", port) end
  if code == "EOF" or code == "ECONNRESET" or code == "EPIPE" then
    return errors.fail("ECONNREFUSED", "connect to port %d of the guest: nobody serves it", port)
  end
  return nil, ("connect to port %d of the guest: %s"):format(port, err), code
end

--- Asks if the other end answers. Waits.
---@param timeout? number seconds
---@return true|nil, string?, string?
function host:ping(timeout)
  return self._session:ping(timeout or CONNECT_TIMEOUT)
end

--- False once the transport has ended.
---@return boolean
function host:alive()
  return self._session:alive()
end

--- Ends the session and leaves the transport to the next one: the guest has begun a new session. Never waits.
function host:drop()
  self._dropped = true
  self._session:drop("the guest has begun anew", "ERESET")
end

--- Waits until a dropped session no longer uses the transport.
function host:ended(timeout)
  self._session:ended(timeout)
end

--- Ends the transport. Idempotent, never waits.
---@return true
function host:close()
  return self._session:close()
end

host_mt.__close = host.close

-- A listener for connections that come out of the mux.
---@class vmctl.VirtualListener
local virtual = {}
local virtual_mt = { __name = "vmctl.VirtualListener", __index = virtual }

function virtual:accept(timeout)
  local s, _, code = self._channel:recv(timeout)
  if not s then return nil, ("accept %s: %s"):format(self._label, code == "ECLOSED" and "closed" or "no connection"), code end
  return s
end

function virtual:close()
  return self._channel:close()
end

function virtual:address()
  return self._label
end

---@class vmctl.MuxServer
local guest = {}
local guest_mt = { __name = "vmctl.MuxServer", __index = guest }

--- The guest's side.
---@return vmctl.MuxServer server with listen(port) and run(transport)
function M.server()
  return setmetatable({ _ports = {} }, guest_mt)
end

--- A listener for a port of the mux.
---@param port integer
---@return table listener with accept(timeout) and close()
function guest:listen(port)
  local listener = setmetatable({ _channel = require("vmctl.base.channel").channel(128), _label = "mux:" .. port }, virtual_mt)
  self._ports[port] = listener
  return listener
end

local function welcome(self, s)
  local line = s:read_line(LINE, CONNECT_TIMEOUT)
  local port = line and core.hybrid_connect(line)
  local listener = port and self._ports[port]
  if not listener then
    log.info("mux: a connection to port %s, which nobody serves", port or "?")
    s:close()
    return
  end
  if not s:write(("OK %d\n"):format(port), CONNECT_TIMEOUT) or not listener._channel:send(s, CONNECT_TIMEOUT) then s:close() end
end

-- Reads the rest of a hello after a header that is no yamux. Our own session's hello was late; another one means a new host.
local function other_hello(transport, number)
  return function(head)
    local rest, err, code = transport:read_exact(#HELLO + NONCE - HEAD, 1)
    if not rest then return nil, err, code end
    local bytes = head .. rest
    if bytes:sub(1, #HELLO) ~= HELLO then return errors.fail("EPROTO", "the transport is out of step") end
    local theirs = bytes:sub(#HELLO + 1)
    if theirs == number then return true end
    return nil, "a new host", theirs
  end
end

-- Tells if a transport has ended. A serial port reports EOF once when a host leaves, and then waits for the next one; other transports
-- report it again at once.
local function is_over(transport)
  local _, _, code = transport:read_exact(#HELLO + NONCE, 0)
  return code == "EOF"
end

--- Serves one host after the other on a transport, for ever. Waits.
---@param transport vmctl.Stream
---@return nil, string, string the reason of the transport's end
function guest:run(transport)
  local number
  while true do
    while not number do
      local ok, err, code = transport:skip_past(HELLO, math.huge)
      if ok then number = transport:read_exact(NONCE, 5) end
      if not ok and (code ~= "EOF" or is_over(transport)) then return nil, err, code end
    end
    transport:write(ANSWER .. number, 5)
    local session = yamux.session(transport, {
      on_stream = function(s) return welcome(self, s) end, on_strange = other_hello(transport, number),
    })
    local _, err, code = session:run()
    log.info("mux: the session ended: %s", err)
    if code == "ECLOSED" or code == "ECANCELED" then return nil, err, code end
    number = #code == NONCE and code or nil
    if not number then transport:discard() end
  end
end

return M
