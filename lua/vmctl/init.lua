--- vmctl runs virtual machines from Lua: it reaches a guest over any transport, waits until it is ready, and runs pipelines of
-- commands in it. Its rooms (vmctl.exec, vmctl.machine …) are loaded when they are first used: `vmctl.NAME` is the result of
-- `require "vmctl.NAME"`.
require "vmctl.base.same_version"
local core = require "vmctl.core"
local log = require "vmctl.log"
local task = require "vmctl.base.task"
local version = require "vmctl.base.version"

---@class vmctl
local M = { _VERSION = "vmctl " .. version }

for name, value in pairs(task) do M[name] = value end

log.isatty = function() return core.isatty(2) end
log.clock = core.now

if os.getenv "VMCTL_TRACE" then
  local there, trace = pcall(require, "vmctl.trace") -- the guest's agent is without it
  if there then trace.from_environment(M._VERSION) end
end

--- The event loop, for hosts that have one of their own: pollfd(), events(), timeout(), step(seconds).
M.loop = core.loop

local rooms = {
  address = true, cc = true, cc_helper = true, clock = true, config = true, doctor = true, errors = true, exec = true,
  files = true, fleet = true, format = true, forward = true, host = true, instance = true, json = true, l2 = true, log = true,
  machine = true, mux = true,
  pipeline = true, process = true, protobuf = true, qga = true, qmp = true, ready = true, replay = true, rootfs = true, scenario = true,
  signals = true, socketforward = true, stereos = true, trace = true, ttrpc = true, vsock = true,
}

-- Functions of the table itself, by the module that has them.
local functions = {
  channel = "vmctl.base.channel", lock = "vmctl.base.lock", dial = "vmctl.net.dial", listen = "vmctl.net.dial",
  pair = "vmctl.net.dial", relay = "vmctl.net.dial",
}

setmetatable(M, {
  __index = function(self, name)
    local value
    if rooms[name] then
      value = require("vmctl." .. name)
    elseif functions[name] then
      value = require(functions[name])[name]
    end
    if value ~= nil then rawset(self, name, value) end
    return value
  end,
})

return M -- by its name: editors know its type then
