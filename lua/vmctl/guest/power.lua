--- Powers the guest off, with any PID 1.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local log = require "vmctl.log"
local process = require "vmctl.process"
local texts = require "vmctl.text"

local M = {}

--- The command that stands for SIGTERM to PID 1, as in the reference.
M.SIGNAL_INIT = "signal-init"

local COMMAND_TIMEOUT = 30 -- seconds
local GRACE = 60           -- seconds for the power-off after the command has succeeded
local SAID = 512           -- bytes of a command's output that are shown

-- The job of `systemctl poweroff`, without asking logind first: where that cannot start, as on a read-only root, an answer takes nearly
-- a minute.
local SYSTEMD = { "systemctl", "start", "poweroff.target", "--job-mode=replace-irreversibly", "--no-block" }

local function command(given)
  if given == M.SIGNAL_INIT then return { "kill", "-TERM", "1" } end
  if given then return { "/bin/sh", "-c", given } end
  if fs.stat "/run/systemd/system" then return SYSTEMD end
  return { "poweroff" }
end

local function run(argv)
  argv.stdin, argv.stdout, argv.stderr = "null", "pipe", "stdout"
  local child <close>, err, code = process.spawn(argv)
  if not child then return nil, err, code end
  local deadline, said = core.now() + COMMAND_TIMEOUT, ""
  repeat
    local data = child.stdout:read(SAID, deadline - core.now())
    said = #said < SAID and said .. (data or "") or said
  until not data
  local record
  record, err, code = child:wait(deadline - core.now())
  if not record then return nil, err, code end
  if record.exit_code == 0 then return true end
  local text = said ~= "" and log.one_line(texts.trim_end(said), SAID) or "it said nothing"
  return errors.fail("EIO", "%s ended with %s: %s", argv[1], record.exit_code or record.signal, text)
end

--- Makes the power-off function: it calls `power` (which returns only on failure), runs the given command, or runs the one of this
--- system. With a root folder only `power` or a given command is used, because the guest is not this machine.
---@param opts { root: string, power: function?, poweroff: string?, grace: number? }
---@return fun(): nil, string, string waits; returns only when the guest still runs
function M.off(opts)
  if opts.power then
    return function()
      local _, err, code = opts.power "off"
      return nil, err or "the kernel did not power the machine off", code or "EIO"
    end
  elseif opts.root ~= "" and (not opts.poweroff or opts.poweroff == M.SIGNAL_INIT) then
    return function() return errors.fail("EPERM", "a root folder can not be powered off") end
  end
  return function()
    local ok, err, code = run(command(opts.poweroff))
    if not ok then return nil, err, code end
    local grace = opts.grace or GRACE
    ok, err, code = core.sleep(grace)
    if not ok then return nil, err, code end
    return errors.fail("ETIMEDOUT", "the guest still runs %g s after it was told to power off", grace)
  end
end

return M
