--- The client of a QEMU monitor. Many tasks may use one client, and run commands at the same time.
local core = require "vmctl.core"
local address = require "vmctl.net.address"
local background = require "vmctl.base.background"
local dial = require "vmctl.net.dial"
local errors = require "vmctl.errors"
local events = require "vmctl.qmp.events"
local naming = require "vmctl.base.stream_name"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local connections = require "vmctl.qmp.connection"
local wire = require "vmctl.qmp.wire"

local M = {}

local DIAL, GREETING = 5, 5             -- seconds
local QUERY, COMMAND, EVENT = 5, 30, 60 -- seconds: for query-…, for other commands, for an event
local MAX_LINE = 4 << 20                -- bytes: the schema has 0.2 MB; what is parsed takes twenty times that at worst

---@class vmctl.QmpClient
---@field version { major: integer, minor: integer, micro: integer } QEMU's
---@field ["package"] string the distributor's suffix
---@field capabilities table<string, true> those that the server offers; "oob" is then in use
local methods = {}
local mt = { __name = "vmctl.QmpClient", __index = methods }

local known = {
  timeout = "number>0", dial_timeout = "number>0", greeting_timeout = "number>0", max_line = "integer>0", events = "integer>0",
  oob = "boolean",
}

-- Reads the greeting. A server has one client at a time; a second one gets no greeting until the first leaves.
local function read_greeting(stream, opts)
  local timeout = opts.greeting_timeout or GREETING
  naming.name(stream, "qmp")
  local began = core.now()
  local line, err, code = stream:read_line(opts.max_line or MAX_LINE, timeout)
  if not line then
    if code == "ETIMEDOUT" then
      err = ("no greeting %s: a monitor has one client at a time, another one may be connected"):format(
        errors.within(timeout, core.now() - began))
    elseif code == "EOF" or code == "ECONNRESET" then
      err, code = "the connection ended before a greeting", "ERESET"
    end
    return nil, err, code
  end
  local kind, message = wire.parse(line)
  if kind ~= "greeting" then return errors.fail("EPROTO", "no QMP greeting: %s", kind or message) end
  return message.QMP
end

local function set_of(list)
  local set = {}
  for _, name in ipairs(list or {}) do set[name] = true end
  return set
end

local function negotiate(self, opts)
  local enable = self._oob and { enable = { "oob" } } or nil
  local ok, err, code = self._connection:request("qmp_capabilities", enable, nil, opts.greeting_timeout or GREETING)
  if ok == nil then return nil, "capabilities: " .. err, code end
  return true
end

local function begin(stream, at, opts)
  local greeting, err, code = read_greeting(stream, opts)
  if not greeting then return nil, err, code end
  local hub = events.hub(opts.events)
  local self = setmetatable({
    address = at, version = greeting.version.qemu, package = greeting.version.package or "",
    capabilities = set_of(greeting.capabilities), _timeout = opts.timeout, _hub = hub, _backlog = hub:listen(),
    _connection = connections.new(stream, hub, opts.max_line or MAX_LINE),
  }, mt)
  self._oob = self.capabilities.oob and opts.oob ~= false
  self._connection:start()
  local ok
  ok, err, code = negotiate(self, opts)
  if not ok then return nil, err, code end
  return self
end

--- Connects to a monitor, reads its greeting and negotiates. Waits. docs/wire/qmp-qga.md#qmp-start.
---@param where string|table|function an address: "unix:/run/vm/qmp.sock"
---@param opts? { timeout: number?, dial_timeout: number?, greeting_timeout: number?, max_line: integer?, events: integer?,
--- oob: boolean? } seconds for a command without its own limit (5 for query-…, 30 for others), for connecting (5), for each step of the
-- greeting (5); bytes of a line (4 MiB); events kept for one listener (256, and 1 MiB; then the oldest are dropped); oob: false does
-- without out-of-band commands
---@return vmctl.QmpClient|nil, string?, string? as vmctl.dial; ETIMEDOUT: no greeting, another client may be connected; EPROTO:
-- it is no monitor; ERESET
function M.connect(where, opts)
  opts = options.check(opts, known, "qmp.connect")
  local at, err, code = address.parse(where)
  if not at then return nil, err, code end
  local stream
  stream, err, code = dial.dial(at, opts.dial_timeout or DIAL)
  if not stream then return nil, err, code end
  local client
  client, err, code = begin(stream, at, opts)
  if client then return client end
  stream:close()
  return nil, ("connect to QMP at %s: %s"):format(at, err), code
end

local function time_of(self, name, given)
  return given or self._timeout or (name:find("^query%-") and QUERY or COMMAND)
end

--- Executes a command. Waits for its answer; commands of other tasks go on meanwhile.
--- docs/wire/qmp-qga.md#qmp-messages, docs/wire/qmp-qga.md#qmp-commands.
---@param name string
---@param arguments? table by QEMU's names
---@param opts? number|{ timeout: number?, oob: boolean?, fd: integer? } oob: out of band, before running commands, if QEMU allows it;
--- fd: a descriptor that goes with the command over a Unix socket, for "getfd" and "add-fd"; the caller keeps it
---@return any value the command's result, often an empty table
---@return string? message
---@return string? code EREMOTE: it failed there; ENODEV: no such device; ENOTSUP: no such command; ETIMEDOUT (it may still be
--- done); ERESET: the connection ended; ECLOSED, EPROTO, EINVAL, ETOOBIG
---@return { class: string, desc: string }? problem QEMU's own words
function methods:execute(name, arguments, opts)
  if type(name) ~= "string" then error("execute: a command's name expected, got " .. type(name), 2) end
  if arguments ~= nil and type(arguments) ~= "table" then
    error("execute: a table of arguments expected, got " .. type(arguments), 2)
  end
  opts = options.check(opts, { timeout = "number", oob = "boolean", fd = "integer>=0" }, "execute")
  if opts.oob and not self._oob then
    return errors.fail("ENOTSUP", "%s on %s: out-of-band commands are not on offer", name, self)
  end
  local value, err, code, problem = self._connection:request(name, arguments, opts.oob and "exec-oob" or nil,
    time_of(self, name, opts.timeout), opts.fd)
  if value == nil then return nil, ("%s on %s: %s"):format(name, self, err), code, problem end
  return value
end

--- Tells if QEMU has a command. Asks at the first call, and waits then.
---@return boolean|nil, string?, string?
function methods:supports(name)
  if not self._commands then
    local list, err, code = self:execute "query-commands"
    if not list then return nil, err, code end
    self._commands = {}
    for _, entry in ipairs(list) do self._commands[entry.name] = true end
  end
  return self._commands[name] == true
end

--- An iterator over the events from now on: `for event in client:events() do`. Each step waits for the next one. The loop
--- ends when the client is closed, the connection is lost or the time-out is over; a caller of the function itself then gets nil,
--- message, code. A listener more than 256 events or 1 MiB behind loses the oldest: the next event has their number as `lost`.
---@param opts? number|{ timeout: number? } seconds for each event; none by default
---@return fun(): { event: string, data: table, timestamp: { seconds: integer, microseconds: integer }?, lost: integer? }|nil
function methods:events(opts)
  local timeout = options.check(opts, { timeout = "number" }, "events").timeout or math.huge
  local listener = self._hub:listen()
  return function()
    local event, err, code = listener:next(nil, timeout)
    if not event then return nil, ("events of %s: %s"):format(self, err), code end
    local lost = listener:lost()
    if lost == 0 then return event end
    return options.merge(event, { lost = lost }) -- the event is shared with other listeners
  end
end

local function call_each(listener, label, fn)
  while true do
    local event = listener:next(nil, math.huge)
    if not event then return end
    local ok, err = xpcall(fn, debug.traceback, event)
    if not ok then log.error("%s: on_event: %s", label, err) end
  end
end

--- Calls `fn(event)` for each event from now on, in a task of its own, until the connection ends: `fn` may wait, and its errors
--- are logged. Does not wait.
---@param fn fun(event: table)
---@return fun() cancel ends it
function methods:on_event(fn)
  if type(fn) ~= "function" then error("on_event: a function expected, got " .. type(fn), 2) end
  local listener = self._hub:listen()
  local task = background.spawn("qmp events", call_each, listener, tostring(self), fn)
  return function()
    listener:close()
    task:cancel()
  end
end

local function matcher(what)
  if type(what) == "function" then return what end
  return function(event) return event.event == what end
end

--- Waits for an event. An earlier event counts as well, unless another call took it or `clear_events` dropped it: the event of a
--- command often comes before its answer. Of more than 256 untaken events, or 1 MiB of them, the oldest are dropped.
---@param what string|fun(event: table): boolean its name, or a condition
---@param opts? number|{ timeout: number? } seconds, 60 by default
---@return table|nil event, string?, string? code ETIMEDOUT, ERESET, ECLOSED
function methods:wait_event(what, opts)
  if type(what) ~= "string" and type(what) ~= "function" then
    error("wait_event: a name or a function expected, got " .. type(what), 2)
  end
  local timeout = options.check(opts, { timeout = "number" }, "wait_event").timeout or EVENT
  local began = core.now()
  local event, err, code = self._backlog:next(matcher(what), timeout)
  if event then return event end
  if code == "ETIMEDOUT" then err = "it did not come " .. errors.within(timeout, core.now() - began) end
  return nil, ("wait for %s of %s: %s"):format(type(what) == "string" and what or "an event", self, err), code
end

--- Drops the events that `wait_event` could still return. Does not wait.
function methods:clear_events()
  self._backlog:clear()
end

--- Tells if the connection is known to have ended, and why.
---@return boolean, string?, string?
function methods:closed()
  return self._connection.over ~= nil, self._connection.over, self._connection.code
end

--- Ends the connection: commands that wait fail with ECLOSED, and so do later ones. Idempotent, never waits.
function methods:close()
  self._connection:close()
  return true
end

mt.__close = methods.close
mt.__gc = methods.close

function mt:__tostring()
  return ("QMP at %s"):format(self.address)
end

return M
