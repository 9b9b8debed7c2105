--- Shared by the specs of socket forwarding: a guest's service and a host in one process, and ends that speak by hand.
local assert = require "luassert"
local core = require "vmctl.core"
local support = require "spec.support"
local socketforward = require "vmctl.socketforward"
local ttrpc = require "vmctl.ttrpc"
local vmctl = require "vmctl"
local wire = require "vmctl.socketforward.wire"

local M = {}

local world = {}
local world_mt = { __index = world }

--- A new client of the guest's RPC.
function world:connect()
  local near, far = support.pair()
  vmctl.spawn_in(self.scope, self.server.converse, self.server, far)
  local client = assert(ttrpc.client(near))
  self.clients[#self.clients + 1] = client
  return client
end

--- The path of a socket in the guest.
function world:path(name)
  return self.folder .. "/" .. name
end

--- A server on the host: `handle(stream)` serves each connection. Returns its path and its listener.
function world:host_server(handle, name)
  local path = self.root .. "/" .. (name or "host.sock")
  local listener = assert(vmctl.listen("unix:" .. path))
  self.listeners[#self.listeners + 1] = listener
  vmctl.spawn_in(self.scope, function()
    while true do
      local stream = listener:accept()
      if not stream then return end
      vmctl.spawn_in(self.scope, function()
        handle(stream)
        stream:close()
      end)
    end
  end)
  return path, listener
end

--- Gives back what it gets, until its end.
function M.echo(stream)
  for data in function() return stream:read(65536, math.huge) end do
    if not stream:write(data, math.huge) then return end
  end
  stream:shutdown()
end

--- Forwards names to host paths: { name = host path }.
function world:forward(map, opts)
  opts = opts or {}
  if not opts.streams and not opts.open then opts.streams = self.streams end
  local entries = {}
  for name, host_path in pairs(map) do entries[name] = { guest_path = self:path(name), host_path = host_path } end
  local forwarder = assert(socketforward.forward(self.client, entries, opts))
  self.forwarders[#self.forwarders + 1] = forwarder
  return forwarder
end

--- A process of the guest connects.
function world:dial(name)
  return vmctl.dial("unix:" .. self:path(name))
end

--- The bytes that a process reads until the end, and the code with which it ends.
function M.read_all(stream)
  local parts = {}
  while true do
    local data, _, code = stream:read(65536, 2)
    if not data then return table.concat(parts), code end
    parts[#parts + 1] = data
  end
end

--- Opens a stream by hand: it, and the answer.
function world:open_stream(id)
  local stream = assert(vmctl.dial(self.streams))
  assert(stream:write((">s4"):pack(id)))
  return stream, M.read_answer(stream)
end

function M.read_answer(stream)
  local head = stream:read_exact(4, 1)
  if not head then return nil end
  local length = (">I4"):unpack(head)
  return length == 0 and "" or stream:read_exact(length, 1)
end

local function close_all(self)
  for _, name in ipairs { "forwarders", "clients", "listeners" } do
    for _, each in ipairs(self[name]) do each:close() end
  end
  self.service:close()
  self.server:close()
end

--- Runs a body with a guest's service and a client of it: fn(world), with folder, root, service, server, client, streams (the
--- address of its stream port). `opts` of the service.
function M.with(fn, opts, limit)
  return support.run(function()
    local root = support.tmpdir()
    local all = { directory = root .. "/fwd" }
    for name, value in pairs(opts or {}) do all[name] = value end
    vmctl.scope(function(scope)
      local self = setmetatable({
        scope = scope, root = root, folder = root .. "/fwd", service = socketforward.service(all), clients = {}, forwarders = {},
        listeners = {}, streams = "unix:" .. root .. "/streams.sock",
      }, world_mt)
      self.server = assert(ttrpc.server {})
      self.service:register(self.server)
      local listener = assert(vmctl.listen(self.streams))
      self.listeners[1] = listener
      vmctl.spawn_in(scope, self.service.serve_streams, self.service, listener)
      self.client = self:connect()
      local ok, err = xpcall(fn, debug.traceback, self)
      close_all(self)
      scope:cancel()
      if not ok then error(err, 0) end
    end)
  end, limit)
end

--- An Accept stream by hand: next() gives the next request, answer(id, text) sends a result.
function world:accept(client)
  local stream = assert((client or self.client):stream(wire.SERVICE, "Accept"))
  assert.equal("UNIMPLEMENTED", support.code((client or self.client):call("no.Such", "Nope", "")))
  return {
    stream = stream,
    next = function(timeout) return stream:recv(timeout or 1) end,
    answer = function(id, text) return assert(stream:send { stream_id = id, error = text or "" }) end,
  }
end

--- Bind by hand: { { id, path }, … }.
function world:bind(list, client)
  local sockets = {}
  for i, each in ipairs(list) do sockets[i] = { forward_id = each[1], socket_path = each[2], extension = each.extension } end
  return (client or self.client):call(wire.SERVICE, "Bind", { sockets = sockets })
end

--- Code and mode of a file: "socket 666", or nil.
function M.file(path)
  local stat = core.fs.stat(path, true)
  return stat and ("%s %o"):format(stat.type, stat.mode) or nil
end

return M
