--- The service that both suites of ttrpc talk to: interop/ttrpc_go/server.go has the same in Go.
local vmctl = require "vmctl"

local M = { NAME = "vmctl.test.Echo" }

-- A message of one string with the number 1, as google.protobuf.StringValue is on the wire.
local TEXT = "containerd.vminitd.services.mount.v1.UnmountRequest"

local unary = { request = TEXT, response = TEXT }

M.service = vmctl.ttrpc.service {
  name = M.NAME,
  methods = {
    Echo = unary, Fail = unary, Wait = unary, Metadata = unary, Large = unary, Raise = unary,
    Gather = { request = TEXT, response = TEXT, client_stream = true },
    Count = { request = TEXT, response = TEXT, server_stream = true },
    Chat = { request = TEXT, response = TEXT, client_stream = true, server_stream = true },
  },
}

function M.text(value)
  return { target = value }
end

local function count(stream)
  local most = math.tointeger(assert(stream:recv()).target)
  for i = 1, most do assert(stream:send(M.text(tostring(i)))) end
  if most % 2 == 1 then return nil, "an odd number", "DATA_LOSS" end
end

local function chat(stream)
  for message in stream:messages() do assert(stream:send(M.text("<" .. message.target .. ">"))) end
  assert(stream:send(M.text "bye"))
end

local function gather(stream)
  local all = {}
  for message in stream:messages() do all[#all + 1] = message.target end
  return M.text(table.concat(all))
end

M.handlers = {
  Echo = function(request) return request end,
  Fail = function(request) return nil, "refused with " .. request.target, math.tointeger(request.target) end,
  Raise = function() error "on purpose" end,
  Wait = function() return vmctl.sleep(20) end,
  Large = function(request) return M.text(("x"):rep(math.tointeger(request.target))) end,
  Metadata = function(request, context) return M.text(table.concat(context.metadata[request.target] or {}, ",")) end,
  Gather = gather, Count = count, Chat = chat,
}

return M
