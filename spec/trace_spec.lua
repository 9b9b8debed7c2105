local assert = require "luassert"
local core = require "vmctl.core"
local lfs = require "lfs"
local script = require "spec.support.script"
local stereos = require "vmctl.stereos"
local support = require "spec.support"
local trace = require "vmctl.trace"
local vmctl = require "vmctl"

local code, run = support.code, support.run

-- The trace of `fn`: its records, and the file as it is.
local function traced(fn, opts)
  local path = support.tmpdir() .. "/trace.ndjson"
  assert(trace.start(path, opts))
  local ok, err = pcall(fn, path)
  local counts = trace.stop()
  if not ok then error(err, 0) end
  local records = {}
  for record in assert(trace.read(path)) do records[#records + 1] = record end
  local file <close> = assert(io.open(path, "rb"))
  return records, file:read "a", counts, path
end

local function pick(records, ev, dir)
  local picked = {}
  for _, record in ipairs(records) do
    if record.ev == ev and (not dir or record.dir == dir) then picked[#picked + 1] = record end
  end
  return picked
end

local function with_pair(fn, options)
  local a, b = support.pair(options)
  fn(a, b)
  a:close()
  b:close()
end

describe("vmctl.trace", function()
  after_each(function() trace.stop() end)

  it("records the frames of both directions with type, size and bytes", run(function()
    local format = vmctl.format { order = "length", type = 1, stream = 4, flags = 1, length = 4, max = 100 }
    local records = traced(function()
      with_pair(function(a, b)
        assert(a:write_frame(7, "hello", 3, 1))
        assert.equal(7, (b:read_frame()))
        assert(b:write_frames({ 8, 9 }, { "\0\1", "" }))
        assert(a:read_frames())
      end, { format = format })
    end, { raw = true })
    local frames = pick(records, "frame")
    assert.equal(6, #frames)
    local first = frames[1]
    assert.same({ "out", 7, 3, 1, 5, "hello" },
      { first.dir, first.type, first.stream, first.flags, first.size, first.payload })
    assert.same({ "in", "hello" }, { frames[2].dir, frames[2].payload })
    assert.equal("\0\1", frames[3].payload)
    assert.is_not.equal(frames[1].s, frames[2].s)
    local ids = {}
    for _, opened in ipairs(pick(records, "open")) do ids[opened.s] = opened.how end
    assert.equal("pair", ids[frames[1].s])
    assert.equal("pair", ids[frames[2].s])
  end))

  it("keeps the order, with times that never go back", run(function()
    local records = traced(function()
      with_pair(function(a, b)
        for i = 1, 50 do
          assert(a:write(i .. "\n"))
          assert(b:read_line())
        end
      end)
    end, { raw = true })
    local last, lines = 0, {}
    for _, record in ipairs(records) do
      assert.is_true(record.t >= last)
      last = record.t
      if record.ev == "line" then lines[#lines + 1] = tonumber(record.payload) end
    end
    for i = 1, 50 do assert.equal(i, lines[i]) end
  end))

  it("tells how a session began and how it ended", run(function()
    local records = traced(function(path)
      local where = "unix:" .. path .. ".sock"
      local listener <close> = assert(vmctl.listen(where))
      local near = assert(vmctl.dial(where))
      local far = assert(listener:accept(30))
      far:close()
      assert.equal("EOF", code(near:read(nil, 30)))
      assert.equal("EOF", code(near:read(nil, 30)))
      near:close()
    end)
    local opened = pick(records, "open")
    assert.same({ "dial", "accept" }, { opened[1].how, opened[2].how })
    assert.truthy(opened[1].address:find "^unix:/.*sock$")
    local ends = pick(records, "end")
    assert.equal(1, #ends)
    assert.same({ opened[1].s, "in", "EOF" }, { ends[1].s, ends[1].dir, ends[1].code })
    assert.equal(2, #pick(records, "close"))
  end))

  it("keeps no bytes that are no message of a protocol it knows, only how many", run(function()
    local records, text = traced(function()
      with_pair(function(a, b)
        assert(a:write "GET /secret-path\n")
        assert(b:read_line())
        assert(a:write "secret-bytes")
        assert(b:read())
        b:set_format { type = 1, max = 100 }
        a:set_format { type = 1, max = 100 }
        assert(a:write_frame(1, "secret-frame"))
        assert(b:read_frame())
      end)
    end)
    assert.is_nil(text:find "secret")
    assert.same({ 16, 12 }, { pick(records, "line", "in")[1].size, pick(records, "bytes", "in")[1].size })
    assert.equal(12, pick(records, "frame", "in")[1].size)
  end))

  it("keeps of relayed sockets how many bytes went each way", run(function()
    local records, text = traced(function()
      local a, near = support.pair()
      local far, b = support.pair()
      local relaying = vmctl.spawn(function() return assert(vmctl.relay(near, far)) end)
      assert(a:write "secret question")
      assert(b:read_exact(15))
      assert(b:write "secret")
      assert(a:read_exact(6))
      a:close()
      b:close()
      relaying:join(30)
    end)
    assert.is_nil(text:find "secret")
    local relayed = pick(records, "relayed")
    assert.same({ 15, 6, 6, 15 },
      { relayed[1].bytes_in, relayed[1].bytes_out, relayed[2].bytes_in, relayed[2].bytes_out })
  end))

  it("hides the secrets of the control plane, and keeps the rest", run(function()
    local records, text = traced(function(path)
      local listener = assert(vmctl.listen("unix:" .. path .. ".sock"))
      local handlers = {}
      for _, name in ipairs { "set_config", "inject_secret", "inject_ssh_key", "mount", "get_health", "shutdown" } do
        handlers[name] = function() return true end
      end
      handlers.get_health = function() return { state = "ready" } end
      local serving = vmctl.spawn(function() stereos.serve(listener, handlers) end)
      local client = assert(stereos.connect("unix:" .. path .. ".sock"))
      assert(client:ping())
      assert(client:inject_secret("api-key", "s3cr3t-value"))
      client:set_config "[card]\npassword = 's3cr3t-config'"
      client:inject_ssh_key("admin", "ssh-ed25519 s3cr3t-key")
      client:close()
      listener:close()
      serving:join(30)
    end)
    assert.is_nil(text:find "s3cr3t")
    assert.truthy(text:find("api-key", 1, true))
    local seen = {}
    for _, record in ipairs(pick(records, "line", "out")) do
      local message = record.payload and vmctl.json.decode(record.payload)
      if message then seen[message.type] = message.payload or true end
    end
    assert.equal("***", seen.inject_secret.value)
    assert.equal("api-key", seen.inject_secret.name)
    assert.equal("***", seen.set_config.content)
    assert.same({ "***", "admin" }, { seen.inject_ssh_key.public_key, seen.inject_ssh_key.user })
    assert.is_true(seen.pong)
    for _, named in ipairs(pick(records, "name")) do assert.equal("stereos", named.protocol) end
  end))

  it("hides a command's environment, input and files, and keeps its words and its end", run(function()
    local records, text = traced(function(path)
      local where = "unix:" .. path .. ".sock"
      local listener = assert(vmctl.listen(where))
      local serving = vmctl.spawn(function() vmctl.exec.serve(listener) end)
      local client = assert(vmctl.exec.client(where))
      local result = assert(client:run { "sh", "-c", "cat >/dev/null; echo fine", env = { KEY = "s3cr3t" }, stdin = "s3cr3t" })
      assert.equal("fine\n", result.stdout)
      listener:close()
      serving:join(30)
    end)
    assert.is_nil(text:find("s3cr3t", 1, true))
    assert.is_nil(text:find(core.base64_encode "s3cr3t", 1, true))
    local shown = {}
    for _, record in ipairs(pick(records, "frame")) do shown[#shown + 1] = record.payload end
    local all = table.concat(shown, "\n")
    assert.truthy(all:find '"KEY":"%*%*%*"')
    assert.truthy(all:find(core.base64_encode "cat >/dev/null; echo fine", 1, true))
    assert.truthy(all:find("fine\n", 1, true))
    assert.truthy(all:find("\0\0\0\0", 1, true))
  end, 5))

  it("hides the values of environments, keys and passwords that monitors are told", function()
    local mask = require "vmctl.trace.mask"
    local function shown(protocol, message)
      return vmctl.json.decode((mask.line({ protocol = protocol }, message)))
    end
    assert.same({ username = "root", password = "***" }, shown("qga",
      '\255{"execute":"guest-set-user-password","arguments":{"username":"root","password":"x"}}').arguments)
    assert.same({ path = "/bin/env", env = { "***" }, ["input-data"] = "***" }, shown("qga",
      '{"execute":"guest-exec","arguments":{"path":"/bin/env","env":["A=1"],"input-data":"eA=="}}').arguments)
    assert.same({ id = "s", data = "***" }, shown("qmp",
      '{"execute":"object-add","arguments":{"id":"s","data":"x"}}').arguments)
    assert.same({ reason = "host" }, shown("qmp", '{"event":"SHUTDOWN","data":{"reason":"host"}}').data)
    assert.is_nil((mask.line({ protocol = "qmp" }, "no JSON at all")))
  end)

  it("keeps the calls of services that it knows, and of others the names alone", function()
    local wire = require "vmctl.ttrpc.wire"
    if not vmctl.protobuf.available then return end
    local mask = require "vmctl.trace.mask"
    local session = { protocol = "ttrpc" }
    local request = assert(wire.encode_request { service = "acme.Vault", method = "Put", payload = "s3cr3t" })
    local shown, masked, _, call = mask.frame(session, request, 1, 1)
    assert.same({ nil, true, "acme.Vault/Put" }, { shown, masked, call })
    assert.is_nil((mask.frame(session, "answer", 2, 1)))
    request = assert(wire.encode_request { service = "containerd.vminitd.services.system.v1.System", method = "Info",
      metadata = { { key = "token", value = "s3cr3t" } } })
    shown, masked = mask.frame(session, request, 1, 3)
    assert.is_true(masked)
    assert.is_nil(shown:find("s3cr3t", 1, true))
    assert.equal("Info", wire.decode_request(shown).method)
    assert.equal("answer", (mask.frame(session, "answer", 2, 3)))
  end)

  it("hides what log.hide was told, wherever it comes", run(function()
    vmctl.log.hide "tr0ub4dor"
    local _, text = traced(function()
      with_pair(function(a, b)
        a:label "unix:/run/tr0ub4dor"
        assert(a:write "it is tr0ub4dor here\n")
        assert(b:read_line())
      end)
    end, { raw = true })
    vmctl.log.unhide "tr0ub4dor"
    assert.is_nil(text:find("tr0ub4dor", 1, true))
    assert.truthy(text:find("it is *** here", 1, true))
  end))

  it("takes lines together that are written in pieces", run(function()
    local records = traced(function()
      with_pair(function(a, b)
        require("vmctl.base.stream_name").name(a, "stereos")
        assert(a:write '{"type":"pi')
        assert(a:write 'ng"}\n{"type":"get_health"}\n')
        b:read(nil, 30)
      end)
    end)
    local lines = pick(records, "line", "out")
    assert.same({ '{"type":"ping"}', '{"type":"get_health"}' }, { lines[1].payload, lines[2].payload })
  end))

  it("cuts what is longer than it keeps, and says so", run(function()
    local records = traced(function()
      with_pair(function(a, b)
        assert(a:write(("x"):rep(100) .. "\n"))
        b:read_line()
      end)
    end, { raw = true, data_max = 10 })
    local line = pick(records, "line", "in")[1]
    assert.same({ ("x"):rep(10), true, 100 }, { line.payload, line.cut, line.size })
  end))
end)

describe("a trace's file", function()
  after_each(function() trace.stop() end)

  it("is this user's alone, and is added to", run(function()
    local path = support.tmpdir() .. "/t"
    local file = assert(io.open(path, "w"))
    file:write "{\"ev\":\"stop\",\"t\":1}\n"
    file:close()
    assert(core.fs.chmod(path, tonumber("644", 8)))
    assert(trace.start(path))
    assert.equal(tonumber("600", 8), core.fs.stat(path).mode)
    trace.stop()
    local evs = {}
    for record in assert(trace.read(path)) do evs[#evs + 1] = record.ev end
    assert.same({ "stop", "start", "stop" }, evs)
  end))

  it("is a regular file: no device, no folder, no link, no pipe that waits", run(function()
    local dir = support.tmpdir()
    assert.equal("EINVAL", code(trace.start "/dev/null"))
    assert.truthy(code(trace.start(dir)))
    assert(core.fs.symlink(dir .. "/target", dir .. "/link"))
    assert.equal("ELOOP", code(trace.start(dir .. "/link")))
    assert.is_nil(lfs.attributes(dir .. "/target"))
    assert(os.execute(("mkfifo '%s/fifo'"):format(dir)))
    assert.truthy(code(trace.start(dir .. "/fifo")))
    assert.equal("ENOENT", code(trace.start(dir .. "/no/such")))
    assert.is_nil(trace.path())
  end))

  it("takes one recording at a time", run(function()
    local dir = support.tmpdir()
    assert(trace.start(dir .. "/a"))
    assert.equal("EBUSY", code(trace.start(dir .. "/b")))
    assert.equal(dir .. "/a", trace.path())
    assert.truthy(trace.stop())
    assert.is_nil(trace.stop())
    assert.has_error(function() trace.start(7) end)
    assert.has_error(function() trace.start(dir .. "/a", { max_siz = 1 }) end)
  end))

  it("does not grow beyond its limit: what was dropped is counted and said", run(function()
    local records, text, counts = traced(function()
      with_pair(function(a, b)
        for _ = 1, 200 do
          assert(a:write(("y"):rep(100) .. "\n"))
          assert(b:read_line())
        end
      end)
    end, { raw = true, max_size = 8192 })
    assert.is_true(#text <= 8192 + 4096)
    assert.is_true(counts.dropped > 0)
    local said = pick(records, "dropped")
    assert.equal(1, #said)
    assert.equal(1, #pick(records, "full"))
    assert.same({ counts.dropped, "EFBIG" }, { said[1].count, said[1].code })
    assert.equal("stop", records[#records].ev)
  end))

  it("costs the program nothing when it can not be written", run(function()
    local dir = support.tmpdir()
    local output = dir .. "/out"
    local text = ([[
      local vmctl = require "vmctl"
      assert(vmctl.trace.start "%s")
      local a, b = vmctl.pair()
      for i = 1, 2000 do assert(a:write(i .. "\n")) assert(b:read_line() == tostring(i)) end
      local counts = vmctl.trace.stop()
      assert(counts.dropped > 0, "nothing was dropped")
    ]]):format(output)
    -- ulimit -f: in blocks of 512 or 1024 bytes; the signal of it is ignored, so that write(2) fails
    script.check(text, { command = { "/bin/sh", "-c", 'trap "" XFSZ; ulimit -f 16; exec "$@"', "sh" } })
    local broken = 0
    for record in assert(trace.read(output)) do
      if record.ev == "broken" then broken = broken + 1 end
    end
    assert.is_true(broken <= 1)
  end, 10))

  it("is written by several processes at once, whole lines only", run(function()
    local path = support.tmpdir() .. "/shared"
    local text = [[
      local vmctl = require "vmctl"
      local a, b = vmctl.pair()
      for i = 1, 300 do assert(a:write(("z"):rep(i) .. "\n")) assert(b:read_line()) end
    ]]
    vmctl.all({ 1, 2 }, function() script.check(text, { env = { "VMCTL_TRACE=" .. path } }) end)
    local lines, starts = {}, 0
    for record in assert(trace.read(path)) do
      assert.is_not.equal("broken", record.ev)
      if record.ev == "start" then starts = starts + 1 end
      if record.ev == "line" then lines[record.s] = (lines[record.s] or 0) + 1 end
    end
    assert.equal(2, starts)
    local sessions = 0
    for _, count in pairs(lines) do
      sessions = sessions + 1
      assert.equal(300, count)
    end
    assert.equal(2, sessions)
  end, 10))

  it("is asked for by VMCTL_TRACE; who gets none is told", run(function()
    local _, _, stderr = script.run('require "vmctl"', { env = { "VMCTL_TRACE=/no/such/folder/t" } })
    assert.equal("vmctl: VMCTL_TRACE: trace: open the log /no/such/folder/t: No such file or directory\n", stderr)
    local path = support.tmpdir() .. "/t"
    script.check('assert(require("vmctl").trace.path())', { env = { "VMCTL_TRACE=" .. path } })
    local first
    for record in assert(trace.read(path)) do first = first or record end
    assert.same({ "start", vmctl._VERSION }, { first.ev, first.version })
  end, 5))
end)
