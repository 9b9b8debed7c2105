--- Servers and clients for the specs of vmctl.forward.
local assert = require "luassert"
local agent = require "spec.support.agent"
local socketforward = require "vmctl.socketforward"
local support = require "spec.support"
local vmctl = require "vmctl"

local M = {}

--- All that comes until the end of the stream.
---@return string
function M.read_all(stream)
  local parts = {}
  while true do
    local part, err, code = stream:read()
    if not part then
      assert(code == "EOF", err)
      return table.concat(parts)
    end
    parts[#parts + 1] = part
  end
end

--- Sends back what comes, as it comes.
function M.echo(stream)
  for data in function() return (stream:read()) end do
    if not stream:write(data) then return end
  end
end

--- Answers only when the request has ended: what it was, in capitals.
function M.shout(stream)
  local parts = {}
  for data in function() return (stream:read()) end do parts[#parts + 1] = data:upper() end
  stream:write(table.concat(parts))
end

--- A server whose connections are handled by `handle`, each in a task of its own, until it is closed.
---@param where string
---@param handle fun(stream: vmctl.Stream)
---@return { address: string, close: function } server
function M.serve(where, handle)
  local listener = assert(vmctl.listen(where))
  local live, server = {}, { address = tostring(listener:address()) }
  vmctl.spawn(function()
    for stream in function() return (listener:accept()) end do
      live[stream] = true
      vmctl.spawn(function()
        handle(stream)
        stream:close()
        live[stream] = nil
      end)
    end
  end)
  function server.close()
    listener:close()
    for stream in pairs(live) do stream:close() end
  end
  return setmetatable(server, { __close = server.close })
end

--- The address of a Unix socket that is not there yet.
function M.path()
  return support.tmpdir() .. "/socket"
end

--- Asks by one connection, ends the question, and gives the whole answer.
function M.ask(where, question)
  local stream <close> = assert(vmctl.dial(where))
  assert(stream:write(question))
  assert(stream:shutdown())
  return M.read_all(stream)
end

--- Waits until the counts of a forward are those, and fails with the last ones.
function M.counts(forward, want)
  local stats
  local function fits()
    stats = forward:stats()
    for name, value in pairs(want) do
      if stats[name] ~= value then return false end
    end
    return true
  end
  if pcall(support.eventually, fits) then return stats end
  for name, value in pairs(want) do assert.equal(value, stats[name], name) end
end

-- Socket forwarding as an agent serves it, until `stop`.
local function serve_forwarding(scope, rpc, streams)
  local service = socketforward.service { confine = false }
  local server = assert(vmctl.ttrpc.server {})
  service:register(server)
  local listeners = { assert(vmctl.listen(rpc)), assert(vmctl.listen(streams)) }
  vmctl.spawn_in(scope, server.serve, server, listeners[1])
  vmctl.spawn_in(scope, service.serve_streams, service, listeners[2])
  return function()
    for _, listener in ipairs(listeners) do listener:close() end
    service:close()
    server:close()
  end, service
end

--- Runs a body beside a guest in this process: fn(guest). guest.client is its exec client; guest:forward(options) is
--- vmctl.forward, with `from` as an address inside it; guest.stop() and guest.start() end and begin its socket forwarding;
--- guest.service is that.
---@param fn fun(guest: table)
---@param limit? number
function M.with_guest(fn, limit)
  return support.run(function()
    agent.serve(function(client)
      local folder = support.tmpdir()
      local rpc, streams = "unix:" .. folder .. "/rpc", "unix:" .. folder .. "/streams"
      vmctl.scope(function(scope)
        local guest = { client = client }
        function guest.start() guest.stop, guest.service = serve_forwarding(scope, rpc, streams) end
        function guest:forward(options) -- luacheck: ignore self
          options.from, options.rpc, options.streams = client:inside(options.from), rpc, streams
          return vmctl.forward(options)
        end
        guest.start()
        local ok, err = xpcall(fn, debug.traceback, guest)
        guest.stop()
        scope:cancel()
        if not ok then error(err, 0) end
      end)
    end)
  end, limit)
end

return M
