--- Methods of the client that find out if an agent answers, and of which revision it is.
local address = require "vmctl.net.address"
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local errors = require "vmctl.errors"
local json = require "vmctl.json"
local log = require "vmctl.log"
local version = require "vmctl.base.version"
local wire = require "vmctl.exec.wire"

local M = {}

local methods = {}
M.methods = methods

local T = wire.types
local READY_TIMEOUT, READY_PAUSE = 30, { 0.02, 0.5 }
local SAID = 200 -- bytes of an agent's reason
local TRY = 2 -- seconds for one attempt

--- Tells if the peer has closed without an answer.
function M.closed(code)
  return code == "EOF" or code == "ECONNRESET" or code == "EPIPE"
end

-- The content of the answer to a Ready message.
local function take_hello(self, body)
  local hello, known = json.decode(body), self.revision
  self.revision, self.agent = "vmctl", type(hello) == "table" and hello or {}
  if not known and self.agent.version ~= version then
    log.info("%s: its agent is vmctl's %s, this is %s", self.address, tostring(self.agent.version), version)
  end
  return self.revision
end

-- How agents of each revision answer: the message, and the answer that only they give.
local QUESTIONS = {
  vmctl = { T.READY, "", T.READY },
  ["0.2"] = { T.EXEC_PIPE, '{"command":"true"}', T.EXIT },
  ["0.1.9"] = { T.EXEC, '{"command":"true"}', T.EXEC_RESULT },
}

-- True and the revision; false when the agent there is of another one; nil, message, code when nobody answered.
local function is_of(self, revision, deadline)
  local question = QUESTIONS[revision]
  local answer, body, code = self:_ask(question[1], question[2], deadline)
  if answer == question[3] then
    if revision == "vmctl" then return true, take_hello(self, body) end
    self.revision = revision
    return true, revision
  elseif answer then
    return errors.fail("EPROTO", "probe %s: an answer of type %d", self.address, answer)
  elseif M.closed(code) then
    return false, body, code
  end
  return nil, ("probe %s: %s"):format(self.address, body), code
end

local function ask_all(self, deadline)
  local body, code
  for _, revision in ipairs { "vmctl", "0.2", "0.1.9" } do
    local found
    found, body, code = is_of(self, revision, deadline)
    if found then return body end
    if found == nil then return nil, body, code end
  end
  return nil, ("probe %s: no exec agent there (%s)"):format(self.address, body), code
end

--- Finds out the agent's revision. Ours answers a Ready message with its name; the reference's newer revision knows the pipe mode, the
-- older does not (docs/wire/exec.md#message-types). The agent is asked once; the answer is kept until a link to it is lost. Waits.
---@param timeout? number
---@return "vmctl"|"0.2"|"0.1.9"|nil, string?, string?
function methods:probe(timeout)
  if self.revision then return self.revision end
  return ask_all(self, core.now() + (timeout or self._dial_timeout))
end

--- Asks as `probe`, also where an answer is kept: tells if the agent answers now. Waits.
---@param timeout? number
---@return "vmctl"|"0.2"|"0.1.9"|nil, string?, string?
function methods:ask(timeout)
  local deadline, known = core.now() + (timeout or self._dial_timeout), self.revision
  if known then
    local found, body, code = is_of(self, known, deadline)
    if found then return body end
    if found == nil or self._given then return nil, body, code end
  end
  return ask_all(self, deadline)
end

-- Returns a function that makes the request when it is sent, with the time of then.
local function refreshment(what)
  return function()
    local seed = what.seed and core.base64_encode(what.seed) or nil
    return assert(json.encode(json.object { unix_ns = what.clock and core.unix_time() or nil, seed = seed }))
  end
end

--- Has our agent set its guest's clock by that of this host, and mix bytes into its kernel's random numbers. Fails unless its answer
--- confirms both. Waits.
---@param what { clock: boolean?, seed: string? }
---@param timeout? number
---@return { clock_offset: number?, reseeded: boolean }|nil done clock_offset: seconds that the guest's clock was ahead
---@return string? message
---@return string? code ENOTSUP: the agent is not ours, an older one, or not the guest's own; EREMOTE: it could not
function methods:refresh(what, timeout)
  local answer, body, code = self:_ask(T.READY, refreshment(what), core.now() + (timeout or self._dial_timeout))
  if not answer and not M.closed(code) then return nil, ("refresh %s: %s"):format(self.address, body), code end
  if answer ~= T.READY then return errors.fail("ENOTSUP", "refresh %s: this agent cannot", self.address) end
  take_hello(self, body)
  local agent = self.agent
  local problem = agent.clock_error or agent.seed_error
  if problem then return errors.fail("EREMOTE", "refresh %s: %s", self.address, log.one_line(tostring(problem), SAID)) end
  local offset = math.type(agent.clock_offset_ns) == "integer" and agent.clock_offset_ns / 1e9 or nil
  if what.clock and not offset or what.seed and agent.reseeded ~= true then
    return errors.fail("ENOTSUP", "refresh %s: this agent cannot", self.address)
  end
  return { clock_offset = offset, reseeded = agent.reseeded == true }
end

--- Forgets the agent's revision: another agent may replace it. Does not wait.
function methods:forget()
  if not self._given then self.revision = nil end
end

local function ready_address(at)
  if at.port ~= wire.PORT then return nil end
  if at.kind == "vsock" then return address.vsock(at.cid, wire.READY_PORT) end
  if at.kind == "hybrid" then return address.hybrid(at.path, wire.READY_PORT) end
end

-- Connects to port 5002 if there is one and no agent has answered yet; then asks the agent on its own port.
local function ready_once(self, deadline)
  local at = not self.revision and ready_address(self.address)
  if at then
    local s, err, code = dial.dial(at, { timeout = math.min(TRY, deadline - core.now()) })
    if not s then return nil, err, code end
    s:close()
  end
  return self:ask(math.min(TRY, deadline - core.now()))
end

--- Waits until the agent answers. It is asked each time. Failed attempts are repeated with growing pauses while the guest boots.
---@param timeout? number seconds, 30 by default
---@return number|nil seconds that it took, string? message with the number of attempts and the last error, string? code ETIMEDOUT
function methods:ready(timeout)
  timeout = timeout or READY_TIMEOUT
  local begin = core.now()
  local deadline, pause, attempts, last = begin + timeout, READY_PAUSE[1], 0, "nothing was tried"
  while core.now() < deadline do
    attempts = attempts + 1
    local ok, err, code = ready_once(self, deadline)
    if ok then return core.now() - begin end
    last = err
    if code == "ECANCELED" or not (errors.retryable(code, "connect", self.address.kind) or code == "ETIMEDOUT") then
      return nil, ("ready %s: %s"):format(self.address, err), code
    end
    local slept, why, how = core.sleep(math.max(0, math.min(pause, deadline - core.now())))
    if not slept then return nil, ("ready %s: %s"):format(self.address, why), how end
    pause = math.min(pause * 1.5, READY_PAUSE[2])
  end
  return errors.fail("ETIMEDOUT", "ready %s: no answer within %g s, %d attempts; the last error: %s", self.address, timeout,
    attempts, last)
end

return M
