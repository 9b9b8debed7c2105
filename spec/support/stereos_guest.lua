--- StereOS guests that say what a spec has them say: a listener on a Unix socket and one script a connection.
local cjson = require "cjson"
local support = require "spec.support"
local vmctl = require "vmctl"

local M = {}

local conn_methods = {}
local conn_mt = { __index = conn_methods }

--- The next request, decoded by plain lua-cjson; nil at the end.
function conn_methods:request()
  local line = self.stream:read_line(1 << 20, math.huge)
  return line and cjson.decode(line)
end

--- Sends a line as it is.
function conn_methods:say(line)
  assert(self.stream:write(line .. "\n"))
end

function conn_methods:ack(reply_to, more)
  local payload = { reply_to = reply_to, ok = true }
  for name, value in pairs(more or {}) do payload[name] = value end
  self:say(cjson.encode { type = "ack", payload = payload })
end

function conn_methods:health(state)
  self:say(('{"type":"health","payload":{"state":"%s","uptime_seconds":5}}'):format(state))
end

function conn_methods:lifecycle(state)
  self:say(('{"type":"lifecycle","payload":{"state":"%s"}}'):format(state))
end

--- Answers as an ordinary guest would, until the host is gone.
function conn_methods:answer_all(state)
  for request in function() return self:request() end do
    if request.type == "ping" then
      self:say '{"type":"pong"}'
    elseif request.type == "get_health" then
      self:health(state or "ready")
    else
      self:ack(request.type)
    end
  end
end

--- Serves one script after the other, each for one connection, the last one for all further ones, until the scope ends.
--- A script's connection is closed when it returns.
---@param scripts fun(conn: table, number: integer)[]
---@return { address: string, connections: integer } guest counts its connections
function M.start(scripts, where)
  local guest = { address = where or "unix:" .. support.tmpdir() .. "/guest.sock", connections = 0 }
  local listener = assert(vmctl.listen(guest.address))
  guest.listener = listener
  guest.task = vmctl.spawn(function()
    while true do
      local stream = listener:accept(math.huge)
      if not stream then return end
      guest.connections = guest.connections + 1
      local number = guest.connections
      vmctl.spawn(function()
        local conn <close> = setmetatable({ stream = stream }, { __index = conn_methods, __close = function() stream:close() end })
        scripts[math.min(number, #scripts)](conn, number)
      end)
    end
  end)
  return guest
end

--- Runs a body with such a guest; it and its connections end with the body.
---@param scripts fun(conn: table, number: integer)[]
---@param fn fun(guest: table)
function M.with(scripts, fn, limit)
  return support.run(function()
    vmctl.scope(function(scope)
      local guest
      vmctl.spawn_in(scope, function()
        guest = M.start(scripts)
        fn(guest)
        guest.listener:close()
        scope:cancel()
      end)
    end)
  end, limit)
end

M.conn_mt = conn_mt

return M
