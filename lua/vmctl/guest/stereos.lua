--- The guest's side of StereOS' control plane: the handlers for a server of vmctl.stereos, and the work
--- between its requests (docs/wire/stereos.md#guest-actions).
local agentd = require "vmctl.guest.agentd"
local core = require "vmctl.core"
local config = require "vmctl.guest.config"
local fs = require "vmctl.base.fs"
local health = require "vmctl.guest.health"
local keys = require "vmctl.guest.keys"
local log = require "vmctl.log"
local mounts = require "vmctl.guest.mounts"
local options = require "vmctl.base.options"
local power = require "vmctl.guest.power"
local secrets = require "vmctl.guest.secrets"
local task = require "vmctl.base.task"

local M = {}

local SYNC_TIMEOUT = 10 -- seconds
local GRACE = 0.2 -- seconds for the last lines to be sent before the power-off

local known = {
  root = "string", config_path = "string", secrets_dir = "string", health_dir = "string", agents = "function",
  on_state = "function", power = "function", poweroff = "string", grace = "number>=0", system = "table",
  began = "number",
}

---@class vmctl.GuestService
local methods = {}
local mt = { __name = "vmctl.GuestService", __index = methods }

--- Marks the guest as booted: its state now depends on its agents.
function methods:ready()
  self._health:enter "ready"
end

--- Reports changes of the agents' states until it is cancelled. Waits.
---@return nil, string, string ECANCELED
function methods:run()
  return self._health:run()
end

-- Syncs with a time limit: a disk that does not answer must not block the power-off.
local function sync()
  local ok, err, code = task.timeout(SYNC_TIMEOUT, fs.sync)
  if not ok and code == "ETIMEDOUT" then log.error("shutdown: %s; the guest ends without that", err) end
end

-- Runs after the ack was sent.
local function shut_down(self, reason)
  if self._ending then return end
  self._ending = true
  self._health:enter("shutdown", reason ~= "" and reason or nil)
  core.sleep(GRACE)
  self._mounts:unmount_all()
  if self._root == "" then sync() end
  local _, err, code = self._power()
  if code == "ECANCELED" then return end -- we end as well
  log.error("shutdown: %s", err)
  self._ending = false
  self._health:enter("ready", "shutdown failed: " .. err)
end

local function make_handlers(self, opts)
  return {
    set_config = config.handler(opts),
    inject_secret = secrets.handler(opts),
    inject_ssh_key = keys.handler(opts),
    mount = function(payload) return self._mounts:mount(payload) end,
    get_health = function() return self._health:report() end,
    shutdown = function() return true, { changed = not self._ending } end,
    after = { shutdown = function(payload) shut_down(self, payload and payload.reason or "") end },
  }
end

--- Makes the handlers.
---@param opts? { root: string?, config_path: string?, secrets_dir: string?, health_dir: string?, agents: function?,
--- on_state: function?, power: function?, poweroff: string?, grace: number?, system: table?, began: number? } root: a
-- folder that is taken for "/" (secrets are then files in it, and their owner is not changed without the privilege);
-- the paths of the configuration file, the secrets' folder and the agents' status folder; agents(): entries in that folder's
-- place; on_state(state, message) is called when the state changes; power(how), or a command (or "signal-init"), powers off,
-- and has `grace` seconds for it (60); system: see vmctl.guest.mounts; began: since when the guest is up, on our clock
---@return table handlers, vmctl.GuestService service with ready() and run()
function M.handlers(opts)
  opts = options.merge({}, options.check(opts, known, "guest.handlers"))
  opts.root = (opts.root or ""):gsub("/+$", "")
  if opts.root ~= "" then opts.root = fs.real(opts.root) or opts.root end
  local self = setmetatable({
    _root = opts.root, _mounts = mounts.new(opts), _power = power.off(opts), _ending = false,
    _health = health.new {
      folder = opts.root .. (opts.health_dir or health.FOLDER), agents = opts.agents, on_state = opts.on_state,
      agentd = opts.root .. agentd.SOCKET,
      began = opts.began,
    },
  }, mt)
  return make_handlers(self, opts), self
end

return M
