--- Another machine on which guests run: `vmctl serve --stdio` there, reached by a command's standard streams. A host that does not
--- answer is given up after `keepalive` seconds, and its guests' calls fail; vmctl does not reconnect by itself.
local background = require "vmctl.base.background"
local child = require "vmctl.remote.child"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local keepalive = require "vmctl.remote.keepalive"
local task = require "vmctl.base.task"
local wheres = require "vmctl.remote.where"
local wire = require "vmctl.remote.wire"
local yamux = require "vmctl.yamux"

local M = {}

local CONNECT, KEEPALIVE = 30, 15 -- seconds
local ASK = 30
local LAST_WORDS = 5              -- seconds for the reason why a host has gone away
local BLOCKED = 60                -- seconds after which a session that takes no bytes is given up, if nothing else has noticed
local BROKEN = { EOF = true, EPIPE = true, ECONNRESET = true, ECLOSED = true }
local GRACE = 10                  -- seconds for the other side to end its guests, before its command is killed

---@class vmctl.RemoteHost
---@field label string as the caller has named it
---@field version string of vmctl there
local methods = {}
local mt = { __name = "vmctl.RemoteHost", __index = methods }

local function lose(self, err, code)
  if self._lost then return end
  self._lost = { ("%s: %s"):format(self.label, err), code }
  self._session:close()
  self._news:wake()
end

-- The session, until its transport ends.
local function work(self)
  local _, err, code = self._session:run()
  if self._lost then return end
  _, err, code = self._child:explain("it went away: " .. err, code)
  if self._lost then return end
  self._lost = { err, code }
  self._session:close()
  self._child:close()
  self._news:wake()
end

local function watch(self, limit)
  if not keepalive.watch(self._session, limit) or self._lost then return end
  lose(self, ("it went away: no answer for %g s"):format(limit), "EHOSTDOWN")
  self._child:close()
end

local function greet(self, where)
  local pipes, timeout = self._child.pipes, where.timeout or CONNECT
  local theirs, err, code, said = task.timeout(timeout, wire.read_hello, pipes, "serve", timeout)
  if not theirs and code == "ETIMEDOUT" then
    return errors.fail(code, "%s: no hello of vmctl within %g s", self.label, timeout)
  elseif not theirs then
    if code == "EPROTO" or code == "ETOOBIG" then return nil, ("%s: %s"):format(self.label, err), "EPROTO" end
    return self._child:explain(err, code, said)
  end
  self.version = theirs
  local ok
  ok, err, code = pipes:write(wire.hello "use", timeout)
  if not ok then return self._child:explain(err, code) end
  return true
end

--- Connects. Waits until vmctl has answered there.
---@param on string|vmctl.RemoteWhere "ssh:USER@HOST:PORT", "exec:COMMAND" (its standard streams lead to a `vmctl serve --stdio`)
---@return vmctl.RemoteHost|nil host with ask, open_file, label, version, close
---@return string? message, string? code EINVAL; EHOSTDOWN: it cannot be reached; ENOENT: no vmctl there; EPROTO: another version;
-- ETIMEDOUT
function M.connect(on)
  local where, err, code = wheres.parse(on, 3)
  if not where then return nil, err, code end
  local self = setmetatable({ label = where.label, _news = core.queue() }, mt)
  self._child, err, code = child.start(where)
  if not self._child then return nil, err, code end
  local ok
  ok, err, code = greet(self, where)
  if not ok then
    self._child:close()
    return nil, err, code
  end
  local limit = where.keepalive or KEEPALIVE
  self._session = yamux.session(self._child.pipes, { client = true, send_timeout = math.max(limit, BLOCKED) })
  self._worker = background.spawn("host " .. self.label, work, self)
  self._watcher = background.spawn("keepalive of " .. self.label, watch, self, limit)
  core.yield() -- the session has to run before a stream can be opened
  return self
end

--- Tells if a value is a host.
function M.is_host(value) return getmetatable(value) == mt end

--- True while it answers. Does not wait.
---@return true|nil, string?, string? code EHOSTDOWN, ECLOSED
function methods:check()
  if not self._lost then return true end
  return nil, table.unpack(self._lost)
end

--- Waits until it has gone away, or was closed.
---@param timeout number seconds
---@return nil, string message, string code ETIMEDOUT: it is there
function methods:wait_lost(timeout)
  local deadline = core.now() + timeout
  while not self._lost do
    local ok, err, code = self._news:wait(deadline - core.now(), "wait for the end of " .. self.label)
    if not ok then return nil, err, code end
  end
  return nil, table.unpack(self._lost)
end

--- Explains a failure of a stream: if the host has gone away, that is the reason. Waits a moment.
---@param err string
---@param code string
---@return nil, string, string
function methods:explain(err, code)
  if BROKEN[code] then
    local _, why, how = self:wait_lost(LAST_WORDS)
    if how ~= "ETIMEDOUT" then return nil, why, how end
    return errors.fail("EPROTO", "%s: what it says was cut off", self.label)
  end
  return nil, err, code
end

--- Sends a request. Waits for the answer.
---@param request table with `op`
---@param timeout? number seconds (30)
---@return vmctl.Stream|nil stream behind the answer, which the caller closes
---@return table|string answer, or a message
---@return string? code of the other side; EHOSTDOWN, ETIMEDOUT
function methods:ask(request, timeout)
  local ok, err, code = self:check()
  if not ok then return nil, err, code end
  local deadline = core.now() + (timeout or ASK)
  local stream
  stream, err, code = self._session:open(timeout or ASK)
  if not stream then
    if self._lost then return self:check() end
    return nil, err, code
  end
  stream:label(("%s of %s"):format(request.op, self.label))
  local answer
  ok, err, code = wire.send(stream, request)
  if ok then answer, err, code = wire.answer(stream, deadline - core.now()) end
  if answer then return stream, answer end
  stream:close()
  return self:explain(err, code)
end

--- As `ask`, for a request whose stream ends with the answer.
---@return table|nil answer, string?, string?
function methods:call(request, timeout)
  local stream, answer, code = self:ask(request, timeout)
  if not stream then return nil, answer, code end
  stream:close()
  return answer
end

--- Ends the connection, and with it the guests there. Idempotent, never waits.
---@return true
function methods:close()
  if self._closed then return true end
  self._closed = true
  self._watcher:cancel()
  if self._lost then return true end
  self._lost = { self.label .. ": closed", "ECLOSED" }
  self._session:close()
  self._worker:cancel()
  self._child:release(GRACE)
  self._news:wake()
  return true
end

mt.__close = methods.close

function mt:__tostring() return ("vmctl.RemoteHost(%s)"):format(self.label) end

return M
