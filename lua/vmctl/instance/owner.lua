--- The owner of an instance: the process that runs its guest, in the background, and shares it under its name. `vmctl.instance.start`
--- starts it and reads its answer, one line of JSON, from its standard output.
local core = require "vmctl.core"
local create = require "vmctl.instance.create"
local errors = require "vmctl.errors"
local json = require "vmctl.json"
local log = require "vmctl.log"
local machine = require "vmctl.machine"
local share = require "vmctl.machine.share"
local signals = require "vmctl.signals"
local staged = require "vmctl.base.staged"
local store = require "vmctl.instance.store"
local task = require "vmctl.base.task"

local M = {}

local answered = false

-- Answers the process that has started it, which may have ended.
local function answer(value)
  if answered then return end
  answered = true
  io.stdout:write(assert(json.encode(value)), "\n")
  io.stdout:flush()
end

-- Leftovers of a process that was killed while it made the disk. The lock is held.
local function remove_leftovers(options)
  local kept = options.root.keep
  if kept then staged.remove_leftovers(kept) end
end

local function boot(folder, spec, how)
  local options = create.launch_options(folder, spec)
  remove_leftovers(options)
  local vm, err, code = machine.launch(options)
  if not vm then return nil, err, code end
  local shared
  shared, err, code = share.open(vm)
  if not shared then
    vm:close()
    return nil, err, code
  end
  local ready
  ready, err, code = vm:wait_ready(how)
  if ready then return vm, shared, ready end
  vm:close()
  shared:close()
  return nil, err, code
end

-- Waits until the guest ends, or a signal ends it.
local function stay(vm, watch)
  return task.race {
    function()
      local record, err, code = vm:wait(math.huge)
      if not record then return code == "ECLOSED" or nil, err, code end -- vmctl stop has powered it off
      if record.exit_code == 0 then return true end
      return errors.fail("ERESET", "its QEMU has ended: %s", record.signal or "exit code " .. tostring(record.exit_code))
    end,
    function()
      repeat local name = watch:next() until name ~= "PIPE"
      return vm:shutdown()
    end,
  }
end

local function run(folder, spec, how, watch)
  local begin = core.now()
  local ok, err, code = store.set_state(folder, { phase = "starting" })
  if not ok then return nil, err, code end
  local vm, shared, ready = boot(folder, spec, how)
  if not vm then
    err, code = shared, ready
    if code == "ECLOSED" then return nil, "it was stopped while it started", "ECANCELED" end
    return nil, err, code
  end
  local guard <close> = vm -- luacheck: ignore
  local door <close> = shared -- luacheck: ignore
  ok, err, code = store.set_state(folder, { phase = "running", pid = vm.pid, folder = shared.folder, ready = core.now() - begin })
  if not ok then return nil, err, code end
  answer { name = spec.name, pid = vm.pid, folder = shared.folder, ready = core.now() - begin }
  return stay(vm, watch)
end

local function main(name, how)
  local folder, err, code = store.folder(name)
  if not folder then return nil, err, code end
  local lock <close>, why, reason = store.lock(folder) -- luacheck: ignore
  if not lock then
    if reason == "EBUSY" then return errors.fail("EBUSY", "the instance '%s' runs already", name) end
    return nil, why, reason
  end
  local spec
  spec, err, code = store.read(name)
  if not spec then return nil, err, code end
  local watch <close> = assert(signals.watch { "INT", "TERM", "HUP", "PIPE" }) -- luacheck: ignore
  local ok
  ok, err, code = run(folder, spec, how, watch)
  local phase = (ok or code == "ECANCELED") and "stopped" or "failed"
  store.set_state(folder, { phase = phase, error = phase == "failed" and log.sanitize(err) or nil })
  return ok, err, code
end

--- Runs an instance until it ends.
---@param name string
---@param timeout number seconds in which the guest has to be ready
---@param target "agent"|"system" its state before the answer, as for wait_ready
---@return integer exit status
function M.main(name, timeout, target)
  local worked, ok, err, code = pcall(task.run, main, name, { timeout = timeout, target = target })
  if not worked then ok, err, code = nil, tostring(ok), "EINVAL" end
  if ok then return 0 end
  io.stderr:write("vmctl: ", log.sanitize(err), "\n")
  answer { error = log.sanitize(err), code = code or "" }
  return 1
end

return M
