--- A guest's QEMU monitor: a socket pair, one end of which QEMU has. It is connected at the first request, so that a guest that needs
--- no monitor boots no slower.
local address = require "vmctl.net.address"
local background = require "vmctl.base.background"
local core = require "vmctl.core"

local M = {}

local GREETING = 60     -- seconds: QEMU may start slowly on a busy machine, and it sends its greeting only once

---@class vmctl.Monitor
local methods = {}
local mt = { __name = "vmctl.Monitor", __index = methods }

--- Opens the socket pair; QEMU gets `fd` as its descriptor 3.
---@param name string of the guest
function M.open(name)
  local ours, theirs, code = core.pair()
  if not ours then return nil, theirs, code end
  ours:label("monitor of " .. name)
  return setmetatable({ _stream = ours, _theirs = theirs, fd = theirs:fileno(), _name = name, _news = core.queue() }, mt)
end

--- The monitor of a QEMU on another machine: `open` connects at the first request. Does not wait.
---@param open fun(): vmctl.Stream|nil, string?, string?
---@param name string
function M.far(open, name)
  return setmetatable({ _open = open, _name = name, _news = core.queue() }, mt)
end

--- QEMU's arguments for the monitor.
function M.arguments()
  return { "-chardev", "socket,id=monitor,fd=3", "-mon", "chardev=monitor,mode=control" }
end

--- Closes our copy of QEMU's end, after QEMU was started.
function methods:started()
  self._theirs:close()
end

-- Connects in a task of its own: the caller's time limit must not interrupt the greeting, which QEMU sends only once.
local function connect(self)
  local at = address.func(self._open or function() return self._stream end, self._name)
  local client, err, code = require("vmctl.qmp").connect(at, { greeting_timeout = GREETING })
  self._client, self._err, self._code = client, err, code
  if client and self.on_event then client:on_event(self.on_event) end
  self._done = true
  self._news:wake()
end

--- Starts to connect, unless that has begun. Does not wait.
function methods:begin()
  if self._begun then return end
  self._begun = true
  self._task = background.spawn("monitor of " .. self._name, connect, self)
end

--- The client of the monitor. Waits until it is connected.
---@param timeout number seconds
---@return vmctl.QmpClient|nil, string?, string? code ETIMEDOUT, ERESET, ECLOSED
function methods:client(timeout)
  self:begin()
  local deadline = core.now() + timeout
  while not self._done do
    local ok, err, code = self._news:wait(deadline - core.now(), "wait for the monitor of " .. self._name)
    if not ok then return nil, err, code end
  end
  if not self._client then return nil, self._err, self._code end
  return self._client
end

--- Idempotent, never waits.
function methods:close()
  if self._task then self._task:cancel() end
  if self._client then self._client:close() end
  if not self._done then self._err, self._code = "closed", "ECLOSED" end
  self._done, self._begun = true, true
  if self._stream then self._stream:close() end
  if self._theirs then self._theirs:close() end
  self._news:wake()
end

return M
