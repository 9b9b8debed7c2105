--- Connections into a guest, through its agent (docs/wire/exec.md#later-message-types): methods of the client.
local address = require "vmctl.net.address"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local json = require "vmctl.json"
local log = require "vmctl.log"
local wire = require "vmctl.exec.wire"

local M = {}

local T = wire.types

-- Reads the agent's answer. The stream is raw afterwards, or closed.
local function take_answer(self, s, what, deadline)
  local answer, text, code = wire.read(s, deadline - core.now())
  if answer == T.READY then
    s:label(("%s via %s"):format(what, self.address))
    return s
  end
  s:close()
  if answer == T.STDERR then
    return nil, ("forward to %s: %s"):format(what, log.last_words(text)), "EREMOTE", text
  elseif answer then
    return errors.fail("EPROTO", "forward to %s: an answer of type %d", what, answer)
  end
  return nil, ("forward to %s: %s"):format(what, text), code
end

-- `revisions`: the agents that know such requests.
local function open(self, what, request, revisions, timeout)
  local deadline = core.now() + (timeout or self._dial_timeout)
  local revision, err, code = self:probe(timeout)
  if not revision then return nil, err, code end
  if not revisions[revision] then return errors.fail("ENOTSUP", "forward to %s: this agent cannot forward there", what) end
  local body
  body, err, code = json.encode(request)
  if not body then return nil, ("forward to %s: %s"):format(what, err), code end
  local s
  s, err, code = self:_open(T.PORT_FORWARD, body, deadline)
  if not s then return nil, err, code end
  return take_answer(self, s, what, deadline)
end

--- Opens a connection to a TCP port as the guest sees it. Waits.
---@param host string "127.0.0.1" is the guest itself
---@param port integer
---@param timeout? number
---@return vmctl.Stream|nil stream of raw bytes, string?, string? code EREMOTE with the agent's reason, ENOTSUP
function M:forward(host, port, timeout)
  return open(self, host .. ":" .. port, { host = host, port = port }, { vmctl = true, ["0.2"] = true }, timeout)
end

--- Opens a connection to an address as the guest sees it. Waits.
---@param where string|table "tcp:127.0.0.1:80" is a port of the guest itself, "unix:/run/docker.sock" a socket of it (agents of
--- ours alone know that)
---@param timeout? number
---@return vmctl.Stream|nil stream of raw bytes, string?, string? code EREMOTE with the agent's reason, ENOTSUP
function M:connect(where, timeout)
  local at, err, code = address.parse(where)
  if not at then return nil, err, code end
  if at.kind == "tcp" then return M.forward(self, at.host, at.port, timeout) end
  if at.kind == "unix" then return open(self, tostring(at), { path = at.path }, { vmctl = true }, timeout) end
  return errors.fail("ENOTSUP", "connect to %s inside %s: only tcp and unix addresses are known there", at, self.address)
end

--- The address of something inside the guest, for vmctl.dial and for either end of vmctl.forward. Does not wait.
---@param where string|table as for `connect`
---@return vmctl.Address|nil, string?, string? code EINVAL, ENAMETOOLONG
function M:inside(where)
  return address.inside(self, where)
end

return M
