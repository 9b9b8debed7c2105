--- vmctl run: starts a guest, for one command or until it powers off.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local exec = require "vmctl.cli.commands.exec"
local interrupt = require "vmctl.cli.interrupt"
local instance_store = require "vmctl.instance.store"
local log = require "vmctl.log"
local machine = require "vmctl.machine"
local machine_options = require "vmctl.cli.machine_options"
local output = require "vmctl.cli.output"
local share = require "vmctl.machine.share"
local task = require "vmctl.base.task"
local units = require "vmctl.cli.units"

local M = { words = 0 }

local READY_TIMEOUT = 120 -- seconds

function M.describe(command)
  command:summary "Boot a guest and run a command in it."
  command:description("Boots a guest, waits until it is ready, runs the command in it, and powers it off: the command's exit\n" ..
    "code is ours. Without a command the guest runs until it ends, or until Ctrl-C; others reach it by its name.\n" ..
    "A -- with nothing behind it runs the program that an image names as its own.\n" ..
    "  vmctl run -- uname -a\n  vmctl run --name web &\n  vmctl run --root oci:images:1 --\n" ..
    "  vmctl run --root disk:debian.qcow2 --writes keep --name debian")
  machine_options.describe(command)
  command:option("-n --name", "The guest's name."):argname "NAME"
  command:option("--on", "The machine that runs it: ssh:USER@HOST, or exec:COMMAND that leads to `vmctl serve --stdio` there.")
    :argname "WHERE"
  command:option("--ssh-option", "A word for ssh."):argname("WORD"):count "*"
  command:option("--ready-timeout", "Seconds in which it has to be ready (120)."):argname("SECONDS")
    :convert(units.seconds "--ready-timeout")
  command:option("--wait", "What it has to be before the command runs: agent: it answers (default), system: all is started.")
    :argname("WHAT"):choices { "agent", "system" }
  exec.command_options(command)
end

-- A "--" with nothing behind it.
local function is_image_program(opts) return opts.is_bare and #opts.rest == 0 end

local function describe_guest(opts)
  local spec, err, code = machine_options.take(opts)
  if not spec then return nil, err, code end
  if opts.writes == "keep" and not opts.name and not opts.keep then
    return errors.fail("EINVAL", "--writes keep needs the guest's name, by which it is found again (--name), or the file (--keep)")
  end
  if is_image_program(opts) and not opts.root then
    return errors.fail("EINVAL", "a -- with nothing behind it is for the program of an image: name one (--root)")
  end
  spec.name = opts.name or ("guest-%d"):format(math.random(0) & 0xffffff)
  if opts.name and instance_store.folder(opts.name) then
    return errors.fail("EEXIST", "an instance is called '%s': vmctl start %s starts it", opts.name, opts.name)
  end
  spec.on = opts.on and { opts.on, ssh_options = opts.ssh_option } or nil
  return spec
end

local function await_ready(vm, opts)
  local begin = core.now()
  log.progress(("%s: booting (%s)"):format(vm.name, vm.accel))
  return task.scope(function(scope)
    task.spawn_in(scope, function()
      while core.sleep(1) do log.progress(("%s: booting (%s), %.0f s"):format(vm.name, vm.accel, core.now() - begin)) end
    end)
    local took, err, code = vm:wait_ready { timeout = opts.ready_timeout or READY_TIMEOUT, target = opts.wait }
    scope:cancel()
    log.progress(nil)
    return took, err, code
  end)
end

-- Waits until the guest ends, or this program is interrupted.
local function stay(vm, opts, shared, took)
  output.result(opts, { name = vm.name, pid = vm.pid or vm.host_pid, folder = shared.folder, ready = took },
    ("%s is ready after %.1f s; vmctl shell %s, vmctl exec %s -- COMMAND"):format(vm.name, took, vm.name, vm.name))
  return task.race {
    function()
      local record, err, code = vm:wait(math.huge)
      if not record then return nil, err, code end
      io.stderr:write("vmctl: ", vm.name, " has ended\n")
      return 0
    end,
    function()
      interrupt.wait()
      local ok, err, code = vm:shutdown()
      return ok and 0 or nil, err, code
    end,
  }
end

local function boot(opts)
  local spec, err, code = describe_guest(opts)
  if not spec then return nil, err, code end
  return machine.launch(spec)
end

function M.run(opts)
  local vm <close>, err, code = boot(opts) -- luacheck: ignore
  if not vm then return nil, err, code end
  local shared <close>, why, how = share.open(vm) -- luacheck: ignore
  if not shared then return nil, why, how end
  local took
  took, err, code = await_ready(vm, opts)
  if not took then return nil, err, code end
  local status
  if #opts.rest == 0 and not opts.is_bare then
    status, err, code = stay(vm, opts, shared, took)
  else
    status, err, code = exec.perform(vm, opts, true)
    if status ~= nil then vm:shutdown() end
  end
  if status ~= 0 then return status, err, code end
  local logged
  logged, err, code = vm:console_status()
  if logged then return 0 end
  output.failure(opts, err, code)
  return output.INCOMPLETE
end

return M
