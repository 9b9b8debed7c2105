--- Guests under QEMU: launching, reaching, ending them.
local address = require "vmctl.net.address"
local beside = require "vmctl.machine.beside"
local confinement = require "vmctl.machine.confinement"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local guest_parts = require "vmctl.machine.guest_parts"
local launch = require "vmctl.machine.launch"
local options = require "vmctl.base.options"
local poweroff = require "vmctl.machine.poweroff"
local root = require "vmctl.machine.root"
local system = require "vmctl.machine.system"

local M = {}

local CONSOLE_TIMEOUT, SHUTDOWN_TIMEOUT, KILL_TIMEOUT, WAIT_TIMEOUT = 60, 20, 5, 600 -- seconds

---@class vmctl.Machine
---@field name string
---@field pid? integer QEMU's, if it runs on this machine
---@field host? string the other machine that it runs on, where QEMU's number is `host_pid`
---@field command string[] QEMU's command line
---@field accel "kvm"|"tcg"
---@field accel_reason string why it is that
---@field boot? "ours"|"kernel"|"firmware" of a guest with a root: our kernel, the disk's own, or what its loader starts
---@field boot_reason? string why it is that
---@field macs string[] of its network cards
---@field clock_source? string the clock of its kernel, once wait_ready has got it from an agent of ours
local methods = {}
local mt = { __name = "vmctl.Machine", __index = methods }

for name, fn in pairs(system) do methods[name] = fn end

--- Starts a guest. Waits only until QEMU runs, and while an image or a file system for its root is made; `wait_ready` waits for the guest.
---@param opts vmctl.MachineOptions
---@return vmctl.Machine|nil vm, string?, string? code ENOENT (no QEMU, no kernel), EBUSY: another guest uses its disk; EINVAL …
function M.launch(opts)
  opts = launch.check(opts)
  local its_beside, its_root, completed, code
  if not opts.root then
    opts, completed, code = guest_parts.complete(opts)
    if not opts then return nil, completed, code end
  end
  if opts.on then return require("vmctl.machine.far.launch").start(opts, mt) end
  its_beside, completed, code = beside.plan(opts)
  if not its_beside then return nil, completed, code end
  if not completed.root then return launch.start(completed, mt, its_beside) end
  its_root, completed, code = root.plan(completed, its_beside, M.launch)
  if not its_root then return nil, completed, code end
  local vm, err, why = launch.start(completed, mt, its_beside, its_root)
  its_root:close()
  return vm, err, why
end

--- Connects to another machine, for the guests that `on` places there: they share the connection. Waits.
---@param on string|vmctl.RemoteWhere
---@return vmctl.RemoteHost|nil, string?, string? as vmctl.remote.host has it
function M.host(on) return require("vmctl.remote.host").connect(on) end

-- For probes, and for the config room.
function methods:_client()
  return self._clients:exec()
end

--- As wait_console, without a report when it fails. For probes.
function methods:_seek_console(pattern, timeout, plain)
  return self._console:wait(pattern, timeout, plain)
end

--- A failure of a wait for the guest with all that is known of it; see vmctl.Report.
---@param brief? boolean with no more than QEMU's end
function methods:_explain(what, code, brief)
  if brief then return self._report:brief(what, code) end
  return self._report:explain(what, code)
end

--- The address of a port of the guest's agent, for vmctl.dial and the protocols' clients.
---@param port integer
---@return vmctl.Address
function methods:address(port)
  return self._channel:address(port)
end

--- Brings the guest into a declared state. See vmctl.config.push.
---@param set table|string the declared state; a string is its configuration, the jcard.toml, alone
---@param opts? table
function methods:push_config(set, opts)
  if type(set) == "string" then set = { config = set } end
  return require("vmctl.config").push(self, set, opts)
end

local COMMANDS = { run = true, start = true } -- the settings of the root's image are their defaults

for _, name in ipairs { "run", "start", "read_file", "write_file", "list_files", "forward", "connect" } do
  --- As vmctl.exec.client has it.
  methods[name] = function(self, ...)
    local client, err, code = self._clients:exec()
    if not client then return nil, err, code end
    if not COMMANDS[name] or not self._root then return client[name](client, ...) end
    local command
    command, err, code = self._root:complete((...))
    if not command then return nil, err, code end
    return client[name](client, command, select(2, ...))
  end
end

for _, name in ipairs { "stereos", "socketforward" } do
  --- As vmctl.AgentClients has it.
  methods[name] = function(self, ...) return self._clients[name](self._clients, ...) end
end

for _, name in ipairs { "qmp", "status", "pause", "powerdown", "reset", "set_link", "links", "events", "wait_event", "epoch",
  "on_epoch" } do
  --- As vmctl.Control has it.
  methods[name] = function(self, ...) return self._control[name](self._control, ...) end
end

for _, name in ipairs { "send_key", "send_chars", "screendump" } do
  --- As vmctl.Screen has it.
  methods[name] = function(self, ...) return self._screen[name](self._screen, ...) end
end

for _, name in ipairs { "add_port", "remove_port" } do
  --- As vmctl.Ports has it.
  methods[name] = function(self, ...) return self._ports[name](self._ports, ...) end
end

for _, name in ipairs { "resume", "snapshot", "restore", "delete_snapshot", "sync_clock" } do
  --- As vmctl.Resume has it.
  methods[name] = function(self, ...) return self._resume[name](self._resume, ...) end
end

methods.exec = methods.run

--- The address of something inside the guest ("unix:/run/docker.sock", "tcp:127.0.0.1:80"), for vmctl.dial and for either end of
--- vmctl.forward (as `from` a socket is in /run/socketfwd, unless the agent was told of other folders). Does not wait.
---@param where string|table
---@return vmctl.Address|nil, string?, string? code EINVAL, ENAMETOOLONG
function methods:inside(where)
  return address.inside(self, where)
end

--- Runs a pipeline whose stages run in this guest unless they name another target with `on`. See vmctl.pipeline.
function methods:pipeline(stages)
  return require("vmctl.exec.pipeline").run(stages, self)
end

--- The guest's console output: the last part, up to `console_size` bytes (256 KiB).
---@return string
function methods:console()
  return self._console:text()
end

--- Passes the kept console output and then all further output to `take`, until `take` returns false or nil, or the console ends. A
--- `take` that is slower than the console misses output that is no longer kept. Waits.
---@param take fun(data: string): any
---@return true|nil, string?, string? code ECANCELED
function methods:follow_console(take)
  return self._console:follow(take)
end

--- Tells if the whole console output is in the file that `console_log` names: a full disk is logged once, and told here. Does
--- not wait.
---@return true|nil, string?, string? code ENOSPC, EIO …
function methods:console_status()
  return self._console:status()
end

--- Types on the guest's console.
---@return true|nil, string?, string?
function methods:console_write(bytes, timeout)
  return self._console:write(bytes, timeout)
end

--- Waits until the console shows a Lua pattern, in its kept or its further output. A match has 2 KiB at most.
---@param pattern string
---@param opts? { timeout: number?, plain: boolean? }|number
---@return string|nil match, string?, string? code ETIMEDOUT, EOF when the guest has ended
function methods:wait_console(pattern, opts)
  opts = options.check(opts, { timeout = "number", plain = "boolean" }, "wait_console")
  local found, err, code = self._console:wait(pattern, opts.timeout or CONSOLE_TIMEOUT, opts.plain)
  if not found then return self._report:explain(("console never showed '%s': %s"):format(pattern, err), code) end
  return found
end

--- Waits until the guest has ended.
---@param timeout? number seconds, 600 by default
---@return { exit_code: integer?, signal: string? }|nil record of QEMU's end, string?, string? code ETIMEDOUT, ECLOSED
function methods:wait(timeout)
  return self._process:wait(timeout or WAIT_TIMEOUT)
end

--- Powers the guest off: asks its agent, then waits for QEMU's end.
---@param opts? { timeout: number? }|number seconds, 20 by default; a guest that needs longer is killed
---@return true|nil, string?, string? code ETIMEDOUT: it had to be killed
function methods:shutdown(opts)
  opts = options.check(opts, { timeout = "number" }, "shutdown")
  local timeout = opts.timeout or SHUTDOWN_TIMEOUT
  local deadline = core.now() + timeout
  poweroff.ask(self._clients, self._process, timeout * 0.75)
  local ended, err, code = self:wait(deadline - core.now())
  if not ended and code == "ETIMEDOUT" then
    self:kill()
    return errors.fail("ETIMEDOUT", "shutdown %s: it did not end within %g s and was killed", self.name, timeout)
  end
  self:close()
  if not ended then return nil, err, code end
  return true
end

--- Returns the confinement that the kernel applies to its QEMU. Does not wait.
---@return { sandbox: boolean, no_new_privileges: boolean, capabilities: boolean, core_dumps: boolean, uid: integer, gid: integer,
--- open_files: integer?, landlock: integer|false, user_reason: string }|nil
-- sandbox: a filter of system calls; capabilities: it has some; uid, gid: of a user of its own, or ours; user_reason: why;
-- open_files: at most; landlock: the version of Landlock that keeps it from other files than its own, false: it may use others
---@return string? message, string? code ECLOSED, ERESET: it has ended
function methods:confinement()
  local ok, err, code = self._process:check()
  if not ok then return nil, err, code end
  if self._far then return self._far:confinement() end
  local found = confinement.of(self.pid)
  if not found then return errors.fail("ERESET", "%s: its QEMU has ended", self.name) end
  found.landlock, found.user_reason = self._confinement.landlock, self._confinement.user_reason
  return found
end

--- Ends QEMU at once, and waits for that.
---@return true|nil, string?, string? code ECLOSED
function methods:kill()
  self._process:kill()
  local record, err, code = self:wait(KILL_TIMEOUT)
  self:close()
  if not record then return nil, err, code end
  return true
end

--- Closes the machine; QEMU is killed if it still runs. Idempotent, never waits.
---@return true
function methods:close()
  if self._closed then return true end
  self._closed = true
  if self._lead then self._lead:cancel() end
  for _, name in ipairs { "_clients", "_channel", "_process", "_console", "_monitor", "_beside", "_far" } do
    if self[name] then self[name]:close() end
  end
  return true
end

mt.__close = methods.close
mt.__gc = methods.close

function mt:__tostring()
  return ("vmctl.Machine(%s, %s%s)"):format(self.name, self.accel, self._process:record() and ", ended" or "")
end

--- Builds guest images; see vmctl.machine.image.
M.image = setmetatable({}, { __index = function(_, name) return require("vmctl.machine.image")[name] end })

return M
