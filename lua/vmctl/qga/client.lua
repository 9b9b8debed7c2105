--- The client of a guest agent: any command, and methods for the usual ones. Processes and files are in exec.lua and file.lua.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local address = require "vmctl.net.address"
local background = require "vmctl.base.background"
local dial = require "vmctl.net.dial"
local options = require "vmctl.base.options"
local shapes = require "vmctl.qga.shapes"
local connections = require "vmctl.qga.connection"

local M = {}

local DIAL, SYNC, COMMAND, FREEZE = 5, 5, 10, 60        -- seconds
local GRACE = 1                 -- seconds in which a command that answers only failures must have failed
local MAX_LINE = 64 << 20       -- bytes: 16 MiB of each stream of a command, as base64 in one line

---@class vmctl.QgaClient
local methods = {}
local mt = { __name = "vmctl.QgaClient", __index = methods }

for _, part in ipairs { "exec", "file" } do
  for name, fn in pairs(require("vmctl.qga." .. part)) do methods[name] = fn end
end

local known = { timeout = "number>0", dial_timeout = "number>0", sync_timeout = "number>0", max_line = "integer>0" }
local call_options = { timeout = "number" }

--- Connects to an agent and synchronises with it. Waits. docs/wire/qmp-qga.md#agent-synchronising.
---@param where string|table|function an address: the chardev of a virtio-serial port, a socket of the agent's own
---@param opts? { timeout: number?, dial_timeout: number?, sync_timeout: number?, max_line: integer? } seconds for a command
-- without its own limit (10), for connecting (5), until the agent has answered (5; a guest that boots may need 60);
-- bytes of a line (64 MiB)
---@return vmctl.QgaClient|nil, string?, string? as vmctl.dial; ETIMEDOUT: no agent answers; ERESET
function M.connect(where, opts)
  opts = options.check(opts, known, "qga.connect")
  local at, err, code = address.parse(where)
  if not at then return nil, err, code end
  local stream
  stream, err, code = dial.dial(at, opts.dial_timeout or DIAL)
  if not stream then return nil, err, code end
  local connection = connections.new(stream, opts.max_line or MAX_LINE)
  local ok
  ok, err, code = connection:synchronise(opts.sync_timeout or SYNC)
  if not ok then
    connection:close()
    return nil, ("connect to the guest agent at %s: %s"):format(at, err), code
  end
  return setmetatable({ address = at, _connection = connection, _timeout = opts.timeout or COMMAND }, mt)
end

function methods:_failed(name, err, code, problem)
  return nil, ("%s on %s: %s"):format(name, self, err), code, problem
end

function methods:_execute(name, arguments, timeout)
  timeout = timeout or self._timeout
  local began = core.now()
  local value, err, code, problem = self._connection:request(name, arguments, timeout)
  if value ~= nil then
    local why = shapes.wrong(name, value)
    if not why then return value end
    return self:_failed(name, why, "EPROTO")
  end
  if code == "ETIMEDOUT" then err = ("%s %s"):format(err, errors.within(timeout, core.now() - began)) end
  return self:_failed(name, err, code, problem)
end

--- Executes a command. Waits for its answer, and before that for the calls of other tasks: an agent does one thing at a time.
---@param name string
---@param arguments? table by the agent's names
---@param opts? number|{ timeout: number? }
---@return any value, string? message
---@return string? code EREMOTE: it failed there; ENOTSUP: no such command, or not allowed; ETIMEDOUT (it may still be done; the
--- next call synchronises with the agent first); ERESET: the connection ended; ECLOSED, EPROTO, EINVAL, ETOOBIG
---@return { class: string, desc: string }? problem the agent's own words
function methods:execute(name, arguments, opts)
  if type(name) ~= "string" then error("execute: a command's name expected, got " .. type(name), 2) end
  if arguments ~= nil and type(arguments) ~= "table" then
    error("execute: a table of arguments expected, got " .. type(arguments), 2)
  end
  return self:_execute(name, arguments, options.check(opts, call_options, "execute").timeout)
end

--- Asks if the agent answers. Waits.
---@param opts? number|{ timeout: number? }
---@return true|nil, string?, string?
function methods:ping(opts)
  local ok, err, code = self:_execute("guest-ping", nil, options.check(opts, call_options, "ping").timeout)
  return ok and true, err, code
end

--- The agent's version and its commands. Waits.
---@param opts? number|{ timeout: number? }
---@return { version: string, commands: table<string, { enabled: boolean, answers: boolean }> }|nil, string?, string?
function methods:info(opts)
  local info, err, code = self:_execute("guest-info", nil, options.check(opts, call_options, "info").timeout)
  if not info then return nil, err, code end
  local commands = {}
  for _, entry in ipairs(info.supported_commands or {}) do
    commands[entry.name] = { enabled = entry.enabled, answers = entry["success-response"] ~= false }
  end
  return { version = info.version, commands = commands }
end

--- Tells if the agent has a command and may execute it. Asks each time, because freezing a file system changes it. Waits.
---@return boolean|nil, string?, string?
function methods:supports(name)
  local info, err, code = self:info()
  if not info then return nil, err, code end
  local entry = info.commands[name]
  return entry ~= nil and entry.enabled
end

-- Commands without arguments: the answer is described by the agent's schema.
local QUESTIONS = {
  network_interfaces = "guest-network-get-interfaces", osinfo = "guest-get-osinfo", users = "guest-get-users",
  timezone = "guest-get-timezone", filesystems = "guest-get-fsinfo", disks = "guest-get-disks", vcpus = "guest-get-vcpus",
  freeze_status = "guest-fsfreeze-status",
}

for method, command in pairs(QUESTIONS) do
  --- Asks the agent. Waits.
  ---@param opts? number|{ timeout: number }
  ---@return any answer as in the agent's schema; nil, message, code on failure
  methods[method] = function(self, opts)
    return self:_execute(command, nil, options.check(opts, call_options, method).timeout)
  end
end

--- The guest's name. Waits.
---@return string|nil, string?, string?
function methods:host_name(opts)
  local answer, err, code = self:_execute("guest-get-host-name", nil, options.check(opts, call_options, "host_name").timeout)
  return answer and answer["host-name"], err, code
end

--- The guest's time. Waits.
---@return integer|nil nanoseconds since 1970, string?, string?
function methods:get_time(opts)
  return self:_execute("guest-get-time", nil, options.check(opts, call_options, "get_time").timeout)
end

--- Sets the guest's clock. Waits.
---@param nanoseconds? integer since 1970; nil: from the guest's hardware clock
---@return true|nil, string?, string?, table?
function methods:set_time(nanoseconds, opts)
  if nanoseconds ~= nil and math.type(nanoseconds) ~= "integer" then error("set_time: an integer expected", 2) end
  local ok, err, code, problem = self:_execute("guest-set-time", { time = nanoseconds },
    options.check(opts, call_options, "set_time").timeout)
  return ok and true, err, code, problem
end

--- Freezes the guest's file systems: the disks are consistent, and writes wait until `thaw`. `frozen` is the safer call.
---@return integer|nil count of file systems, string?, string?, table?
function methods:freeze(opts)
  return self:_execute("guest-fsfreeze-freeze", nil, options.check(opts, call_options, "freeze").timeout or FREEZE)
end

--- Thaws them. Waits.
---@return integer|nil count, string?, string?, table?
function methods:thaw(opts)
  return self:_execute("guest-fsfreeze-thaw", nil, options.check(opts, call_options, "thaw").timeout or FREEZE)
end

-- Thaws in a task of its own: a caller that timed out or was cancelled must not leave the guest frozen.
local thawing = { __close = function(guard)
  background.spawn("thaw", guard.client.thaw, guard.client):join(FREEZE)
end }

--- Calls `fn()` while the guest's file systems are frozen, and always thaws them: an error of `fn` is raised after
--- that. Waits.
---@return any ... the results of `fn`; nil, message, code when they could not be frozen
function methods:frozen(fn)
  local ok, err, code = self:freeze()
  if not ok and code ~= "ETIMEDOUT" then return nil, err, code end
  local guard <close> = setmetatable({ client = self }, thawing) -- luacheck: ignore
  if not ok then return nil, err, code end -- the guest may be frozen nevertheless
  return (function(...) return ... end)(fn())
end

function methods:_order(name, arguments, what)
  local ok, err, code, problem = self._connection:order(name, arguments, GRACE, self._timeout)
  if ok then return true end
  return self:_failed(what, err, code, problem)
end

--- Tells the guest to power off, halt or reboot. Waits only a moment, for a refusal; use vm:wait to see that it is down.
---@param mode? "powerdown"|"halt"|"reboot"
---@return true|nil, string?, string?, table?
function methods:shutdown(mode)
  if mode ~= nil and mode ~= "powerdown" and mode ~= "halt" and mode ~= "reboot" then
    error("shutdown: 'powerdown', 'halt' or 'reboot' expected", 2)
  end
  return self:_order("guest-shutdown", { mode = mode }, "guest-shutdown")
end

local SUSPENDS = { ram = true, disk = true, hybrid = true }

--- Suspends the guest. Waits only a moment, for a refusal.
---@param how? "ram"|"disk"|"hybrid"
---@return true|nil, string?, string?, table?
function methods:suspend(how)
  how = how or "ram"
  if not SUSPENDS[how] then error("suspend: 'ram', 'disk' or 'hybrid' expected", 2) end
  return self:_order("guest-suspend-" .. how, nil, "guest-suspend-" .. how)
end

--- Synchronises with the agent again, after a restore for instance, which the connection does not show. Waits.
---@param opts? number|{ timeout: number? }
---@return true|nil, string?, string?
function methods:synchronise(opts)
  local timeout = options.check(opts, call_options, "synchronise").timeout or SYNC
  local ok, err, code = self._connection:synchronise(timeout)
  if not ok then return self:_failed("synchronise", err, code) end
  return true
end

--- Tells if the connection is known to have ended, and why.
---@return boolean, string?, string?
function methods:closed()
  return self._connection.over ~= nil, self._connection.over, self._connection.code
end

--- Ends the connection. Idempotent, never waits.
function methods:close()
  self._connection:close()
  return true
end

mt.__close = methods.close
mt.__gc = methods.close

function mt:__tostring()
  return ("the guest agent at %s"):format(self.address)
end

return M
