--- An instance that is a folder of this machine: no virtual machine at all. Its files are those below the folder. Its commands run on
--- this machine with their working folder in there, and are not confined to it.
local command = require "vmctl.cc.backend.command"
local core = require "vmctl.core"
local failure = require "vmctl.cc.backend.failure"
local tree = require "vmctl.tar.tree"
local wire = require "vmctl.cc.wire"

local M = {}

---@class vmctl.CcFolder
local methods = {}
local mt = { __name = "vmctl.CcFolder", __index = methods }

--- Makes it. InstanceNew's image, memory and mounts have no effect.
---@param backend vmctl.CcBackend
---@param snapshots vmctl.CcSnapshots
---@param on_output? fun(bytes: string) gets the output of the instance's only program, as it comes
---@return vmctl.CcFolder
function M.new(backend, snapshots, on_output)
  backend:open(true)
  return setmetatable({ _backend = backend, _snapshots = snapshots, _running = true, _ended = core.queue(),
    _on_output = on_output or function() end }, mt)
end

function methods:is_running()
  return self._running
end

local function finish(self, why)
  if not self._running then return end
  self._running, self._why = false, why
  self._ended:wake()
end

--- Waits until it is closed, its program has ended, or its time limit is over.
function methods:wait()
  while self._running do
    local ok, err, code = self._ended:wait(math.huge, "wait for the instance")
    if not ok then return failure.of("wait", "", err, code) end
  end
  if self._why then return failure.say("wait", "", self._why, wire.codes.TIMEOUT) end
  return true
end

--- Ends it at its time limit.
function methods:expire()
  finish(self, "timed out")
  self._backend:clear()
end

function methods:close()
  finish(self)
  self._backend:open(false)
  return true
end

--- There is no console whose size could be set.
function methods.set_console()
  return true
end

--- Fails to switch the network off: it is this machine's.
function methods.set_network(_, enabled)
  if enabled then return true end
  return failure.say("network", "", "a folder of this machine has no network of its own that could be switched off")
end

--- Makes a snapshot of the folder. Its parent is the snapshot before it. Other tasks run meanwhile.
function methods:snapshot(options)
  local root = self._backend.root
  local snapshot, err, code, where = self._snapshots:make(options.cache, nil, self._last, function(add)
    return tree.each(root, options.skip, add)
  end)
  self._last = snapshot or self._last
  return snapshot, err, code, where
end

--- Runs a program as the instance's only one: the instance ends with it.
function methods:exec(name, args)
  if not self._running then return failure.say("exec", name, "not running", wire.codes.NOT_RUNNING) end
  local cmd = command.new(self._backend.workspace, name, args)
  local status, err, code, where = cmd:start("pipe", "stdout")
  if status then
    status, err, code, where = cmd:pass_output(function(bytes)
      self._on_output(bytes)
      return true
    end)
  end
  cmd:close()
  if not status then return nil, err, code, where end
  finish(self)
  if status ~= 0 then return failure.say("exec", name, ("exit status %d"):format(status)) end
  return true
end

return M
