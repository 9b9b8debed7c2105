--- How the host reaches the guest's agent: AF_VSOCK where this machine can be a vsock host, else a virtio-serial port that
--- carries many streams.
local address = require "vmctl.net.address"
local channel = require "vmctl.base.channel"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local mux = require "vmctl.mux"

local M = {}

local VHOST = "/dev/vhost-vsock"
local FIRST_CID, LAST_CID = 1 << 16, 1 << 30 -- CIDs are machine-wide: chosen at random where others hardly look for theirs

-- vsock

local vsock = {}
local vsock_mt = { __index = vsock }

function vsock:arguments(spec)
  return { "-device", ("vhost-vsock%s,guest-cid=%d"):format(spec.suffix, self.cid) }
end

function vsock.started() end

function vsock.connect() return true end -- each connection is the kernel's

function vsock:address(port) return address.vsock(self.cid, port) end

-- The guest's kernel resets its connections after a restore; after a reset it answers what comes over old ones so.
function vsock.drop() end

function vsock.close() end

-- virtio-serial

local serial = {}
local serial_mt = { __index = serial }

function serial.arguments(_, spec)
  return {
    "-device", ("virtio-serial%s,id=serial0"):format(spec.suffix), "-chardev", "socket,id=mux,fd=0",
    "-device", "virtserialport,chardev=mux,name=" .. mux.PORT_NAME,
  }
end

function serial:started()
  self._theirs:close()
end

-- A session with the guest as it is now: one that was greeted before a reset is none.
local function begin_session(self, deadline)
  local age
  repeat
    if self._mux then self._mux:ended(deadline - core.now()) end
    age = self._age
    local session, err, code = mux.connect(self._link, deadline - core.now())
    if not session then return nil, err, code end
    self._mux = session
    if age ~= self._age then session:drop() end
  until age == self._age
  return true
end

-- One task begins the session, others that come meanwhile wait for it.
function serial:connect(timeout)
  local deadline = core.now() + timeout
  return self._lock:with(timeout, function()
    if self._mux and self._mux:alive() then return true end
    return begin_session(self, deadline)
  end)
end

-- The guest has begun anew, and knows nothing of the session.
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
    _link = ours, _theirs = theirs, _name = name, _lock = channel.lock(), _age = 0, stdin = theirs:fileno(), kind = "mux",
  }, serial_mt)
end

local function can_vhost()
  local file = io.open(VHOST, "r+")
  if file then file:close() end
  return file ~= nil
end

--- Chooses and prepares a channel; `opts.channel` may ask for one.
---@return table|nil channel with arguments(spec), started(), connect(timeout), address(port), close(), string?, string?
function M.choose(_, opts, name)
  local how = opts.channel or "auto"
  if how == "vsock" or (how == "auto" and can_vhost()) then
    if not can_vhost() then
      return errors.fail("ENODEV", "launch %s: channel vsock: %s is not there, or not ours to open", name, VHOST)
    end
    local cid = opts.cid or math.random(FIRST_CID, LAST_CID)
    return setmetatable({ cid = cid, stdin = "null", kind = "vsock" }, vsock_mt)
  end
  return open_serial(name)
end

return M
