--- Adds virtio-serial ports to a running guest. A machine has the methods of its ports.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local options = require "vmctl.base.options"

local M = {}

local UNPLUG = 10   -- seconds
local BUS = "serial0.0"         -- of the controller that vmctl.machine.agent_channel gives a guest

-- QEMU gets one end of a socket pair.
local function connect_chardev(client, id)
  local stream, theirs, code = core.pair()
  if not stream then return nil, theirs, code end
  local ok, err
  ok, err, code = client:execute("getfd", { fdname = id }, { fd = theirs:fileno() })
  theirs:close()
  if ok then
    ok, err, code = client:execute("chardev-add", { id = id, backend = { type = "socket", data = {
      addr = { type = "fd", data = { str = id } }, server = false } } })
  end
  if ok then return stream end
  stream:close()
  return nil, err, code
end

local function unplug(client, port, deadline)
  local following = client:events { timeout = math.max(deadline - core.now(), 0) }
  local ok, err, code, problem = client:execute("device_del", { id = port })
  if ok == nil then return nil, err, code, problem end
  while true do
    local event
    event, err, code = following()
    if not event then return nil, err, code end
    if event.event == "DEVICE_DELETED" and event.data.device == port then return true end
  end
end

---@class vmctl.Ports
local methods = {}
local mt = { __name = "vmctl.Ports", __index = methods }

---@param control vmctl.Control of the machine
---@param has_bus boolean true if the guest has a virtio-serial bus
function M.new(control, has_bus)
  return setmetatable({ _control = control, _has_bus = has_bus, _ids = {}, _made = 0 }, mt)
end

local function failed(self, what, name, err, code, problem)
  return nil, ("%s %s of %s: %s"):format(what, name, self._control:name(), err), code, problem
end

--- Adds a port. The guest sees it as /dev/virtio-ports/NAME, or as a /dev/vportNpM whose name is in /sys/class/virtio-ports. QEMU's own
--- guest agent is reached through such a port: `vmctl.qga.connect(function() return stream end)`. Waits.
---@param name string "org.qemu.guest_agent.0" for instance
---@return vmctl.Stream|nil stream the host's end, which the caller closes; the port itself is removed with the machine
---@return string? message
---@return string? code EBUSY: a port has that name; ENOTSUP: the guest is reached over vsock, and has no virtio-serial bus
---@return table? problem
function methods:add_port(name)
  if type(name) ~= "string" or name == "" then error("add_port: a name expected", 2) end
  if not self._has_bus then return errors.fail("ENOTSUP", "add port %s to %s: no virtio-serial bus", name, self._control:name()) end
  if self._ids[name] then return errors.fail("EBUSY", "add port %s to %s: it is there", name, self._control:name()) end
  self._made = self._made + 1
  local id = "vmctl-port" .. self._made
  self._ids[name] = id -- set before the first wait: another task may add the same name
  local client, err, code = self._control:qmp()
  local stream, ok, problem
  if client then stream, err, code = connect_chardev(client, id .. "-socket") end
  if stream then
    ok, err, code, problem = client:execute("device_add",
      { driver = "virtserialport", id = id, chardev = id .. "-socket", name = name, bus = BUS })
  end
  if ok then
    stream:label(("port %s of %s"):format(name, self._control:name()))
    return stream
  end
  self._ids[name] = nil
  if stream then
    stream:close()
    client:execute("chardev-remove", { id = id .. "-socket" })
  end
  return failed(self, "add port", name, err, code, problem)
end

--- Removes a port from the guest; the host's stream ends. Waits.
---@param opts? number|{ timeout: number? } seconds, 10 by default
---@return true|nil, string?, string?, table? ENOENT: no such port was added; ETIMEDOUT: the guest has not released it
function methods:remove_port(name, opts)
  local timeout = options.check(opts, { timeout = "number" }, "remove_port").timeout or UNPLUG
  local id = self._ids[name]
  if not id then return errors.fail("ENOENT", "remove port %s of %s: it was not added", name, self._control:name()) end
  local client, err, code = self._control:qmp()
  local ok, problem
  if client then ok, err, code, problem = unplug(client, id, core.now() + timeout) end
  if ok then ok, err, code, problem = client:execute("chardev-remove", { id = id .. "-socket" }) end
  if ok == nil then return failed(self, "remove port", name, err, code, problem) end
  self._ids[name] = nil
  return true
end

return M
