-- The wire vectors for the guest's side, each cut at every byte.
local cjson = require "cjson"
local server = require "vmctl.exec.server"
local support = require "spec.support"
local vectors = require "spec.support.vectors"
local vmctl = require "vmctl"
local wire = require "vmctl.exec.wire"

local code, run = support.code, support.run
local all = vectors.load "exec"
local T = wire.types

local function payload_of(vector) return vector.bytes:sub(6) end

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
  for type, payload in function() return near:read_frame(30) end do frames[#frames + 1] = { type, payload } end
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

  local outcomes = {
    exec_env_wd = function(response) return response.exit_code == 127 and response.error:find "No such file" end,
    exec_html_escape = function(response) return response.exit_code > 0 and response.stderr:find "b" end,
  }
  if require("vmctl.core").fs.identity() == 0 then
    function outcomes.exec_user_v02(response)
      return response.exit_code == 0 and response.stdout:find "^uid=1000.* gid=1000"
    end
  end
  for name, is_right in pairs(outcomes) do
    it(name, run(function()
      for at = 1, #all[name].bytes do
        local got = joined(converse { cut(all[name].bytes, at) })
        assert.is_truthy(is_right(assert(wire.decode_response(got[T.EXEC_RESULT]))), got[T.EXEC_RESULT])
      end
    end, 20))
  end

  it("tty_req_nosize: a shell on a terminal without a size", run(function()
    for at = 1, #all.tty_req_nosize.bytes, 3 do
      local first, second = cut(all.tty_req_nosize.bytes, at)
      local got = joined(converse { first, second, { frame(T.STDIN, "stty size; exit 6\n") } })
      assert.is_truthy(got[T.STDOUT]:find("0 0\r\n", 1, true), got[T.STDOUT])
      assert.equal("\0\0\0\6", got[T.EXIT])
    end
  end, 20))

  it("pipe_req and pipe_stdin_eof: an empty input", run(function()
    local bytes = all.pipe_req.bytes .. all.pipe_stdin_eof.bytes
    for at = 1, #bytes do assert.same({ { T.EXIT, "\0\0\0\0" } }, converse { cut(bytes, at) }) end
  end, 10))

  it("pf_req: taken, or refused with a reason", run(function()
    for at = 1, #all.pf_req.bytes do
      local near, far = support.pair { format = wire.format }
      local task = vmctl.spawn(server.converse, far, {})
      near:write(all.pf_req.bytes:sub(1, at))
      vmctl.yield()
      near:write(all.pf_req.bytes:sub(at + 1))
      local type, payload = near:read_frame()
      assert.is_true(type == T.READY or (type == T.STDERR and #payload > 0))
      near:close()
      task:join()
    end
  end, 10))

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
      local silent = name == "hdr_max_length" -- 4 GiB are announced, of which none comes
      local task = vmctl.spawn(server.converse, far, { request_timeout = silent and 0.2 or nil })
      near:write(all[name].bytes)
      if not silent then near:shutdown() end
      assert.equal("EOF", code(near:read_frame()))
      near:close()
      task:join()
    end))
  end
end)
