--- The channel to a guest's agent: AF_VSOCK if this machine can be a vsock host, else a virtio-serial port that carries many
--- streams.
local address = require "vmctl.net.address"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local locks = require "vmctl.base.lock"
local mux = require "vmctl.mux"

local M = {}

local VHOST = require("vmctl.machine.host_devices").VHOST_VSOCK
local FIRST_CID, LAST_CID = 1 << 16, 1 << 30 -- CIDs are machine-wide: drawn from a range that other programs rarely use
local ATTEMPTS = 16                          -- random CIDs that are tried

-- vsock

local vsock = {}
local vsock_mt = { __index = vsock }

-- Opens the device here and passes the descriptor to QEMU, so that the CID is reserved before QEMU runs.
function vsock:arguments(spec, fd)
  return { "-device", ("vhost-vsock%s,guest-cid=%d,vhostfd=%d"):format(spec.suffix, self.cid, fd) }
end

function vsock:started()
  self._device:close()
end

function vsock.connect() return true end -- the kernel connects each stream

function vsock:address(port)
  local streams = self._streams
  return address.vsock(self.cid, port):observed(function(stream) streams[stream] = true end)
end

-- A restarted guest does not end its connections: its kernel does not know them, and answers only when data arrives on one.
function vsock:drop()
  for stream in pairs(self._streams) do stream:hang_up() end
end

function vsock:close()
  self._device:close()
end

local function open_device(wanted)
  local cid, device, err, code = wanted, nil, nil, nil
  for _ = 1, wanted and 1 or ATTEMPTS do
    cid = wanted or math.random(FIRST_CID, LAST_CID)
    device, err, code = core.open_vhost_vsock(VHOST, cid)
    if device or code ~= "EADDRINUSE" then break end
  end
  return device, device and cid or err, code
end

local function open_vsock(name, wanted)
  local device, cid, code = open_device(wanted)
  if device then
    return setmetatable({
      cid = cid, fd = device:fileno(), stdin = "null", kind = "vsock", _device = device,
      _streams = setmetatable({}, { __mode = "k" }),
    }, vsock_mt)
  elseif code == "EADDRINUSE" and wanted then
    return errors.fail(code, "launch %s: CID %d is another guest's", name, wanted)
  elseif code == "ENOENT" or code == "EACCES" or code == "EPERM" or code == "ENXIO" then
    return errors.fail("ENODEV", "launch %s: channel vsock: %s is not there, or not ours to open", name, VHOST)
  end
  return errors.fail(code, "launch %s: channel vsock: %s", name, cid)
end

-- virtio-serial

local PORT_ID = "mux0"

local serial = {}
local serial_mt = { __index = serial }

function serial.arguments(_, spec)
  return {
    "-device", ("virtio-serial%s,id=serial0"):format(spec.suffix), "-chardev", "socket,id=mux,fd=0",
    "-device", ("virtserialport,id=%s,chardev=mux,name=%s"):format(PORT_ID, mux.PORT_NAME),
  }
end

function serial:started()
  self._theirs:close()
end

-- A session with the guest of this epoch: a session that began before a reset does not count.
local function begin_session(self, deadline)
  local age
  repeat
    if self._mux then self._mux:ended(deadline - core.now()) end
    age = self._age
    local session, err, code = mux.connect(self._link, deadline - core.now())
    if not session then return nil, err, code end
    self._mux, self._begun = session, core.unix_time()
    if age ~= self._age then session:drop() end
  until age == self._age
  return true
end

-- One task begins the session; other tasks wait for it.
function serial:connect(timeout)
  local deadline = core.now() + timeout
  return self._lock:with(timeout, function()
    if self._mux and self._mux:alive() then return true end
    return begin_session(self, deadline)
  end)
end

--- Handles QEMU's event that the guest's end of the port was opened or closed. QEMU merges the events of one second into the last one,
--- so a restarted agent may cause an opening only. Returns true if the agent is another one than that of the session.
---@param at integer nanoseconds since 1970
function serial:is_news(at)
  return self._mux ~= nil and at > self._begun
end

-- The guest was restarted and does not know the session.
function serial:drop()
  self._age = self._age + 1
  if self._mux then self._mux:drop() end
end

function serial:address(port)
  return address.func(function(timeout)
    local deadline = core.now() + timeout
    local ok, err, code = self:connect(timeout)
    if not ok then return nil, err, code end
    return self._mux:connect(port, deadline - core.now())
  end, ("%s:%d"):format(self._name, port))
end

function serial:close()
  if self._mux then self._mux:close() end
  self._link:close()
  self._theirs:close()
end

local function open_serial(name)
  local ours, theirs, code = core.pair()
  if not ours then return nil, theirs, code end
  ours:label("link to " .. name)
  return setmetatable({
    port = PORT_ID, _link = ours, _theirs = theirs, _name = name, _lock = locks.lock(), _age = 0, stdin = theirs:fileno(), kind = "mux",
  }, serial_mt)
end

--- Chooses and prepares a channel; `opts.channel` can name one.
---@return table|nil channel with arguments(spec, fd), started(), connect(timeout), address(port), drop(), close(); `fd`: the
-- descriptor for QEMU, if the channel has one; `port`: QEMU's id of the port, which its events name
---@return string?, string? code ENODEV: this machine has no vsock; EADDRINUSE: the CID is taken
function M.choose(_, opts, name)
  local how = opts.channel or "auto"
  if how == "mux" then return open_serial(name) end
  local found, err, code = open_vsock(name, opts.cid)
  if found or how == "vsock" or code ~= "ENODEV" then return found, err, code end
  return open_serial(name)
end

return M
