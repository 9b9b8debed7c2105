--- vmctl runs virtual machines from Lua: reach a guest over whatever wire there is, know when it is ready, run pipelines of
-- commands in it. Its rooms (vmctl.exec, vmctl.machine …) are loaded when they are first used: `vmctl.NAME` is what
-- `require "vmctl.NAME"` returns.
require "vmctl.base.same_version"
local channel = require "vmctl.base.channel"
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local locks = require "vmctl.base.lock"
local log = require "vmctl.log"
local task = require "vmctl.base.task"
local version = require "vmctl.base.version"

---@class vmctl
local M = { _VERSION = "vmctl " .. version }

for _, module in ipairs { task, channel, locks, dial } do
  for name, value in pairs(module) do M[name] = value end
end

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
  files = true, format = true, forward = true, host = true, json = true, l2 = true, log = true, machine = true, mux = true,
  pipeline = true, process = true, protobuf = true, qga = true, qmp = true, ready = true, replay = true, rootfs = true, scenario = true,
  signals = true, socketforward = true, stereos = true, trace = true, ttrpc = true, vsock = true,
}

setmetatable(M, {
  __index = function(self, name)
    if not rooms[name] then return nil end
    local room = require("vmctl." .. name)
    rawset(self, name, room)
    return room
  end,
})

return M -- by its name: editors know its type then
