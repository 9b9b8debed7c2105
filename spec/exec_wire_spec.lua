local address = require "vmctl.address"
local cjson = require "cjson"
local server = require "vmctl.protocol.exec.server"
local support = require "spec.support"
local vectors = require "spec.support.vectors"
local vmctl = require "vmctl"
local wire = require "vmctl.protocol.exec.wire"

local code, run = support.code, support.run
local all = vectors.load "exec"
local T = wire.types

local function payload_of(vector) return vector.bytes:sub(6) end

-- JSON null and an absent member mean the same in an answer.
local function without_null(object)
  local copy = {}
  for key, value in pairs(object) do
    if value ~= cjson.null then copy[key] = value end
  end
  return copy
end

local function of_types(types, direction)
  local list = {}
  for _, vector in ipairs(all) do
    local fields = vector.fields
    if fields.direction == direction and types[fields.type] and fields.json then list[#list + 1] = vector end
  end
  assert(#list > 2)
  return list
end

describe("exec wire: requests", function()
  for _, vector in ipairs(of_types({ [T.EXEC] = true, [T.EXEC_TTY] = true, [T.EXEC_STREAM] = true, [T.EXEC_PIPE] = true },
    "host->guest")) do
    it(vector.name .. " is decoded, and encoded to the same values", function()
      local want = vector.fields.json
      local request = assert(wire.decode_request(payload_of(vector)))
      assert.same(want, request)
      assert.same(want, cjson.decode((assert(wire.encode_request(want)))))
    end)
  end

  it("what is no request is EPROTO", function()
    for _, text in ipairs { "", "{nope", "null", "[]", "7", '"x"', "{}", '{"command":7}', '{"args":["x"]}',
      '{"command":"x","env":[]}x', '{"command":"x","env":{"A":1}}', '{"command":"x","env":["a"]}',
      '{"command":"x","args":{"a":"b"}}', '{"command":"x","args":[1]}', '{"command":"x","rows":"4"}',
      '{"command":"x","working_dir":[]}', '{"command":"x","argv_b64":"eA=="}', '{"command":"x","env_b64":{"A":false}}' } do
      assert.equal("EPROTO", code(wire.decode_request(text)), text)
    end
  end)

  it("unknown members and members that are null are ignored", function()
    local request = assert(wire.decode_request '{"command":"x","env":null,"user":null,"since":{"later":[1]}}')
    assert.equal("x", request.command)
    assert.is_nil(request.user)
  end)
end)

describe("exec wire: responses", function()
  for _, vector in ipairs(of_types({ [T.EXEC_RESULT] = true }, "guest->host")) do
    it(vector.name .. " is decoded, and encoded to the same values", function()
      local want = vector.fields.json
      local response = assert(wire.decode_response(payload_of(vector)))
      local core = require "vmctl.core"
      local stdout, stderr = without_null(want).stdout, without_null(want).stderr
      assert.equal(core.base64_decode(stdout or ""), response.stdout)
      assert.equal(core.base64_decode(stderr or ""), response.stderr)
      assert.equal(want.exit_code, response.exit_code)
      assert.equal("integer", math.type(response.exit_code))
      assert.equal(want.error or "", response.error)
      local again = cjson.decode(wire.encode_response { exit_code = want.exit_code, error = want.error,
        stdout = stdout and response.stdout, stderr = stderr and response.stderr })
      want.error = want.error or ""
      assert.same(without_null(want), without_null(again))
      assert.is_not_nil(again.stdout) -- null, when there is none: an agent sends all four members
      assert.is_not_nil(again.stderr)
    end)
  end

  it("what is no response is EPROTO", function()
    for _, text in ipairs { "", "{nope", "null", "3", '{"exit_code":"0"}', '{"exit_code":1.5}', '{"exit_code":0,"stdout":7}',
      '{"exit_code":0,"error":7}' } do
      assert.equal("EPROTO", code(wire.decode_response(text)), text)
    end
    assert.equal("EPROTO", code(wire.decode_response '{"exit_code":0,"stdout":"!"}'))
  end)

  it("an error that is not UTF-8 is made so", function()
    assert.equal("a?b", cjson.decode(wire.encode_response { exit_code = 1, error = "a\xffb" }).error)
  end)
end)

describe("exec wire: fixed payloads", function()
  it("Exit is signed, and one of fewer than four bytes is an error", function()
    for name, want in pairs { exit_5 = 5, exit_130 = 130, exit_minus1 = -1 } do
      assert.equal(want, all[name].fields.exit_code)
      assert.equal(want, (wire.decode_exit(payload_of(all[name]))))
      assert.equal(payload_of(all[name]), wire.encode_exit(want))
    end
    assert.equal("EPROTO", code(wire.decode_exit(payload_of(all.exit_short))))
    assert.equal("EPROTO", code(wire.decode_exit ""))
    assert.same({ -1, 11 }, { wire.decode_exit(wire.encode_exit(-1, 11)) })
    assert.equal(0x7fffffff, (wire.decode_exit "\x7f\xff\xff\xff"))
    assert.equal(-0x80000000, (wire.decode_exit "\x80\0\0\0"))
  end)

  it("Resize is rows and columns; fewer than four bytes are ignored, of more the first four count", function()
    for _, name in ipairs { "tty_resize", "tty_resize_long" } do
      local fields = all[name].fields
      assert.same({ fields.rows, fields.cols }, { wire.decode_resize(payload_of(all[name])) })
      assert.equal(payload_of(all[name]):sub(1, 4), wire.encode_resize(fields.rows, fields.cols))
    end
    assert.is_nil(wire.decode_resize(payload_of(all.tty_resize_short)))
  end)

  it("types are told apart by who may send them", function()
    for name, number in pairs(T) do
      local guest = ({ EXEC_RESULT = 1, STDOUT = 1, STDERR = 1, READY = 1, EXIT = 1, FILE_RESULT = 1 })[name]
      assert.equal(guest and "known" or nil, wire.from_guest(number), name)
    end
    assert.is_nil(wire.from_guest(0))
    assert.equal("later", wire.from_guest(all.unknown_type.fields.type))
  end)
end)

-- A client whose agent answers each request with these bytes, cut in two; the requests are noted in `seen`.
local function scripted(revision, bytes, at, seen)
  return assert(vmctl.exec.client(address.func(function()
    local near, far = support.pair()
    far:set_format(wire.format)
    vmctl.spawn(function()
      local guard <close> = far -- luacheck: ignore
      local type, payload = far:read_frame()
      if seen then seen[#seen + 1] = { type, payload } end
      far:write(bytes:sub(1, at))
      vmctl.yield()
      vmctl.yield()
      far:write(bytes:sub(at + 1))
      far:read_frame() -- no end of stream: the message is the end
    end)
    return near
  end, "script"), { revision = revision }))
end

local function each_cut(revision, bytes, fn)
  for at = 1, #bytes do fn(scripted(revision, bytes, at), at) end
end

-- The record that a result vector stands for, as `run` gives it.
local function record_of(fields)
  local core = require "vmctl.core"
  local json = without_null(fields.json)
  local record = { stdout = core.base64_decode(json.stdout or ""), stderr = core.base64_decode(json.stderr or "") }
  if json.error and json.error ~= "" then record.error = json.error end
  if json.exit_code == -1 then record.signal = "unknown" else record.exit_code = json.exit_code end
  return record
end

describe("exec client: answers cut at every byte:", function()
  for _, vector in ipairs(of_types({ [T.EXEC_RESULT] = true }, "guest->host")) do
    it(vector.name, run(function()
      local want = record_of(vector.fields)
      each_cut("0.1.9", vector.bytes, function(client, at)
        assert.same(want, client:run { "x" }, "cut at " .. at)
      end)
    end, 10))
  end

  it("stream_transcript: both streams apart, then the exit code", run(function()
    each_cut("0.2", all.stream_transcript.bytes, function(client)
      assert.same({ stdout = "o\n", stderr = "e\n", exit_code = 4 }, client:run { "x" })
    end)
  end, 10))

  for name, record in pairs {
    exit_5 = { exit_code = 5 }, exit_130 = { exit_code = 130 }, exit_minus1 = { signal = "unknown" },
    pipe_transcript_guest = { exit_code = 0, stdout = "abc" }, coalesced = { exit_code = 0, stdout = "a" },
  } do
    it(name .. " in all of the modes that end with Exit", run(function()
      record.stdout, record.stderr = record.stdout or "", ""
      for _, revision in ipairs { "vmctl", "0.2" } do
        each_cut(revision, all[name].bytes, function(client)
          assert.same(record, client:run { "x", stdin = "" })
        end)
      end
    end, 10))
  end

  it("exit_short: EPROTO, not exit code 0", run(function()
    each_cut("vmctl", all.exit_short.bytes, function(client)
      local record, _, why = client:run { "x" }
      assert.is_nil(record)
      assert.equal("EPROTO", why)
    end)
  end))

  it("split_delivery: one message in awkward pieces", run(function()
    local pieces = all.split_delivery.fields.chunks
    local client = assert(vmctl.exec.client(address.func(function()
      local near, far = support.pair { format = wire.format }
      vmctl.spawn(function()
        far:read_frame()
        for _, piece in ipairs(pieces) do
          far:write(vectors.bytes(piece))
          vmctl.yield()
        end
        far:write(all.exit_5.bytes)
        far:close()
      end)
      return near
    end), { revision = "vmctl" }))
    assert.same({ stdout = "hello", stderr = "", exit_code = 5 }, client:run { "x" })
  end))

  it("ready_empty and pf_refused: a port forward taken and refused", run(function()
    each_cut("0.2", all.ready_empty.bytes .. "raw", function(client)
      local s = assert(client:forward("127.0.0.1", 1))
      assert.equal("raw", s:read_exact(3))
      s:close()
    end)
    each_cut("0.2", all.pf_refused.bytes, function(client)
      local s, message, why, said = client:forward("127.0.0.1", 1)
      assert.is_nil(s)
      assert.equal("EREMOTE", why)
      assert.equal(payload_of(all.pf_refused), said)
      assert.is_truthy(message:find(said, 1, true))
    end)
  end, 10))

  it("file answers", run(function()
    each_cut("0.2", all.file_write_ok.bytes, function(client) assert.is_true(client:write_file("/f", "x")) end)
    each_cut("0.2", all.file_read_ok.bytes, function(client) assert.equal("hello", client:read_file "/f") end)
    each_cut("0.2", all.file_write_ok.bytes, function(client) assert.equal("", client:read_file "/f") end)
    each_cut("0.2", all.file_write_ok.bytes, function(client) assert.same({}, client:list_files "/") end)
    each_cut("0.2", all.file_list_ok.bytes, function(client)
      assert.same(all.file_list_ok.fields.json.files, client:list_files "/")
    end)
    each_cut("0.2", all.file_err.bytes, function(client)
      local content, _, why, said = client:read_file "/nope"
      assert.is_nil(content)
      assert.same({ "EREMOTE", "open /nope: no such file or directory" }, { why, said })
    end)
  end, 10))

  it("unknown_type: skipped when it comes later", run(function()
    each_cut("vmctl", all.unknown_type.bytes .. all.exit_5.bytes, function(client)
      assert.equal(5, client:run({ "x" }).exit_code)
    end)
  end))

  for name, want in pairs {
    interleaved_race = "EPROTO", hdr_truncated = "EPROTO", body_truncated = "EPROTO", hdr_max_length = "EPROTO",
  } do
    it(("%s: %s, and no exit code"):format(name, want), run(function()
      each_cut("vmctl", all[name].bytes, function()
        local client = assert(vmctl.exec.client(address.func(function()
          local near, far = support.pair { format = wire.format }
          far:write(all[name].bytes)
          far:shutdown()
          vmctl.spawn(function() far:read_frame() far:read_frame() far:close() end)
          return near
        end), { revision = "vmctl" }))
        local record, _, why = client:run { "x" }
        assert.is_nil(record)
        assert.equal(want, why)
      end)
    end))
  end
end)

-- Feeds the server a request and later messages, the vector among them cut at `at`; gives back its frames.
local function converse(parts)
  local near, far = support.pair { format = wire.format }
  local task = vmctl.spawn(server.converse, far, {})
  local frames = {}
  for _, part in ipairs(parts) do
    if part.after then
      local seen = ""
      while not seen:find(part.after, 1, true) do
        local type, payload = assert(near:read_frame())
        frames[#frames + 1] = { type, payload }
        seen = seen .. payload
      end
    end
    near:write(part[1])
    vmctl.yield()
  end
  for type, payload in function() return near:read_frame(5) end do frames[#frames + 1] = { type, payload } end
  near:close()
  task:join()
  return frames
end

local function cut(bytes, at, after)
  return { bytes:sub(1, at), after = after }, { bytes:sub(at + 1) }
end

local function joined(frames)
  local texts = {}
  for _, frame in ipairs(frames) do texts[frame[1]] = (texts[frame[1]] or "") .. frame[2] end
  return texts
end

local function frame(type, payload) return (">Bs4"):pack(type, payload) end

local PIPE_ECHO = frame(T.EXEC_PIPE, '{"command":"cat"}')
local TTY_SIZE = frame(T.EXEC_TTY, '{"command":"echo go; read x; stty size"}')
local ENTER = frame(T.STDIN, "\n")

describe("exec server: requests cut at every byte:", function()
  local requests = {
    exec_min = '{"exit_code":0,"stdout":"","stderr":"","error":""}',
    exec_all_fields = '{"exit_code":0,"stdout":"","stderr":"","error":""}', -- neither args nor stdin count
    stream_req = '{"exit_code":4,"stdout":null,"stderr":null,"error":""}',
  }
  for name, want in pairs(requests) do
    it(name, run(function()
      for at = 1, #all[name].bytes do
        local got = joined(converse { cut(all[name].bytes, at) })
        assert.same(cjson.decode(want), cjson.decode(got[T.EXEC_RESULT]))
        if name == "stream_req" then assert.same({ "o\n", "e\n" }, { got[T.STDOUT], got[T.STDERR] }) end
      end
    end, 20))
  end

  it("tty_req: a terminal of that size, then Exit", run(function()
    for at = 1, #all.tty_req.bytes do
      local got = joined(converse { cut(all.tty_req.bytes, at) })
      assert.same({ "40 100\r\n", "\0\0\0\5" }, { got[T.STDOUT], got[T.EXIT] })
    end
  end, 20))

  it("pipe_transcript_host: answered as the transcript says", run(function()
    local host, guest = all.pipe_transcript_host.bytes, all.pipe_transcript_guest.bytes
    for at = 1, #host do
      local bytes = ""
      for _, f in ipairs(converse { cut(host, at) }) do bytes = bytes .. frame(f[1], f[2]) end
      assert.equal(guest, bytes)
    end
  end, 20))

  it("tty_stdin and tty_stdin_eof: keys, and the end of the input", run(function()
    local request = frame(T.EXEC_TTY, '{"command":"echo go; cat"}')
    for at = 1, #all.tty_stdin.bytes do
      local first, second = cut(all.tty_stdin.bytes, at, "go")
      local got = joined(converse { { request }, first, second, { all.tty_stdin_eof.bytes, after = "ls -l\r\nls -l\r\n" } })
      assert.equal("\0\0\0\0", got[T.EXIT])
    end
  end, 10))

  it("tty_stdin_intr: the foreground program dies of SIGINT", run(function()
    local got = joined(converse { { frame(T.EXEC_TTY, '{"command":"echo go; exec sleep 10"}') },
      { all.tty_stdin_intr.bytes, after = "go" } })
    assert.equal("\xff\xff\xff\xff\2", got[T.EXIT])
  end))

  for name, want in pairs { tty_resize = "40 100", tty_resize_long = "24 80", tty_resize_short = "0 0" } do
    it(name .. ": the terminal has " .. want, run(function()
      for at = 1, #all[name].bytes do
        local first, second = cut(all[name].bytes, at, "go")
        local got = joined(converse { { TTY_SIZE }, first, second, { ENTER } })
        assert.is_truthy(got[T.STDOUT]:find(want, 1, true), got[T.STDOUT])
      end
    end, 10))
  end

  for name, want in pairs { signal_term = "TERM", signal_winch_big = "INT", signal_empty = "PIPED" } do
    it(name .. ": the command gets " .. want, run(function()
      local request = frame(T.EXEC_PIPE, '{"command":"trap \'echo TERM; exit\' TERM; trap \'echo INT; exit\' INT;'
        .. ' echo go; read x || sleep 5; echo PIPED"}')
      for at = 1, #all[name].bytes do
        local first, second = cut(all[name].bytes, at, "go")
        local got = joined(converse { { request }, first, second, name == "signal_empty" and { ENTER } or nil })
        assert.equal("go\n" .. want .. "\n", got[T.STDOUT])
      end
    end, 10))
  end

  it("unknown_type: closed without a reply when it comes first, skipped when it comes later", run(function()
    for at = 1, #all.unknown_type.bytes do
      assert.same({}, converse { cut(all.unknown_type.bytes, at) })
      local first, second = cut(all.unknown_type.bytes, at)
      local got = joined(converse { { PIPE_ECHO }, first, second, { frame(T.STDIN, "x") }, { frame(T.STDIN, "") } })
      assert.same({ [T.STDOUT] = "x", [T.EXIT] = "\0\0\0\0" }, got)
    end
  end, 10))

  it("file messages", run(function()
    local folder = support.tmpdir()
    local json = all.file_write.fields.json
    json.path = folder .. "/a/f.txt"
    local write = frame(T.WRITE_FILE, cjson.encode(json))
    local ask = cjson.encode { path = json.path }
    for at = 1, #write do
      assert.same({ { T.FILE_RESULT, "{}" } }, converse { cut(write, at) })
      assert.same({ { T.FILE_RESULT, payload_of(all.file_read_ok) } }, converse { { frame(T.READ_FILE, ask) } })
    end
    local listing = converse { { frame(T.LIST_FILES, cjson.encode { path = folder .. "/a" }) } }
    assert.same(all.file_list_ok.fields.json, cjson.decode(listing[1][2]))
  end, 10))

  for _, name in ipairs { "hdr_max_length", "hdr_truncated", "body_truncated" } do
    it(name .. ": closed without a reply", run(function()
      local near, far = support.pair { format = wire.format }
      local task = vmctl.spawn(server.converse, far, {})
      near:write(all[name].bytes)
      if name ~= "hdr_max_length" then near:shutdown() end
      assert.equal("EOF", code(near:read_frame()))
      near:close()
      task:join()
    end))
  end
end)
