--- Controls a machine through QEMU's monitor: pause, resume, reset, power button, events, network carrier. A machine has the methods of
--- its control.
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local links = require "vmctl.machine.links"
local options = require "vmctl.base.options"

local M = {}

local CONNECT, RESET, EVENT = 30, 30, 60 -- seconds
local LOOK = 0.05                        -- seconds between two looks at a guest that starts again

local call_options = { timeout = "number" }

---@class vmctl.Control
local methods = {}
local mt = { __name = "vmctl.Control", __index = methods }

--- Makes the control. It holds no reference to the machine.
---@param parts { name: string, monitor: vmctl.Monitor, process: vmctl.QemuProcess, report: vmctl.Report, epoch: vmctl.Epoch,
--- macs: string[], reboots: boolean? } macs: the network cards' addresses; reboots: QEMU restarts a guest that reboots
function M.new(parts)
  return setmetatable({
    _name = parts.name, _monitor = parts.monitor, _process = parts.process, _report = parts.report, _epoch = parts.epoch,
    _macs = parts.macs, _reboots = parts.reboots,
  }, mt)
end

--- The machine's name.
---@return string
function methods:name() return self._name end

--- The client of QEMU's monitor: connected at the first call and closed with the machine. Waits at the first call.
---@param timeout? number seconds, 30 by default
---@return vmctl.QmpClient|nil, string?, string? code ECLOSED, ETIMEDOUT, ERESET: QEMU has ended
function methods:qmp(timeout)
  local ok, err, code = self._process:check()
  if not ok then return nil, err, code end
  return self._monitor:client(timeout or CONNECT)
end

--- Executes a command of QEMU's monitor, as vmctl.QmpClient.execute does.
function methods:execute(name, arguments, timeout)
  local client, err, code = self:qmp()
  if not client then return nil, err, code end
  return client:execute(name, arguments, timeout)
end

--- Gives QEMU a copy of a file's descriptor, and calls `fn(client, path)` with a path by which QEMU can open it until `fn` returns; a
--- file that QEMU has open then stays open. QEMU itself may use few paths of this machine.
---@param file userdata vmctl.File, opened for just what QEMU shall do with it; it stays the caller's
---@param fn fun(client: vmctl.QmpClient, path: string): any ...
---@return any ... of `fn`; or nil, message, code
function methods:with_file(file, fn)
  local client, err, code = self:qmp()
  if not client then return nil, err, code end
  local set, problem
  set, err, code, problem = client:execute("add-fd", nil, { fd = file:fileno() })
  if not set then return nil, err, code, problem end
  local results = table.pack(fn(client, ("/dev/fdset/%d"):format(set["fdset-id"])))
  client:execute("remove-fd", { ["fdset-id"] = set["fdset-id"] })
  return table.unpack(results, 1, results.n)
end

local function order(self, name, arguments)
  local ok, err, code, problem = self:execute(name, arguments)
  if ok == nil then return nil, err, code, problem end
  return true
end

--- QEMU's run state of the guest: "running", "paused", "shutdown", "guest-panicked" … Waits.
---@return string|nil status, string?, string? code ERESET: QEMU has ended
function methods:status()
  local answer, err, code = self:execute "query-status"
  if not answer then return nil, err, code end
  return answer.status
end

--- Stops the guest's processors until `resume`. Waits until they have stopped. Idempotent.
---@return true|nil, string?, string?, table? as vmctl.QmpClient.execute, here and below
function methods:pause() return order(self, "stop") end

--- Lets the guest's processors run. Idempotent.
---@return true|nil, string?, string?, table?
function methods:resume() return order(self, "cont") end

--- Presses the power button. Waits for QEMU's answer only; `wait` shows if the guest powers off (a microvm, and an init without ACPI,
--- ignore the button; `shutdown` asks the agent).
---@return true|nil, string?, string?, table?
function methods:powerdown() return order(self, "system_powerdown") end

local function act_on_reboot(self, action)
  return order(self, "set-action", { reboot = action })
end

-- Makes a reboot end the guest again, after the firmware has finished: it resets a PC once more by itself.
local function settle(self)
  while self._process:check() and self._epoch:is_in_firmware() do core.sleep(LOOK) end
  act_on_reboot(self, "shutdown")
end

--- For the machine, when its agent has answered: waits until a reboot ends the guest again, and logs network cards without a peer.
function methods:ready()
  if self._settling then self._settling:join(RESET) end
  self._settling = nil
  if #self._macs > 0 then links.tell(self._name, self) end
end

--- Resets the guest, like the reset button. The guest boots again (see `wait_ready`), and a new epoch begins: calls in flight fail with
--- ERESET. Waits until the reset is done.
---@param opts? number|{ timeout: number? } seconds, 30 by default
---@return true|nil, string?, string?, table?
function methods:reset(opts)
  opts = options.check(opts, call_options, "reset")
  local deadline, before = core.now() + (opts.timeout or RESET), self._epoch.number
  local ok, err, code, problem = act_on_reboot(self, "reset") -- QEMU ends at a reset otherwise
  if ok then ok, err, code, problem = order(self, "system_reset") end
  if ok then ok, err, code = self._epoch:wait_beyond(before, deadline - core.now()) end
  if not self._reboots and code ~= "ECLOSED" and code ~= "ERESET" then
    self._settling = background.spawn("reset of " .. self._name, settle, self)
  end
  if not ok then return nil, ("reset %s: %s"):format(self._name, err), code, problem end
  return true
end

--- Sets the carrier of a network card, as if its cable were plugged in or out. Waits.
---@param nic integer the card's index in `nics`, from 1
---@param up boolean
---@return true|nil, string?, string?, table? EINVAL: no card has this index
function methods:set_link(nic, up)
  if math.type(nic) ~= "integer" or type(up) ~= "boolean" then error("set_link: a card's number and true or false expected", 2) end
  if not self._macs[nic] then return errors.fail("EINVAL", "set_link of %s: there is no card %d", self._name, nic) end
  return order(self, "set_link", { name = "nic" .. nic - 1, up = up })
end

--- Names the peers of the network cards that are on sockets. Waits.
---@return { card: integer, type: string, info: string, connected: boolean }[]|nil links info: QEMU's words for it
---@return string?, string?
function methods:links()
  return links.ask(self)
end

--- An iterator over QEMU's events from now on, as vmctl.QmpClient.events gives it. Waits until the monitor is connected.
---@param opts? number|{ timeout: number? } seconds for each event
---@return function|nil iterator, string?, string?
function methods:events(opts)
  local client, err, code = self:qmp()
  if not client then return nil, err, code end
  return client:events(opts)
end

--- Waits for an event of QEMU, as vmctl.QmpClient does, or for QEMU's end. Events are kept from the first use of the monitor on.
--- A kernel panic ends QEMU; GUEST_PANICKED comes before that if the guest has a panic device and its module (on q35 `args`
--- with "-device", "pvpanic-pci", in the image `modules` with "pvpanic-pci").
---@param what string|fun(event: table): boolean
---@param opts? number|{ timeout: number? } seconds, 60 by default
---@return table|nil event, string? with the console's last lines, string? code ETIMEDOUT, ECLOSED; ERESET: QEMU has ended (returns at once)
function methods:wait_event(what, opts)
  local timeout = options.check(opts, call_options, "wait_event").timeout or EVENT
  local deadline = core.now() + timeout
  local client, err, code = self:qmp(timeout)
  local event
  if client then event, err, code = client:wait_event(what, deadline - core.now()) end
  if event then return event end
  local _, closed, how = self._process:check()
  if how == "ECLOSED" then return nil, closed, how end
  return self._report:explain(err, code)
end

--- The number of the guest's epoch: 1 from its launch on, one more after each reset, reboot or restore. Connections into the guest end
--- with an epoch. Does not wait.
---@return integer
function methods:epoch()
  return self._epoch.number
end

--- Calls `fn(number, why)` whenever a new epoch begins, in a task of its own: why is "reset", "reboot" or "restore". Does not wait.
---@return fun() cancel ends it
function methods:on_epoch(fn)
  if type(fn) ~= "function" then error("on_epoch: a function expected, got " .. type(fn), 2) end
  return self._epoch:listen(fn)
end

return M
