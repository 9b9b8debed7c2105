--- Resumes, saves and restores a guest, and refreshes its clock and random numbers afterwards. A machine has the methods
--- of this object.
local core = require "vmctl.core"
local options = require "vmctl.base.options"

local M = {}

local RESTORE_TIMEOUT, RESUME_TIMEOUT, CLOCK_TIMEOUT = 120, 10, 30 -- seconds

---@class vmctl.Resume
local methods = {}
local mt = { __name = "vmctl.Resume", __index = methods }

--- Makes the object. It holds no reference to the machine.
---@param control vmctl.Control
---@param snapshots vmctl.Snapshots
---@param clients vmctl.AgentClients
---@param epoch vmctl.Epoch
function M.new(control, snapshots, clients, epoch)
  return setmetatable({ _control = control, _snapshots = snapshots, _clients = clients, _epoch = epoch }, mt)
end

-- Refreshes the guest after it was stopped. A guest whose agent does not answer keeps a late clock, which is logged.
local function refresh_standing(self, what, timeout)
  if self._clients:has_answered() then self._clients:refresh(what, timeout) end
end

--- Lets the guest's processors run. If the guest's agent has answered before, waits at most 10 seconds until it has set the clock and
--- reseeded the random numbers. Idempotent.
---@return true|nil, string?, string?, table? as vmctl.QmpClient.execute
function methods:resume()
  local stood = self._control:status() == "paused"
  local ok, err, code, problem = self._control:resume()
  if not ok then return nil, err, code, problem end
  if stood then refresh_standing(self, { clock = true, seed = true }, RESUME_TIMEOUT) end
  return true
end

--- Saves the guest's state under a name: memory, devices, and all writable disks, which must be qcow2. The guest is stopped meanwhile,
--- and its clock is set afterwards. Only a QEMU of the same version, on a processor of the same model, can load the state. Waits.
---@param name string a new one
---@param opts? number|{ timeout: number?, path: string? } seconds, 120 by default; path: the image file, which is made if it
-- does not exist, and kept; by default a private one, which is removed with the machine
---@return true|nil, string?, string?, table? EREMOTE: a disk cannot be saved, the name is taken, another machine has `path` open …
function methods:snapshot(name, opts)
  local ok, err, code, problem = self._snapshots:save(name, opts)
  if not ok then return nil, err, code, problem end
  if self._control:status() == "running" then refresh_standing(self, { clock = true }, RESUME_TIMEOUT) end
  return true
end

local restore_options = { timeout = "number", path = "string", agent = "boolean" }

--- Restores the guest from a snapshot: one of its own or, with `path`, one of another machine that was launched with the same options
--- and has ended (QEMU locks an open file), on the same processor model and QEMU version. A new epoch begins: calls in flight fail with
--- ERESET. Waits until the agent has answered, set the guest's clock and reseeded its random numbers; for a guest that was paused when
--- it was saved, `resume` does that.
---@param name string
---@param opts? number|{ timeout: number?, path: string?, agent: boolean? } seconds for all of it, 120 by default; agent: false for a
-- guest that has no agent to wait for
---@return true|nil, string?, string?, table? ENOENT: no snapshot has that name; EREMOTE: it does not match the machine, and the
-- guest is stopped; ETIMEDOUT: the guest runs, but its agent does not answer
function methods:restore(name, opts)
  opts = options.check(opts, restore_options, "restore")
  local deadline = core.now() + (opts.timeout or RESTORE_TIMEOUT)
  local ok, err, code, problem = self._snapshots:load(name, { timeout = deadline - core.now(), path = opts.path })
  if not ok then return nil, err, code, problem end
  self._epoch:advance "restore"
  if opts.agent == false or self._control:status() ~= "running" then return true end
  ok, err, code = self._clients:refresh({ clock = true, seed = true }, deadline - core.now())
  if ok or code == "EREMOTE" or code == "ENOTSUP" or code == "EEXIT" or code == "EPROTO" then return true end -- it answered
  return nil, ("restore '%s' of %s: %s"):format(name, self._control:name(), err), code
end

--- Sets the guest's clock to that of this host, through its agent. Waits. vmctl does so by itself after `resume`, `snapshot` and
--- `restore`, and after a suspension of this host.
---@param opts? number|{ timeout: number? } seconds, 30 by default
---@return number|nil offset seconds by which the guest's clock was ahead; below 0: late
---@return string? message
---@return string? code EREMOTE: its agent may not set the clock; else as `run`
function methods:sync_clock(opts)
  opts = options.check(opts, { timeout = "number", reseed = "boolean" }, "sync_clock")
  local done, err, code = self._clients:refresh({ clock = true, seed = opts.reseed }, opts.timeout or CLOCK_TIMEOUT)
  if not done then return nil, ("sync_clock of %s: %s"):format(self._control:name(), err), code end
  return done.clock_offset
end

--- Removes a snapshot. Waits.
---@return true|nil, string?, string?, table? ENOENT
function methods:delete_snapshot(name, opts)
  return self._snapshots:delete(name, opts)
end

return M
