--- vmctl runs virtual machines from Lua: reach a guest over whatever wire there is, know when it is ready, run pipelines of
-- commands in it. The parts (vmctl.exec, vmctl.machine …) are loaded when they are first used.
local core = require "vmctl.core"
local log = require "vmctl.log"
local task = require "vmctl.base.task"

---@class vmctl
local M = { _VERSION = "vmctl 0.1.0" }

for name, value in pairs(task) do M[name] = value end

log.isatty = function() return core.isatty(2) end
log.clock = core.now

if os.getenv "VMCTL_TRACE" then
  local there, trace = pcall(require, "vmctl.trace") -- the guest's agent is without it
  if there then trace.from_environment(M._VERSION) end
end

--- The event loop, for hosts that have one of their own: pollfd(), events(), timeout(), step(seconds).
M.loop = core.loop

--- Compiles a frame format, for `set_format` of a stream and the `format` of dial and listen. Does not wait.
---@param layout { type: 0|1|2|nil, length: 4|nil, max: integer, limits: table<integer, integer>?, order: "type"|"length"|nil,
-- stream: 0|4|nil, flags: 0|1|nil } type, length, stream, flags: bytes of each field of the header; max: bytes of a payload;
-- limits: by type, where it is not max; order: which field comes first
---@return vmctl.Format
M.format = core.format

local parts = {
  address = "vmctl.net.address", errors = "vmctl.errors", json = "vmctl.json", log = "vmctl.log",
  vsock = "vmctl.vsock", exec = "vmctl.exec", host = "vmctl.host",
  machine = "vmctl.machine", process = "vmctl.process", mux = "vmctl.mux", signals = "vmctl.signals",
  stereos = "vmctl.stereos", ready = "vmctl.ready", config = "vmctl.config", files = "vmctl.files", scenario = "vmctl.scenario",
  qmp = "vmctl.qmp", qga = "vmctl.qga",
  l2 = "vmctl.l2", protobuf = "vmctl.protobuf", ttrpc = "vmctl.ttrpc",
  trace = "vmctl.trace", clock = "vmctl.clock", doctor = "vmctl.doctor",
  cc = "vmctl.cc",  socketforward = "vmctl.socketforward",
}

local functions = {
  channel = "vmctl.base.channel", lock = "vmctl.base.channel", dial = "vmctl.net.dial", listen = "vmctl.net.dial", pair = "vmctl.net.dial",
  relay = "vmctl.net.dial", pipeline = "vmctl.exec.pipeline", forward = "vmctl.forward",
  replay = "vmctl.replay",
}

setmetatable(M, {
  __index = function(self, name)
    local value
    if parts[name] then
      value = require(parts[name])
    elseif functions[name] then
      value = require(functions[name])[name]
    end
    if value ~= nil then rawset(self, name, value) end
    return value
  end,
})

return M -- by its name: editors know its type then
