-- Which frames leave in one write: system calls are counted in a process of its own.
local assert = require "luassert"
local core = require "vmctl.core"
local native = require "spec.support.native"
local script = require "spec.support.script"

-- Says how many writes a stream of N messages took, its end included.
local SCRIPT = [[
  local vmctl, wire = require "vmctl", require "vmctl.ttrpc.wire"
  local library, report = os.getenv "LIBRARY", os.getenv "FAULT_REPORT"
  local begin, finish = package.loadlib(library, "faults_begin"), package.loadlib(library, "faults_end")

  local function writes()
    finish()
    local sum = 0
    for line in io.lines(report) do
      local name, n = line:match "^(%S+) (%d+)$"
      if name == "write" or name == "writev" or name == "send" or name == "sendmsg" then sum = sum + n end
    end
    return sum
  end

  local function count(stream)
    local n = math.tointeger(stream:recv())
    for i = 1, n do assert(stream:send(tostring(i))) end
  end

  local function read_to_end(far)
    local seen = {}
    repeat
      local kind, payload, _, flags = assert(far:read_frame(30))
      seen[#seen + 1] = kind == wire.DATA and flags == 0 and payload or nil
    until flags & wire.REMOTE_CLOSED ~= 0
    return table.concat(seen, " ")
  end

  local actions = {}

  function actions.server(n)
    local near, far = vmctl.pair()
    far:set_format(wire.format)
    local server = vmctl.ttrpc.server { ["spec.Echo"] = { Count = { handler = count, server_stream = true } } }
    vmctl.spawn(server.converse, server, near)
    local bytes = wire.encode_request { service = "spec.Echo", method = "Count", payload = tostring(n) }
    far:write(wire.frame(wire.REQUEST, bytes, 1, wire.REMOTE_CLOSED))
    begin()
    return read_to_end(far), far
  end

  function actions.client(n)
    local near, far = vmctl.pair()
    far:set_format(wire.format)
    local client = vmctl.ttrpc.client(near)
    local stream = client:stream("spec.Echo", "Gather", nil, { client_stream = true })
    assert(far:read_frame(30) == wire.REQUEST)
    begin()
    vmctl.spawn(function()
      for i = 1, n do assert(stream:send(tostring(i))) end
      assert(stream:close_send())
    end)
    return read_to_end(far), client
  end

  vmctl.run(function()
    local what, n = arg[1], math.tointeger(arg[2])
    local seen, open = actions[what](n)
    local got, expected = writes(), {}
    for i = 1, n do expected[i] = i end
    assert(seen == table.concat(expected, " "), seen)
    io.stderr:write(("writes %d"):format(got))
    open:close()
    os.exit(0)
  end)
]]

describe("vmctl.ttrpc", function()
  if not require("vmctl.protobuf").available then return pending "needs protobuf-c" end

  local folder, library

  setup(function()
    folder = assert(core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-spec"))
    library = native.build("count", folder)
  end)
  teardown(function() os.execute("rm -r " .. folder) end)

  local function writes(what, n)
    local code, _, said = script.run(("arg = { %q, %q }\n%s"):format(what, tostring(n), SCRIPT), { env = {
      native.preload(library), "LIBRARY=" .. library, "FAULT_REPORT=" .. folder .. "/report" } })
    assert.equal(0, code, said)
    return math.tointeger(said:match "^writes (%d+)$") or said
  end

  for _, what in ipairs { "server", "client" } do
    it(("sends a stream's messages together, and its end apart: the %s"):format(what), function()
      for _, n in ipairs { 1, 2, 100 } do assert.equal(2, writes(what, n), n) end
    end)
  end
end)
