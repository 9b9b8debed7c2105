--- Probes: objects that ask once whether something is ready. Making one does not wait.
local address = require "vmctl.net.address"
local dial = require "vmctl.net.dial"
local core = require "vmctl.core"
local exec = require "vmctl.exec"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local target = require "vmctl.base.target"

local M = {}

local LOOPBACK = "127.0.0.1"
local BANNER = 64 * 1024  -- bytes that an expected pattern may need
local STDERR_TAIL = 200   -- bytes of a failed command's words

---@class vmctl.Probe
---@field label string
---@field kind string
local mt = { __name = "vmctl.Probe", __tostring = function(self) return self.label end }

--- Says if a value is a probe object.
function M.is_probe(value) return getmetatable(value) == mt end

-- `attempt(self, timeout)` gives a value, or nil, message, code; a code that retry.lua takes for "never" ends the wait.
local function make(kind, label, attempt, fields)
  local self = fields or {}
  self.kind, self.label, self.attempt = kind, label, attempt
  return setmetatable(self, mt)
end

-- A wrong address is no mistake of the program (it may come from elsewhere): it fails when it is asked.
local function never(label, err, code)
  return make("fn", label, function() return nil, err, code end)
end

local function transport(client)
  local at = client.address
  return type(at) == "table" and at.kind or nil
end

local function resolve_exec(value, where)
  if not target.is_exec(value) then value = target.resolve(value, where, 4).exec end
  if not value then error(where .. ": a target that runs commands expected", 3) end
  return value, target.label(value), target.is_machine(value) and value or nil
end

local GOOD = { ready = true, healthy = true }

-- Guests of before get_health answer a ping when they serve at all.
local function ask_health(client, timeout)
  local health, err, code, ack = client:get_health { timeout = timeout }
  if health then
    if GOOD[health.state] then return health end
    if health.state == "shutdown" then return nil, "state shutdown: it will not come back", "ESHUTDOWN" end
    return nil, "state " .. (health.state == "" and "unknown" or health.state), "EAGAIN"
  end
  if code ~= "EREMOTE" or not (type(ack) == "table" and ack.code == "ENOSYS" or err:find "unknown message type") then
    return nil, err, code
  end
  local ok
  ok, err, code = client:ping { timeout = timeout }
  if not ok then return nil, err, code end
  return { state = "unknown", agents = {} }
end

local function attempt_health(self, timeout)
  local client, err, code = self.client, nil, nil
  if not client then client, err, code = self.machine:stereos() end
  if not client then return nil, err, code end
  return ask_health(client, timeout)
end

--- The StereOS control plane says "ready" or "healthy". The probe's value: the health (of a guest too old to tell, its state is
-- "unknown": it answered a ping). A guest that shuts down ends the wait, code ESHUTDOWN.
---@param where vmctl.StereosClient|vmctl.Machine|string|table a client, a machine or an address
---@return vmctl.Probe
function M.stereos(where)
  if target.is_machine(where) then
    return make("stereos", "stereos on " .. where.name, attempt_health, { machine = where })
  elseif target.is_stereos(where) then
    return make("stereos", "stereos on " .. target.label(where), attempt_health,
      { client = where, transport = transport(where) })
  end
  local at, err, code = address.parse(where)
  if not at then return never("stereos", err, code) end
  local function attempt(self, timeout)
    local why, how
    if not self.client then self.client, why, how = require("vmctl.stereos").client(at) end
    if not self.client then return nil, why, how end
    return ask_health(self.client, timeout)
  end
  local function release(self)
    if self.client then self.client:close() end
    self.client = nil
  end
  return make("stereos", ("stereos on %s"):format(at), attempt, { transport = at.kind, release = release })
end

local function attempt_exec(self, timeout)
  local client, err, code = self.client, nil, nil
  if self.machine then client, err, code = self.machine:_client() end
  if not client then return nil, err, code end
  return client:ask(timeout)
end

--- An exec agent answers. The probe's value: its revision.
---@param where vmctl.ExecClient|vmctl.Machine|string|table a client, a machine or an address
---@return vmctl.Probe
function M.exec(where)
  if target.is_machine(where) then
    return make("exec", "exec agent on " .. where.name, attempt_exec, { machine = where })
  elseif target.is_exec(where) then
    return make("exec", "exec agent on " .. target.label(where), attempt_exec,
      { client = where, transport = transport(where) })
  end
  local client, err, code = exec.client(where)
  if not client then return never("exec agent", err, code) end
  return make("exec", "exec agent on " .. target.label(client), attempt_exec,
    { client = client, transport = client.address.kind })
end

-- The received text, once it matches.
local function read_banner(s, opts, deadline)
  local seen = ""
  while #seen < BANNER do
    local data, err, code = s:read(BANNER, deadline - core.now())
    if not data then return nil, err, code end
    seen = seen .. data
    if not opts.expect or seen:find(opts.expect, 1, opts.plain) then return seen end
  end
  return nil, ("'%s' was not in the first %d bytes"):format(opts.expect, #seen), "EPROTO"
end

-- A connect to a closed ephemeral port of this machine may connect to itself.
local function is_own_echo(s)
  local here, there = s:address(), s:peer()
  return here and there and here.kind == "tcp" and tostring(here) == tostring(there)
end

local function try_port(self, connect, timeout)
  local deadline = core.now() + timeout
  local s <close>, err, code = connect(timeout)
  if not s then return nil, err, code end
  if is_own_echo(s) then return nil, self.label .. ": nobody listens", "ECONNREFUSED" end
  local opts = self.options
  if opts.send then
    local ok
    ok, err, code = s:write(opts.send, deadline - core.now())
    if not ok then return nil, err, code end
  end
  if not (opts.read or opts.expect) then return true end
  return read_banner(s, opts, deadline)
end

local port_options = { read = "boolean", expect = "string", plain = "boolean", send = "string" }

local function outside_port(where, opts)
  opts = options.check(opts, port_options, "ready.port")
  local at, err, code = address.parse(where)
  if not at then return never("port", err, code) end
  local function connect(timeout) return dial.dial(at, { timeout = timeout }) end
  return make("port", ("port %s"):format(at), function(self, timeout) return try_port(self, connect, timeout) end,
    { options = opts, transport = at.kind })
end

local function inside_port(where, port, host, opts)
  if type(host) == "table" then host, opts = nil, host end
  opts = options.check(opts, port_options, "ready.port")
  if math.type(port) ~= "integer" or port < 1 or port > 65535 then error("ready.port: a port from 1 to 65535 expected", 2) end
  local client, name, machine = resolve_exec(where, "ready.port")
  host = host or LOOPBACK
  local function connect(timeout) return client:forward(host, port, timeout) end
  return make("forward", ("port %s:%d of %s"):format(host, port, name),
    function(self, timeout) return try_port(self, connect, timeout) end,
    { options = opts, machine = machine, transport = transport(client) })
end

--- A port accepts connections: `port(address, options)` seen from here, `port(target, port, host, options)` as the guest sees
-- it. Behind a user-mode forwarding a connect proves nothing (QEMU accepts before the guest does): ask for bytes. The probe's
-- value: true, or the bytes read.
---@param where string|table|vmctl.Machine|vmctl.ExecClient an address or a target that runs commands
---@param port_or_options? integer|table
---@param host? string as the guest sees it; "127.0.0.1", the guest itself
---@param opts? { read: boolean?, expect: string?, plain: boolean?, send: string? } read: at least one byte must come; expect: a
-- Lua pattern (plain: a text) that must be in what comes; send: what to say first
---@return vmctl.Probe
function M.port(where, port_or_options, host, opts)
  if math.type(port_or_options) == "integer" then return inside_port(where, port_or_options, host, opts) end
  return outside_port(where, port_or_options)
end

--- A guest's console shows a Lua pattern, in what it has kept or in what comes. The probe's value: the match.
---@param vm vmctl.Machine
---@param pattern string
---@param opts? { plain: boolean? }
---@return vmctl.Probe
function M.console(vm, pattern, opts)
  opts = options.check(opts, { plain = "boolean" }, "ready.console")
  if not target.is_machine(vm) then error("ready.console: a machine expected", 2) end
  if type(pattern) ~= "string" then error("ready.console: a pattern expected", 2) end
  local function attempt(_, timeout)
    local found, err, code = vm:_seek_console(pattern, timeout, opts.plain)
    if found then return found end
    return nil, code == "ETIMEDOUT" and "it has not come" or err, code
  end
  return make("console", ("'%s' on the console of %s"):format(pattern, vm.name), attempt, { machine = vm, passive = true })
end

local function outcome(done)
  if done.exit_code == 0 and not done.error then return done end
  local how = done.error or done.signal and "killed by signal " .. done.signal or ("exit code %d"):format(done.exit_code)
  local said = log.last_words(done.stderr, STDERR_TAIL)
  return nil, said ~= "" and how .. ": " .. said or how, "EEXIT"
end

local function run_attempt(command)
  return function(self, timeout)
    command.timeout = timeout
    local done, err, code, partial = self.client:run(command)
    if done then return outcome(done) end
    local said = partial and log.last_words(partial.stderr or "", STDERR_TAIL) or ""
    return nil, said ~= "" and err .. ": " .. said or err, code
  end
end

--- A file (of any type) is there in the guest. The probe's value: true.
---@param where vmctl.Machine|vmctl.ExecClient
---@param path string
---@return vmctl.Probe
function M.file(where, path)
  if type(path) ~= "string" or path == "" or path:find("\0", 1, true) then error("ready.file: a path expected", 2) end
  local client, name, machine = resolve_exec(where, "ready.file")
  local look = run_attempt { "sh", "-c", 'test -e "$1" || { echo "it is not there" >&2; exit 1; }', "sh", path }
  local function attempt(self, timeout)
    local done, err, code = look(self, timeout)
    if not done then return nil, (err:gsub("^exit code 1: it", "it")), code end
    return true
  end
  return make("command", ("file %s on %s"):format(path, name), attempt,
    { client = client, machine = machine, transport = transport(client) })
end

--- A command ends with exit code 0. The probe's value: its result. A run that the attempt's time-out ends counts as "not yet".
---@param where vmctl.Machine|vmctl.ExecClient
---@param command vmctl.Command|string as for `run`, whose options it may have; the time-out is the attempt's
---@return vmctl.Probe
function M.command(where, command)
  local client, name, machine = resolve_exec(where, "ready.command")
  local request = require "vmctl.exec.request"
  local title = request.title(request.parse(command, "run"))
  local given = type(command) == "string" and { "sh", "-c", command } or options.merge(command)
  return make("command", ("command '%s' on %s"):format(title, name), run_attempt(given),
    { client = client, machine = machine, transport = transport(client) })
end

--- A function returns something true, which is the probe's value. What else it returns counts as "not yet", with a message and
-- a code if it likes, unless the code says that it never will be (EINVAL, ECLOSED, ENOTSUP, EACCES, EPERM). No wait in it lasts
-- longer than an attempt may; an error that it raises goes through.
---@param fn fun(timeout: number): any, string?, string?
---@param label? string
---@return vmctl.Probe
function M.fn(fn, label)
  if type(fn) ~= "function" then error("ready.fn: a function expected, got " .. type(fn), 2) end
  return make("fn", label or "function", function(_, timeout)
    local value, err, code = fn(timeout)
    if value then return value end
    return nil, err and tostring(err) or "it said " .. tostring(value), code
  end)
end

return M
