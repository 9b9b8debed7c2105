--- Joins streams of a session with parts of a guest: ports of its agent, its console, its monitor, its network cards.
local dial = require "vmctl.net.dial"
local errors = require "vmctl.errors"
local task = require "vmctl.base.task"
local wire = require "vmctl.remote.wire"

local M = {}

local LONGEST = 600     -- seconds for a connection to a guest's port
local TYPE = 10         -- seconds for which a console may take no input
local PIECE = 4096

local function join(stream, other)
  if wire.send(stream, {}) then
    dial.relay(stream, other)
  else
    other:close()
  end
  return true
end

--- A port of the guest's agent. Waits until it has ended.
---@param machine table of vmctl.serve.machine
---@param request table port, timeout: seconds until it is connected
function M.agent(machine, stream, request)
  if math.type(request.port) ~= "integer" then return errors.fail("EINVAL", "agent: a port expected") end
  local timeout = type(request.timeout) == "number" and math.min(math.max(request.timeout, 0), LONGEST) or LONGEST
  local guest, err, code = dial.dial(machine.vm:address(request.port), timeout)
  if not guest then return nil, err, code end
  return join(stream, guest)
end

local function type_in(vm, stream)
  while true do
    local data = stream:read(PIECE, math.huge)
    if not data or not vm:console_write(data, TYPE) then return end
  end
end

--- The console: sends its kept and its further output; received bytes are typed. Waits until it has ended.
function M.console(machine, stream)
  local ok, err, code = wire.send(stream, {})
  if not ok then return nil, err, code end
  task.scope(function(scope)
    task.spawn_in(scope, type_in, machine.vm, stream)
    machine.vm:follow_console(function(data) return stream:write(data, math.huge) end)
    scope:cancel()
  end)
  return true
end

-- A socket that QEMU has the other end of, which only one may have.
local function take(machine, name, stream)
  local socket = machine.sockets[name]
  if not socket then return errors.fail("EBUSY", "the %s is in use, or there is none", name) end
  machine.sockets[name] = nil
  return join(stream, socket)
end

--- The monitor, one that this program itself does not use. Waits until it has ended.
function M.monitor(machine, stream) return take(machine, "monitor", stream) end

--- A network card's frames, each behind its length in 32 bits (docs/wire/qemu-l2.md). Waits until it has ended.
---@param request table card: its index, from 1
function M.card(machine, stream, request)
  if math.type(request.card) ~= "integer" then return errors.fail("EINVAL", "card: its number expected") end
  return take(machine, ("network card %d"):format(request.card), stream)
end

--- A virtio-serial port that is added to the guest. Waits until it has ended.
---@param request table name
function M.port(machine, stream, request)
  if type(request.name) ~= "string" or request.name == "" then return errors.fail("EINVAL", "port: a name expected") end
  local port, err, code = machine.vm:add_port(request.name)
  if not port then return nil, err, code end
  return join(stream, port)
end

return M
