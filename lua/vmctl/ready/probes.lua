--- Probes: objects that check readiness once. Making one does not wait.
local address = require "vmctl.net.address"
local exec = require "vmctl.exec"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local ports = require "vmctl.ready.port"
local probe = require "vmctl.ready.probe"
local system = require "vmctl.system"
local target = require "vmctl.base.target"

local M = {}

local make, never, transport, resolve_exec = probe.make, probe.never, probe.transport, probe.resolve_exec

local STDERR_TAIL = 200   -- bytes of a failed command's standard error

--- Tells if a value is a probe object.
function M.is_probe(value) return probe.is_probe(value) end

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

--- A port accepts connections: `port(address, options)` seen from here, `port(target, port, host, options)` as the guest sees
-- it. Behind a user-mode forwarding a connect proves nothing (QEMU accepts before the guest does): ask for bytes. The probe's
-- value: true, or the bytes read.
---@param where string|table|vmctl.Machine|vmctl.ExecClient an address or a target that runs commands
---@param port_or_options? integer|table
---@param host? string as the guest sees it; "127.0.0.1", the guest itself
---@param opts? { read: boolean?, expect: string?, plain: boolean?, send: string? } read: at least one byte must come; expect: a
-- Lua pattern (plain: a text) that the received bytes must match; send: bytes that are sent first
---@return vmctl.Probe
function M.port(where, port_or_options, host, opts)
  if math.type(port_or_options) == "integer" then return ports.inside(where, port_or_options, host, opts) end
  return ports.outside(where, port_or_options)
end

--- A guest's console shows a Lua pattern, in its kept or its further output. The probe's value: the match.
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

--- A guest's system is up: systemd or OpenRC has started all. A degraded one never becomes ready. The probe's value: "systemd", "openrc" or
--- "none".
---@param where vmctl.Machine|vmctl.ExecClient
---@return vmctl.Probe
function M.system(where)
  local client, name, machine = resolve_exec(where, "ready.system")
  local function attempt(_, timeout)
    local kind, err, code = system.await(client, timeout * 0.8) -- and the rest for its report of a failure
    if kind then return kind end
    return nil, err, code
  end
  return make("system", "system of " .. name, attempt, { client = client, machine = machine, transport = transport(client) })
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

--- A file (of any type) exists in the guest. The probe's value: true.
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

--- A function returns a true value, which is the probe's value. Other results count as "not yet", with an optional message and
-- code, unless the code is final (EINVAL, ECLOSED, ENOTSUP, EACCES, EPERM). No wait in it lasts
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
