--- The host's side of StereOS' control plane. Many tasks may use one client: calls are sent and answered in the order in
--- which they were made. A connection that is lost, or on which a call gave up, is replaced at the next call.
local address = require "vmctl.net.address"
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local dialling = require "vmctl.stereos.client_dial"
local errors = require "vmctl.errors"
local events = require "vmctl.stereos.events"
local lifecycle = require "vmctl.stereos.client_events"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local wire = require "vmctl.stereos.wire"

local M = {}

---@class vmctl.StereosClient
local methods = {}
local mt = { __name = "vmctl.StereosClient", __index = methods }

local known = { timeout = "number>0", dial_timeout = "number>0", max_line = "integer>0" }
local call_options = { timeout = "number" }

--- A client that connects at its first call. Does not wait.
---@param where? string|table|function|integer an address; a number: the CID of a guest, port 1024; nil: CID 3, as the reference
---@param opts? { timeout: number?, dial_timeout: number?, max_line: integer? } seconds for a call (10), for connecting (10, and
--- never longer than the call), bytes of a line with its line feed (1 MiB)
---@return vmctl.StereosClient|nil, string?, string? code EINVAL, ENAMETOOLONG
function M.new(where, opts)
  opts = options.check(opts, known, "stereos.client")
  if where == nil or math.type(where) == "integer" then where = address.vsock(where or wire.GUEST_CID, wire.PORT) end
  local at, err, code = address.parse(where)
  if not at then return nil, err, code end
  return setmetatable({
    address = at, _timeout = opts.timeout or wire.DEFAULT_TIMEOUT, _dial_timeout = opts.dial_timeout or wire.DEFAULT_TIMEOUT,
    _max_line = opts.max_line or wire.MAX_LINE, _hub = events.hub(),
  }, mt)
end

--- Connects, unless it is connected. Waits.
---@param timeout? number seconds
---@return true|nil, string?, string? as vmctl.dial
function methods:connect(timeout)
  local connection, err, code = dialling.connected(self, core.now() + (timeout or self._dial_timeout))
  if not connection then return nil, ("connect to the StereOS guest at %s: %s"):format(dialling.label(self), err), code end
  return true
end

local function failed(self, request, err, code)
  return nil, ("%s on %s: %s"):format(request, dialling.label(self), err), code
end

-- Sends one request. Returns the kind and the payload of its reply.
local function exchange(self, request, line, timeout)
  local connection, now = self._connection, core.now()
  local deadline = now + timeout
  if not connection or not connection:is_usable(now) then
    local err, code
    connection, err, code = dialling.connected(self, deadline)
    if not connection then return failed(self, request, err, code) end
    now = core.now()
    timeout = deadline - now
  end
  local kind, payload, code = connection:request(request, line, timeout, deadline)
  if kind then return kind, payload end
  if code == "ETIMEDOUT" then payload = "no reply " .. errors.within(timeout, core.now() - now) end
  return failed(self, request, payload, code)
end

local function remote_error(self, request, ack)
  local text = log.one_line(ack.error ~= "" and ack.error or "refused without a reason", 1000)
  return nil, ("%s on %s: %s"):format(request, dialling.label(self), text), "EREMOTE", ack
end

local function time_limit(self, opts, name)
  if opts == nil then return self._timeout end
  return options.check(opts, call_options, "stereos " .. name, 4).timeout or self._timeout
end

local function encode(self, request, payload)
  local line, err, code = wire.envelope(request, payload)
  if not line then return failed(self, request, err, code) end
  if #line + 1 > self._max_line then
    return failed(self, request, ("a message of %d bytes, the limit is %d"):format(#line + 1, self._max_line), "ETOOBIG")
  end
  return line .. "\n"
end

-- Sends a request that is answered by an ack; or by a pong, or health.
local function order(self, request, payload, timeout)
  local line, err, code = encode(self, request, payload)
  if not line then return nil, err, code end
  local kind, ack
  kind, ack, code = exchange(self, request, line, timeout)
  if not kind then return nil, ack, code end
  if kind == "pong" then return true end
  if kind == "health" then return ack end
  if not ack.ok then return remote_error(self, request, ack) end
  return true, ack.changed
end

--- Sends any request, of a type of your own for instance, and waits for its ack; ping and get_health give what the methods of
--- these names give.
---@param request string
---@param payload? table
---@param opts? number|{ timeout: number? }
---@return true|table|nil ok
---@return boolean|string|nil changed true if the guest had to change something (nil: it does not say); or the message
---@return string? code EREMOTE (the fourth value is the ack), ETIMEDOUT, ERESET (the connection ended before the reply: the
--- request may have been done or not), EPROTO, ETOOBIG, EINVAL, ECLOSED, or the code of a failed connection
---@return table? ack
function methods:request(request, payload, opts)
  return order(self, request, payload, time_limit(self, opts, "request"))
end

local PING, GET_HEALTH = '{"type":"ping"}\n', '{"type":"get_health"}\n'

--- Asks if the guest answers. Waits. docs/wire/stereos.md#messages.
---@param opts? number|{ timeout: number? } seconds, 10 by default
---@return true|nil, string?, string? as `request`
function methods:ping(opts)
  local kind, payload, code = exchange(self, "ping", PING, opts and time_limit(self, opts, "ping") or self._timeout)
  if kind == "pong" then return true end
  if not kind then return nil, payload, code end
  return remote_error(self, "ping", payload)
end

--- Asks for the guest's state. Waits. A guest that does not tell it has the state "". docs/wire/stereos.md#messages.
---@param opts? number|{ timeout: number? }
---@return { state: string, agents: table[], uptime_seconds: integer }|nil health each agent: name, running, session, restarts,
-- error; string?, string? as `request`
function methods:get_health(opts)
  local kind, payload, code = exchange(self, "get_health", GET_HEALTH, time_limit(self, opts, "get_health"))
  if kind == "health" then return payload end
  if not kind then return nil, payload, code end
  return remote_error(self, "get_health", payload)
end

--- Replaces the guest's configuration (/etc/stereos/jcard.toml). Waits.
---@param content string UTF-8. Everybody in the guest can read it: put no secrets there
---@param opts? number|{ timeout: number? }
---@return true|nil, boolean|string|nil, string?, table? as `request`
function methods:set_config(content, opts)
  return order(self, "set_config", { content = content }, time_limit(self, opts, "set_config"))
end

--- Puts a secret into the guest's memory (/run/stereos/secrets/NAME). Waits.
---@param name string
---@param value string UTF-8; with its escapes it must fit into a line
---@param mode? integer of the file, 384 (0600) by default. Beware: 600 is not 0600
---@param opts? number|{ timeout: number? }
---@return true|nil, boolean|string|nil, string?, table? as `request`
function methods:inject_secret(name, value, mode, opts)
  if mode ~= nil and math.type(mode) ~= "integer" then error("inject_secret: an integer expected as mode", 2) end
  return order(self, "inject_secret", { name = name, value = value, mode = mode }, time_limit(self, opts, "inject_secret"))
end

--- Makes these the only keys that may log in as a user. Waits.
---@param user string
---@param key string lines of an authorized_keys file: all keys at once, since each call replaces them
---@param opts? number|{ timeout: number? }
---@return true|nil, boolean|string|nil, string?, table? as `request`
function methods:inject_ssh_key(user, key, opts)
  return order(self, "inject_ssh_key", { user = user, public_key = key }, time_limit(self, opts, "inject_ssh_key"))
end

local mount_options = { tag = "string", guest_path = "string", fs_type = "string", read_only = "boolean" }

--- Mounts a shared folder in the guest. Waits. Reference guests are not idempotent: mounting twice stacks.
---@param what { tag: string, guest_path: string, fs_type: "virtiofs"|"9p", read_only: boolean? }
---@param opts? number|{ timeout: number? }
---@return true|nil, boolean|string|nil, string?, table? as `request`
function methods:mount(what, opts)
  options.check(what, mount_options, "stereos mount")
  return order(self, "mount", what, time_limit(self, opts, "mount"))
end

--- Tells the guest to power off. Waits for its ack only; use vm:wait to see that the machine is down.
---@param reason? string
---@param opts? number|{ timeout: number? }
---@return true|nil, boolean|string|nil, string?, table? as `request`
function methods:shutdown(reason, opts)
  return order(self, "shutdown", { reason = reason }, time_limit(self, opts, "shutdown"))
end

--- Waits until the guest reports that it is ready. See vmctl.stereos.wait.
---@param opts? table
function methods:wait_for_ready(opts)
  return require("vmctl.stereos.wait").ready(self, opts)
end

-- Lets the connection read lifecycle messages as they come, if there is a connection.
function methods:_attend()
  if self._connection then self._connection:attend() end
end

--- An iterator over the guest's lifecycle messages from now on: `for event in client:events() do`. It connects, and connects
--- again when the guest reboots. Each step waits for the next message. The loop ends when the client is closed or at the
--- time-out; a caller of the function itself then gets nil, message, code.
---@param opts? number|{ timeout: number? } seconds for each message; none by default
---@return fun(): { state: string, message: string }|nil, string?, string? code ETIMEDOUT, ECLOSED, ECANCELED
function methods:events(opts)
  local timeout = options.check(opts, call_options, "stereos events").timeout or math.huge
  local listener = self._hub:listen()
  return function()
    local event, err, code = lifecycle.next(self, listener, core.now() + timeout)
    if event then return event end
    return nil, ("lifecycle of %s: %s"):format(dialling.label(self), err), code
  end
end

--- Calls `fn(event)` for each lifecycle message, in a task of its own, until the client is closed: `fn` may wait, and an error
--- of it is logged. Keeps the guest connected. Does not wait.
---@param fn fun(event: { state: string, message: string })
---@return fun() cancel ends it
function methods:on_lifecycle(fn)
  if type(fn) ~= "function" then error("on_lifecycle: a function expected, got " .. type(fn), 2) end
  local listener = self._hub:listen()
  local task = background.spawn("stereos lifecycle", lifecycle.call_each, self, listener, fn)
  return function()
    listener:close()
    task:cancel()
  end
end

--- The last lifecycle state that the guest sent by itself, or nil. It is as old as the last call, unless somebody listens.
function methods:lifecycle_state()
  return self._hub.state
end

--- Ends the connection; calls that wait fail with ECLOSED, and so do later ones. Idempotent, never waits.
function methods:close()
  self._closed = true
  if self._connection then self._connection:close() end
  self._hub:changed()
  return true
end

mt.__close = methods.close
mt.__gc = methods.close

function mt:__tostring()
  return ("vmctl.StereosClient(%s)"):format(dialling.label(self))
end

return M
