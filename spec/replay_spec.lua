local assert = require "luassert"
local stereos = require "vmctl.stereos"
local support = require "spec.support"
local trace = require "vmctl.trace"
local vmctl = require "vmctl"

local code, run = support.code, support.run

-- A trace of the control plane, as the host's side recorded it, with further lines after these.
local HEAD = [[
{"ev":"open","t":1,"s":"7.1","how":"dial","address":"vsock:3:1024"}
{"ev":"name","t":1,"s":"7.1","address":"vsock:3:1024","protocol":"stereos"}
]]
local CONVERSATION = HEAD .. ([[
{"ev":"line","t":1.1,"s":"7.1","dir":"out","size":32,"text":"{\"type\":\"ping\",\"lifecycle\":true}"}
{"ev":"line","t":1.2,"s":"7.1","dir":"in","size":15,"text":"{\"type\":\"pong\"}"}
{"ev":"line","t":1.3,"s":"7.1","dir":"out","size":99,"masked":true,"text":"SECRET"}
{"ev":"line","t":1.4,"s":"7.1","dir":"in","size":60,"text":"ACK"}
{"ev":"close","t":2,"s":"7.1","bytes_in":1,"bytes_out":1}
]]):gsub("SECRET", [[{\"type\":\"inject_secret\",\"payload\":{\"name\":\"k\",\"value\":\"***\"}}]])
  :gsub("ACK", [[{\"type\":\"ack\",\"payload\":{\"reply_to\":\"inject_secret\",\"ok\":false,\"error\":\"disk full\"}}]])

local function file_of(text)
  local path = support.tmpdir() .. "/field.ndjson"
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
  return path
end

local function connect(guest)
  return assert(stereos.connect(guest, { timeout = 2 }))
end

describe("vmctl.replay", function()
  after_each(function() trace.stop() end)

  it("answers a client as the guest in the field did", run(function()
    local guest = vmctl.replay(file_of(CONVERSATION))
    local client = connect(guest)
    assert(client:ping())
    local ok, err, why = client:inject_secret("k", "another value")
    assert.is_nil(ok)
    assert.truthy(err:find("disk full", 1, true))
    assert.equal("EREMOTE", why)
    client:close()
    assert.is_true(guest.play:wait(30))
    assert.equal(0, guest.play:left())
  end))

  it("says where the client does something else, without its secrets", run(function()
    local guest = vmctl.replay(file_of(CONVERSATION))
    local client = connect(guest)
    assert(client:ping())
    assert.is_nil((client:inject_secret("other", "s3cr3t")))
    client:close()
    local ok, err, why, difference = guest.play:wait(30)
    assert.is_nil(ok)
    assert.equal("EPROTO", why)
    assert.truthy(err:find('expected a message of 99 bytes {"type":"inject_secret"', 1, true))
    assert.truthy(err:find('"name":"other"', 1, true))
    assert.truthy(err:find("line 5", 1, true))
    assert.is_nil(err:find("s3cr3t", 1, true))
    assert.equal(5, difference.expected.line)
    assert.is_nil(difference.got.payload:find("s3cr3t", 1, true))
  end))

  it("compares the types alone when it is not strict", run(function()
    local guest = vmctl.replay(file_of(CONVERSATION), { strict = false })
    local client = connect(guest)
    assert(client:ping())
    assert.equal("EREMOTE", code(client:inject_secret("other", "x")))
    client:close()
    assert.is_true(guest.play:wait(30))
  end))

  it("tells a client that says nothing, one that hangs up, and one that says too much", run(function()
    local path = file_of(CONVERSATION)
    local guest = vmctl.replay(path, { timeout = 0.05 })
    local stream = assert(vmctl.dial(guest))
    assert.equal("ETIMEDOUT", code(guest.play:wait(2)))
    stream:close()

    guest = vmctl.replay(path)
    assert(vmctl.dial(guest)):close()
    local _, err, why = guest.play:wait(30)
    assert.equal("EPROTO", why)
    assert.truthy(err:find("got the end of the connection", 1, true))

    guest = vmctl.replay(path, { strict = false })
    stream = assert(vmctl.dial(guest))
    assert(stream:write '{"type":"ping"}\n{"type":"inject_secret"}\n{"type":"ping"}\n')
    _, err, why = guest.play:wait(30)
    assert.equal("EPROTO", why)
    assert.truthy(err:find("16 bytes more", 1, true))
    stream:close()
  end))

  it("compares JSON by what it says, not by how it is spelled", run(function()
    local guest = vmctl.replay(file_of(CONVERSATION))
    local stream = assert(vmctl.dial(guest))
    assert(stream:write '{ "lifecycle" : true, "type" : "ping" }\n')
    assert.equal('{"type":"pong"}', stream:read_line(nil, 30))
    assert(stream:write '{"payload":{"value":"v","name":"k"},"type":"inject_secret"}\n')
    assert(stream:read_line(nil, 30))
    stream:close()
    assert.is_true(guest.play:wait(30))
  end))

  it("plays what a real recording says, one connection after the other", run(function()
    local path = support.tmpdir() .. "/t"
    local where = "unix:" .. path .. ".sock"
    local listener = assert(vmctl.listen(where))
    local serving = vmctl.spawn(function() vmctl.exec.serve(listener) end)
    local function commands(target)
      local client = assert(vmctl.exec.client(target))
      local first = assert(client:run { "sh", "-c", "cat; exit 3", stdin = "input", env = { A = "b" } })
      return { first.stdout, first.exit_code, assert(client:run { "echo", "two" }).stdout }
    end
    assert(trace.start(path))
    local recorded = commands(where)
    trace.stop()
    listener:close()
    serving:join(30)
    assert.same({ "input", 3, "two\n" }, recorded)
    local guest = vmctl.replay(path)
    local connections = guest.play:left()
    assert.is_true(connections >= 2)
    assert.same(recorded, commands(guest))
    assert.is_true(guest.play:wait(30))
    assert.equal(0, guest.play:left())
    local _, err, why = vmctl.dial(guest)
    assert.equal("ECONNREFUSED", why)
    assert.truthy(err:find(("all %d recorded connections have been played"):format(connections), 1, true))
  end, 5))

  it("plays the client's side to a server under test", run(function()
    local path = support.tmpdir() .. "/t"
    local function with_server(pong, fn)
      local listener = assert(vmctl.listen("unix:" .. path .. ".sock"))
      local handlers = { get_health = function() return { state = pong } end }
      local serving = vmctl.spawn(function() stereos.serve(listener, handlers) end)
      fn("unix:" .. path .. ".sock")
      listener:close()
      serving:join(30)
    end
    with_server("ready", function(where)
      assert(trace.start(path))
      local client = assert(stereos.connect(where))
      assert(client:ping())
      assert.equal("ready", assert(client:get_health()).state)
      client:close()
      trace.stop()
    end)
    with_server("ready", function(where)
      assert.is_true(vmctl.replay(path, { side = "client" }).play:over(where))
    end)
    with_server("degraded", function(where)
      local ok, err, why = vmctl.replay(path, { side = "client" }).play:over(where)
      assert.is_nil(ok)
      assert.equal("EPROTO", why)
      assert.truthy(err:find('"state":"ready"', 1, true) and err:find('"state":"degraded"', 1, true))
    end)
  end, 5))

  it("plays frames and bytes of a protocol of one's own", run(function()
    local format = vmctl.format { type = 1, length = 4, max = 100 }
    local path = support.tmpdir() .. "/t"
    assert(trace.start(path, { raw = true }))
    local a, b = support.pair { format = format }
    assert(a:write_frame(1, "question"))
    assert(b:read_frame())
    assert(b:write_frame(2, "\0answer\255"))
    assert(a:read_frame())
    a:close()
    b:close()
    trace.stop()
    local peer = vmctl.replay(path, { session = 1, format = format })
    local stream = assert(vmctl.dial(peer, { format = format }))
    assert(stream:write_frame(1, "question"))
    assert.same({ 2, "\0answer\255" }, { stream:read_frame(30) })
    stream:close()
    assert.is_true(peer.play:wait(30))
    peer = vmctl.replay(path, { session = 1 })
    stream = assert(vmctl.dial(peer))
    local _, err, why = peer.play:wait(30)
    stream:close()
    assert.equal("EINVAL", why)
    assert.truthy(err:find("want their format", 1, true))
  end))

  it("refuses to send what was not recorded, before it begins", run(function()
    local peer = vmctl.replay(file_of(HEAD .. [[
{"ev":"line","t":1.1,"s":"7.1","dir":"in","size":4,"text":"kept"}
{"ev":"line","t":1.2,"s":"7.1","dir":"in","size":30,"masked":true}
]]))
    local stream = assert(vmctl.dial(peer))
    assert.equal("EOF", code(stream:read(nil, 30)))
    stream:close()
    local _, err, why = peer.play:wait(30)
    assert.equal("EINVAL", why)
    assert.truthy(err:find("line 4: a message of 30 bytes is to be sent that was not recorded", 1, true))
  end))

  it("ends the connection where the peer in the field did", run(function()
    local peer = vmctl.replay(file_of(HEAD .. [[
{"ev":"line","t":1.1,"s":"7.1","dir":"in","size":4,"text":"last"}
{"ev":"end","t":1.2,"s":"7.1","dir":"in","code":"EOF"}
{"ev":"line","t":1.3,"s":"7.1","dir":"out","size":3,"text":"bye"}
{"ev":"close","t":2,"s":"7.1"}
]]))
    local stream = assert(vmctl.dial(peer))
    assert.equal("last", stream:read_line(nil, 30))
    assert.equal("EOF", code(stream:read_line(nil, 30)))
    assert(stream:write "bye\n")
    stream:close()
    assert.is_true(peer.play:wait(30))
  end))

  it("keeps the recorded times when it is asked to", run(function() -- minutes, which its limit counts as well
    local peer = vmctl.replay(file_of(HEAD .. [[
{"ev":"line","t":1.1,"s":"7.1","dir":"in","size":1,"text":"a"}
{"ev":"line","t":601.1,"s":"7.1","dir":"in","size":1,"text":"b"}
]]), { speed = 2 })
    vmctl.clock.virtual(function()
      local stream = assert(vmctl.dial(peer))
      assert.equal("a", stream:read_line(nil, 30))
      local begin = vmctl.now()
      assert.equal("b", stream:read_line(nil, 400))
      local passed = vmctl.now() - begin
      assert.is_true(passed > 299 and passed < 330, passed)
      stream:close()
      assert.is_true(peer.play:wait(30))
    end, { grace = 0 })
  end, 3600))

  it("fails the dial for what holds nothing to play", run(function()
    assert.equal("ENOENT", code(vmctl.dial(vmctl.replay "/no/such/trace")))
    assert.equal("ECONNREFUSED", code(vmctl.dial(vmctl.replay(file_of "garbage\n"))))
    assert.equal("ECONNREFUSED", code(vmctl.dial(vmctl.replay(file_of(CONVERSATION), { session = "9.9" }))))
    assert.has_error(function() vmctl.replay() end)
    assert.has_error(function() vmctl.replay("x", { side = "both" }) end)
  end))

  it("is ended by close", run(function()
    local peer = vmctl.replay(file_of(CONVERSATION))
    local stream = assert(vmctl.dial(peer))
    peer.play:close()
    assert.is_not_nil(code(peer.play:wait(30)))
    assert.truthy(code(stream:read(nil, 30)))
    stream:close()
  end))
end)
