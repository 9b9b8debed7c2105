--- A machine's methods for its system: the wait until it is up, its services and its journal.
local errors = require "vmctl.errors"
local links = require "vmctl.machine.links"
local options = require "vmctl.base.options"
local system = require "vmctl.system"

local M = {}

local READY_TIMEOUT = 60 -- seconds

--- Waits until the guest's agent answers, which is asked each time, or, with target "system", until its init has started all services.
--- Of systemd that is the state "running", of OpenRC its default level; a guest without them is up when its agent answers.
--- `vm.clock_source` is then the clock of its kernel, if the agent is ours. The log warns of a clock that may run slow, and of network
--- cards without a peer.
---@param opts? { timeout: number?, target: "agent"|"system"? }|number seconds for all of it, 60 by default
---@return number|nil seconds since the call
---@return string? message with the console's last lines; of a system that is degraded with its failed units and the tails of their
-- journals; of one that is late with the units that are still starting
---@return string? code ETIMEDOUT; ERESET: QEMU has ended; EREMOTE: the system is degraded
---@return { state: string, failed: string[]?, jobs: string[]? }? details of the system
function M:wait_ready(opts)
  opts = options.check(opts, { timeout = "number", target = { "agent", "system" } }, "wait_ready")
  local seconds, err, code, details = self._readiness:wait(opts.timeout or READY_TIMEOUT, opts.target == "system")
  if not seconds then return nil, err, code, details end
  self.clock_source = self._clients:told().clock_source
  if #self.macs > 0 then links.tell(self.name, self._control) end
  return seconds
end

--- Tells how the agent of a guest with a root was started: "stage1", "initrd" (appended to the disk's own), or with boot = "firmware"
--- "extra-unit", "tmpfiles" or "qemu-ga". Waits.
---@return string|nil way, string?, string? code ENOENT: it has no root
function M:agent_came_by()
  if not self._root then return errors.fail("ENOENT", "%s has no root", self.name) end
  local client, err, code = self._clients:exec()
  if not client then return nil, err, code end
  return self._root:way(client)
end

--- Calls the guest's systemctl. Waits.
---@param words string[]|string a string is split at its spaces
---@param opts? { timeout: number?, user: string? } seconds (120); user: the service manager of that user, who must be logged in
---@return table|nil record as of `run`: an exit code other than 0 is a result
---@return string?, string? code ENOTSUP: the guest has no systemctl
function M:systemctl(words, opts)
  local client, err, code = self._clients:exec()
  if not client then return nil, err, code end
  return system.systemctl(client, words, opts)
end

--- A unit of the guest's systemd, with start, stop, restart, reload, enable, disable, mask, unmask, reset_failed, is_active, show, wait and
--- journal. Does not wait.
---@param name string "nginx.service"
---@param opts? { user: string? } of that user's service manager
---@return vmctl.Unit
function M:unit(name, opts)
  opts = options.check(opts, { user = "string" }, "unit")
  local clients = self._clients
  return system.unit(function() return clients:exec() end, name, "unit", opts.user)
end

-- The last lines of the journal for a failure's report; nil where none can be had soon.
function M:_journal_tail()
  if self._process:record() or not self._clients:answers() then return nil end
  local client = self._clients:exec()
  return client and system.tail(client)
end

--- Reads the guest's journal. Waits for the entries that are there; with `follow` only until journalctl runs.
---@param opts? vmctl.JournalOptions unit, since, until, lines, priority, boot, identifier, fields, max_bytes, follow, timeout, user
---@return vmctl.JournalEntry[]|vmctl.Journal|nil entries the oldest first: each with time, message, priority, unit, identifier, pid,
-- cursor and fields; `dropped` is the number of those that were too many. With `follow` a journal with `next`, `entries` and `close`
---@return string?, string? code ENOTSUP: the guest has no journalctl; EREMOTE: with its words; ETIMEDOUT …
function M:journal(opts)
  local client, err, code = self._clients:exec()
  if not client then return nil, err, code end
  return system.journal(client, opts)
end

return M
