--- The accept loop of our servers: access, a limit of connections, a task for each.
local core = require "vmctl.core"
local log = require "vmctl.log"
local task = require "vmctl.base.task"

local M = {}

local CONNECTIONS = 1024
local FAILURE_PAUSE = 0.1 -- seconds after an accept that failed for a temporary reason

---@class vmctl.ConnectionLimit
local limit = {}
local limit_mt = { __name = "vmctl.ConnectionLimit", __index = limit }

--- Counts connections: those of one listener, or of all listeners of a server.
---@param most? integer how many at a time (1024)
---@param on_idle? fun() called when the last one has ended
function M.limit(most, on_idle)
  return setmetatable({ _live = 0, _most = most or CONNECTIONS, _on_idle = on_idle, _freed = core.queue() }, limit_mt)
end

function limit:is_reached()
  return self._live >= self._most
end

--- Waits until there are fewer connections than the limit.
---@return true|nil, string?, string? code ECANCELED, ETIMEDOUT
function limit:wait()
  while self._live >= self._most do
    local ok, err, code = self._freed:wait(math.huge, "a connection to end")
    if not ok then return nil, err, code end
  end
  return true
end

function limit:_take()
  self._live = self._live + 1
end

function limit:_free()
  self._live = self._live - 1
  self._freed:wake(1)
  if self._live == 0 and self._on_idle then self._on_idle() end
end

-- Tells if a connection is to be served: true, or false. Waits at the limit; nil, message, code: that wait was ended.
local function admit(conn, opts)
  local welcome, reason = opts.allow(conn)
  if not welcome then
    log.info("refused a connection: %s", reason)
    return false
  end
  while opts.limit:is_reached() do -- again after the wait: another listener may have been quicker
    if not opts.make_room(conn) then return false end
    local ok, err, code = opts.limit:wait()
    if not ok then return nil, err, code end
  end
  return true
end

-- One connection: true when there may be more, else nil, message, code. Without `make_room` we stop accepting at the limit, and
-- further connections wait in the backlog.
local function accept(listener, opts, scope, handle)
  if not opts.make_room then
    local free, why, code = opts.limit:wait()
    if not free then return nil, why, code end
  end
  local conn, err, code = listener:accept()
  if not conn then
    if code == "ECLOSED" or code == "ECANCELED" then return nil, err, code end
    log.error("%s", err)
    return core.sleep(FAILURE_PAUSE)
  end
  local ok
  ok, err, code = admit(conn, opts)
  if not ok then
    conn:close()
    return ok == false or nil, err, code
  end
  opts.limit:_take()
  local client = opts.welcome and opts.welcome(conn) or conn
  task.spawn_in(scope, function()
    handle(client)
    opts.limit:_free()
  end)
  return true
end

--- Accepts connections and handles each in a task of its own, until the listener is closed; then the tasks that still
--- run are cancelled. Waits.
---@param listener vmctl.Listener anything with accept() and close()
---@param opts { allow: function, limit: table, make_room: function?, welcome: function? } a policy as vmctl.net.access makes
-- them; `limit` as above; make_room(conn) is called at the limit: it ends another connection (true), or refuses this one
-- (false), while without it a new connection waits; welcome(conn) is called before the connection's task
-- has its first turn, and `handle` gets its result instead of the connection
---@param handle fun(client: any) serves and closes a connection; must not raise. May wait
---@return true|nil, string?, string? code ECANCELED
function M.serve(listener, opts, handle)
  return task.scope(function(scope)
    local ok, err, code
    repeat ok, err, code = accept(listener, opts, scope, handle) until not ok
    scope:cancel()
    return code == "ECLOSED" or nil, err, code
  end)
end

return M
