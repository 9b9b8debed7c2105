--- A forward that listens on this machine.
local accept = require "vmctl.net.server"
local access = require "vmctl.net.access"
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local log = require "vmctl.log"

local M = {}

local methods = {}
local mt = { __index = methods }

-- Serves one connection, from its accept to the end of both directions. `live`: its record, for `close` and the counts.
local function converse(self, live)
  local forward, conn = self._forward, live.conn
  local target <close> = forward:_connect((conn:peer()))
  if not target then
    conn:reset() -- an end would look like an empty answer
    return
  end
  local opts = forward._opts
  local relay, err, code = core.relay(conn, target, opts.idle, opts.linger)
  if not relay then return forward:_failed(err, code) end
  live.relay = relay
  local ended, why, how = relay:wait(math.huge)
  if not ended and how ~= "ECANCELED" and how ~= "ECLOSED" then log.info("%s: a connection ended: %s", forward, why) end
end

local function let_go(self, live)
  if not self._live[live] then return end
  self._live[live] = nil
  if live.relay then
    self._forward:_moved(live.relay:stats())
    live.relay:close()
  end
  live.conn:close()
end

local function attend(self, live)
  local ok, err = xpcall(converse, debug.traceback, self, live)
  let_go(self, live)
  if not ok then log.error("%s: %s", self._forward, err) end
end

-- Remembered before its task has a turn, so that `close` finds it.
local function welcome(self, conn)
  local live = { conn = conn }
  self._live[live] = true
  return live
end

local function serve(self)
  local _, err, code = accept.serve(self._listener, {
    allow = self._allow, limit = accept.limit(self._forward._opts.limit),
    welcome = function(conn) return welcome(self, conn) end,
  }, function(live) attend(self, live) end)
  self._forward:_end(err or "the listener was closed", code or "ECLOSED")
end

--- Listens. Waits only to resolve a name.
---@param forward vmctl.Forward
---@param where vmctl.Address
---@return table|nil side, string?, string?
function M.start(forward, where)
  local opts = forward._opts
  local allow = access.policy(opts.allow)
  local listener, err, code = dial.listen(where, { mode = opts.mode })
  if not listener then return nil, err, code end
  local self = setmetatable({ _forward = forward, _listener = listener, _allow = allow, _live = {} }, mt)
  self._address = listener:address()
  self._task = background.spawn(tostring(forward), serve, self)
  return self
end

function methods:address()
  return self._address
end

function methods:add_live(stats)
  for live in pairs(self._live) do
    stats.open = stats.open + 1
    if live.relay then
      local moved = live.relay:stats()
      stats.from_to, stats.to_from = stats.from_to + moved.a_to_b, stats.to_from + moved.b_to_a
    end
  end
end

function methods.status()
  return "open"
end

function methods:close()
  self._listener:close()
  self._task:cancel()
  for live in pairs(self._live) do let_go(self, live) end -- nobody may ever wait again, and then no task has a turn
end

return M
