-- vmctl: a Bind request of eight sockets is encoded and decoded: as protoc-c has compiled it, or as a descriptor set says it.
-- Usage: protobuf.lua compiled|loaded WARMUP COUNT

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local pb = require "vmctl.protobuf"
local support = require "support"
local vmctl = require "vmctl"

local mode, warmup, count = arg[1], tonumber(arg[2]), tonumber(arg[3])

local FILE, PACKAGE = "proto/nerdbox/socketforward.proto", "nerdbox.services.socketforward.v1"

-- The same messages once more, under a package of their own.
local function load_again()
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute("mkdir " .. folder))
  local cleaning <close> = setmetatable({}, { __close = function() os.execute("rm -r " .. folder) end }) -- luacheck: ignore
  local source <close> = assert(io.open(FILE))
  local target <close> = assert(io.open(folder .. "/again.proto", "w"))
  target:write((source:read "a":gsub("package [%w.]+", "package bench.again")))
  target:close()
  assert(pb.load(folder .. "/again.proto", { include = { folder, "proto" } }))
  return "bench.again"
end

local NAME = (mode == "loaded" and load_again() or PACKAGE) .. ".BindRequest"

local request = { sockets = {} }
for i = 1, 8 do
  request.sockets[i] = {
    forward_id = ("%064x"):format(i), socket_path = ("/run/socketfwd/%064x.sock"):format(i),
    extension = { mode = 384, address = "tcp:127.0.0.1:0" },
  }
end

local function run(n)
  local start = vmctl.now()
  for _ = 1, n do
    local seen = pb.decode(NAME, pb.encode(NAME, request))
    assert(#seen.sockets == 8)
  end
  return n / (vmctl.now() - start)
end

run(warmup)
support.result("rate", run(count))
