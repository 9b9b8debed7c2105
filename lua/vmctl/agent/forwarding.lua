--- vmctl-agent's socket forwarding: RPC and raw streams, on listeners or on a connection that the guest has dialled itself.
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local log = require "vmctl.log"
local nerdbox = require "vmctl.guest.nerdbox"
local service = require "vmctl.socketforward.service"
local ttrpc = require "vmctl.ttrpc"

local M = {}

local FIRST_PAUSE, LAST_PAUSE = 0.1, 5 -- seconds between attempts to dial the host

local methods = {}
local mt = { __index = methods }

-- Without protobuf there is nothing to serve with: who comes is sent away.
local function refuse(_, listener)
  local stream = listener:accept()
  if stream then stream:close() end
  return listener:close()
end

--- Makes it.
---@param opts table the agent's options: root, forward_folders
---@param allow table for vmctl.net.access
---@param on_idle fun() called when the last connection has ended
---@return table forwarding with `rpc` and `streams`, each with serve(listener), and dial_rpc
function M.new(opts, allow, on_idle)
  local services = nerdbox.services { root = opts.root, version = "vmctl-agent" }
  local server, err = ttrpc.server(services, { allow = allow, on_idle = on_idle })
  if not server then
    log.error("socket forwarding: %s", err)
    return setmetatable({ rpc = { serve = refuse }, streams = { serve = refuse } }, mt)
  end
  local confine = #opts.forward_folders > 0 and opts.forward_folders or nil -- else the service's own folder alone
  local forwards = service.new { confine = confine, tcp = "any", allow = allow }
  forwards:register(server)
  return setmetatable({
    rpc = server, streams = { serve = function(_, listener) return forwards:serve_streams(listener) end }, _server = server,
    _forwards = forwards,
  }, mt)
end

--- Ends all forwards: their sockets are removed. Does not wait.
function methods:close()
  if self._forwards then self._forwards:close() end
end

--- Serves a host that waits to be dialled: one connection after the other, for ever. Waits.
---@param where string an address
---@return nil, string?, string? code ECANCELED
function methods:dial_rpc(where)
  local pause = FIRST_PAUSE
  while self._server do
    local stream, err, code = dial.dial(where, LAST_PAUSE)
    if stream then
      self._server:converse(stream)
      pause = FIRST_PAUSE
    elseif code ~= "ECANCELED" then
      log.debug("%s", err)
    end
    local ok
    ok, err, code = core.sleep(pause)
    if not ok then return nil, err, code end
    pause = math.min(pause * 2, LAST_PAUSE)
  end
end

return M
