-- The host's side against guests that do not behave, and the bytes of both against the vectors.
local assert = require "luassert"
local cjson = require "cjson"
local sf = require "spec.support.socketforward"
local support = require "spec.support"
local ttrpc = require "vmctl.ttrpc"
local vmctl = require "vmctl"
local wire = require "vmctl.socketforward.wire"

local code, eventually = support.code, support.eventually

-- A guest by hand: fn(requests, results, forwarder), where requests:send hands a ConnectRequest out and results:recv gives what
-- the host says. `stream` is what the host gets when it opens one: fn(far end).
local function with_guest(serve_stream, fn, opts)
  return support.run(function()
    local path = support.tmpdir() .. "/host.sock"
    local near, far = support.pair()
    local requests, results = vmctl.channel(1000), vmctl.channel(1000)
    local unbound = 0
    local server = assert(ttrpc.server {
      [wire.SERVICE] = {
        Bind = function() return {} end,
        Unbind = function()
          unbound = unbound + 1
          return {}
        end,
        Accept = function(stream)
          vmctl.spawn(function()
            for request in function() return (requests:recv()) end do stream:send(request) end
          end)
          for result in stream:messages() do results:send(result) end
        end,
      },
    })
    local client = assert(ttrpc.client(near))
    vmctl.scope(function(scope)
      vmctl.spawn_in(scope, server.converse, server, far)
      local listener = assert(vmctl.listen("unix:" .. path))
      vmctl.spawn_in(scope, function()
        for stream in function() return (listener:accept()) end do
          vmctl.spawn_in(scope, function()
            sf.echo(stream)
            stream:close()
          end)
        end
      end)
      local all = { open = function()
        local ours, theirs = support.pair()
        vmctl.spawn_in(scope, function() serve_stream(theirs) end)
        return ours
      end, open_timeout = 0.3 }
      for name, value in pairs(opts or {}) do all[name] = value end
      local f = assert(vmctl.socketforward.forward(client, {
        good = { guest_path = "/g", host_path = path }, dead = { guest_path = "/d", host_path = path .. ".none" },
      }, all))
      local ok, err = xpcall(fn, debug.traceback, requests, results, f, path)
      f:close()
      if ok then eventually(function() return unbound == 1 end) end
      listener:close()
      client:close()
      server:close()
      scope:cancel()
      if not ok then error(err, 0) end
    end)
  end, 4)
end

local function acknowledge(stream)
  local id = wire.receive_id(stream, 1)
  if id then wire.answer(stream, id, 1) end
  return id
end

describe("socketforward's host", function()
  it("looks ids up in its own table alone, and tells nothing of its paths", with_guest(acknowledge, function(requests, results, f, path)
    local cases = {
      { "s1", "nobody", "unknown forward ID: nobody" }, { "s2", path, nil }, { "s3", "", "unknown forward ID: " },
      { "s4", "dead", "failed to dial host socket" },
    }
    for _, case in ipairs(cases) do
      requests:send { stream_id = case[1], forward_id = case[2] }
      local result = assert(results:recv(30))
      assert.equal(case[1], result.stream_id)
      if case[3] then assert.equal(case[3], result.error) end
    end
    assert.truthy(f:stats().last_error:find(path .. ".none", 1, true))
    assert.same({ 1, 1 }, { f:stats().total, f:stats().failed })
  end))

  local told -- what it has told, once it has
  it("has the stream acknowledged before it tells of success", with_guest(function(stream)
    support.settle()
    assert.is_nil(told)
    acknowledge(stream)
    stream:write "x"
    stream:read(1, 1)
    stream:close()
  end, function(requests, results, f)
    requests:send { stream_id = "s", forward_id = "good" }
    told = assert(results:recv(30))
    assert.same({ stream_id = "s", error = "" }, told)
    eventually(function() return f:stats().to_host == 1 and f:stats().open == 0 end)
  end))

  local answers = {
    ["refuses"] = (">s4"):pack 'stream "s" already exists', ["says another id"] = (">s4"):pack "t",
    ["answers too much"] = "\255\255\255\255", ["answers half"] = "\0\0\0\5ab", ["answers nothing"] = "", ["closes"] = false,
  }
  for what, bytes in pairs(answers) do
    it("fails a connection whose guest " .. what .. ", with a fixed text and in time", with_guest(function(stream)
      if bytes == "" then return stream:read(10, 1) end
      if bytes then stream:write(bytes) else stream:close() end
      repeat until not stream:read(100, 30) -- the host closes it
      stream:close()
    end, function(requests, results, f)
      requests:send { stream_id = "s", forward_id = "good" }
      assert.same({ stream_id = "s", error = "failed to open the stream" }, assert(results:recv(30)))
      assert.same({ 1, 0 }, { f:stats().failed, f:stats().open })
    end))
  end

  it("serves others while a guest keeps it waiting", with_guest(function(stream)
    local id = wire.receive_id(stream, 1)
    if id ~= "slow" then wire.answer(stream, id, 1) end
  end, function(requests, results)
    requests:send { stream_id = "slow", forward_id = "good" }
    requests:send { stream_id = "quick", forward_id = "good" }
    assert.same({ stream_id = "quick", error = "" }, assert(results:recv(0.2)))
    assert.equal("slow", assert(results:recv(30)).stream_id)
  end))

  it("refuses requests with an id that is none, and is silent on one that is longer than any answer", with_guest(acknowledge,
  function(requests, results)
    for _, id in ipairs { "", ("x"):rep(257), ("y"):rep(5000), "s" } do requests:send { stream_id = id, forward_id = "good" } end
    for _, id in ipairs { "", ("x"):rep(257) } do
      assert.same({ stream_id = id, error = "the id is empty or too long" }, assert(results:recv(30)))
    end
    assert.same({ stream_id = "s", error = "" }, assert(results:recv(30)))
  end))

  it("has no more connections than its limit", with_guest(function(stream)
    acknowledge(stream)
    stream:read(1, 2)
    stream:close()
  end, function(requests, results, f)
    for i = 1, 4 do requests:send { stream_id = "s" .. i, forward_id = "good" } end
    for _ = 1, 3 do assert.equal("", assert(results:recv(30)).error) end
    assert.equal("ETIMEDOUT", code(results:recv(0.1)))
    assert.equal(3, f:stats().open)
  end, { limit = 3 }))
end)

describe("socketforward on the wire", function()
  local vectors = {}
  for line in io.lines "spec/vectors/ttrpc.jsonl" do
    local vector = cjson.decode(line)
    vectors[vector.name] = vector
  end

  local function bytes_of(name)
    return (vectors[name].hex:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
  end

  it("derives forward ids as the reference", function()
    local fields = vectors.forward_id.fields
    local id, destination = fields.input:match "^(.-):(.*)$"
    assert.equal(fields.forward_id, vmctl.socketforward.forward_id(id, destination))
    assert.equal(fields.vm_path, vmctl.socketforward.DIRECTORY .. "/" .. fields.forward_id .. ".sock")
  end)

  it("opens, acknowledges and refuses streams with the reference's bytes", sf.with(function(w)
    local one <close> = assert(vmctl.dial(w.streams)) -- luacheck: ignore
    assert(one:write(bytes_of "stream_open"))
    assert.equal(bytes_of "stream_ack", one:read_exact(#bytes_of "stream_ack", 1))
    local two <close> = assert(vmctl.dial(w.streams)) -- luacheck: ignore
    assert(two:write(bytes_of "stream_open"))
    assert.equal(bytes_of "stream_reject_duplicate", (sf.read_all(two)))
    local near, far = support.pair()
    assert(far:write(bytes_of "stream_ack"))
    assert.is_true(wire.open(near, vectors.stream_open.fields.text, 1))
    assert.equal(bytes_of "stream_open", far:read_exact(#bytes_of "stream_open", 1))
    near:close()
    far:close()
  end))
end)
