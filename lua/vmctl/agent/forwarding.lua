--- vmctl-agent's socket forwarding: RPC and raw streams, on listeners or on a connection that the guest has dialled itself.
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local log = require "vmctl.log"
local nerdbox = require "vmctl.guest.nerdbox"
local service = require "vmctl.socketforward.service"
local ttrpc = require "vmctl.ttrpc"
local wire = require "vmctl.ttrpc.wire"

local M = {}

local FIRST_PAUSE, LAST_PAUSE = 0.1, 5 -- seconds between attempts to dial the host

local methods = {}
local mt = { __index = methods }

-- Without protobuf there is nothing to serve with. Each call is answered so: the bytes of a ttrpc.Response whose status is
-- UNIMPLEMENTED (docs/wire/ttrpc.md#envelope-schemas).
local REFUSAL = "socket forwarding: this agent was built without protobuf"
local REFUSE_LIMIT, MOST_REFUSED = 10, 64 -- seconds of a connection that is refused, and its calls

local function bytes_field(number, bytes) return string.char(number << 3 | 2, #bytes) .. bytes end

local ANSWER = bytes_field(1, "\8\12" .. bytes_field(2, REFUSAL))

local function refuse_calls(stream)
  local deadline = core.now() + REFUSE_LIMIT
  stream:set_format(wire.format)
  for _ = 1, MOST_REFUSED do
    local kind, _, id = stream:read_frame(deadline - core.now())
    if not kind then break end
    if kind == wire.REQUEST and not stream:write_frame(wire.RESPONSE, ANSWER, id, 0, deadline - core.now()) then break end
  end
  stream:close()
end

local function refuse(_, listener)
  for stream in function() return listener:accept(math.huge) end do refuse_calls(stream) end
  return listener:close()
end

-- Streams belong to forwards, of which there are none.
local function close_streams(_, listener)
  for stream in function() return listener:accept(math.huge) end do stream:close() end
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
    return setmetatable({ rpc = { serve = refuse }, streams = { serve = close_streams } }, mt)
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
