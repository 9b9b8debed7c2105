local address = require "vmctl.address"
local cjson = require "cjson"
local support = require "spec.support"
local vectors = require "spec.support.vectors"
local vmctl = require "vmctl"
local wire = require "vmctl.exec.wire"

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
    local exit_code, signal, more = wire.decode_exit(wire.encode_exit(3, nil, { lingering = true }))
    assert.same({ 3, { lingering = true } }, { exit_code, more })
    assert.is_nil(signal)
    assert.same({ -1, 64, { error = "why" } }, { wire.decode_exit(wire.encode_exit(-1, 64, { error = "why" })) })
    for _, payload in ipairs { "\x7f\xff\xff\xff", "\x80\0\0\0", "\0\0\1\0", "\xff\xff\xff\xfe", "\3\0\0\0" } do
      assert.equal("EPROTO", code(wire.decode_exit(payload)))
    end
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

-- A client whose agent answers each request with these bytes, cut in two; the requests are noted in `seen`. `command`: what it
-- answers to a command, when these bytes are for another request.
local function scripted(revision, bytes, at, seen, command)
  return assert(vmctl.exec.client(address.func(function()
    local near, far = support.pair()
    far:set_format(wire.format)
    vmctl.spawn(function()
      local guard <close> = far -- luacheck: ignore
      local type, payload = far:read_frame()
      if seen then seen[#seen + 1] = { type, payload } end
      if command and (type == T.EXEC or type == T.EXEC_STREAM or type == T.EXEC_PIPE) then return far:write(command) end
      far:write(bytes:sub(1, at))
      vmctl.yield()
      vmctl.yield()
      far:write(bytes:sub(at + 1))
      far:read_frame() -- no end of stream: the message is the end
    end)
    return near
  end, "script"), { revision = revision }))
end

local function each_cut(revision, bytes, fn, command)
  for at = 1, #bytes do fn(scripted(revision, bytes, at, nil, command), at) end
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
    each_cut("vmctl", all.file_write_ok.bytes, function(client) assert.is_true(client:write_file("/f", "x")) end)
    each_cut("0.2", all.file_read_ok.bytes, function(client) assert.equal("hello", client:read_file "/f") end)
    each_cut("0.2", all.file_write_ok.bytes, function(client) assert.equal("", client:read_file "/f") end)
    each_cut("0.2", all.file_write_ok.bytes, function(client) assert.same({}, client:list_files "/") end)
    each_cut("0.2", all.file_list_ok.bytes, function(client)
      local files = client:list_files "/"
      for _, file in ipairs(files) do
        assert.equal(file.is_dir and "directory" or "file", file.type)
        file.type = nil
      end
      assert.same(all.file_list_ok.fields.json.files, files)
    end)
    local no_large_file = '{"exit_code":97,"stdout":"","stderr":"","error":""}'
    each_cut("0.2", all.file_err.bytes, function(client)
      local content, _, why, said = client:read_file "/nope"
      assert.is_nil(content)
      assert.same({ "EREMOTE", "open /nope: no such file or directory" }, { why, said })
    end, string.pack(">B s4", T.EXEC_RESULT, no_large_file))
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
