local core = require "vmctl.core"
local native = require "spec.support.native"
local script = require "spec.support.script"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run, pair = support.code, support.run, support.pair

local MiB = 1 << 20

local function resident()
  local file <close> = assert(io.open "/proc/self/statm")
  return tonumber((file:read "a"):match "^%d+ (%d+)") * 4096
end

local function read_all(stream)
  local parts = {}
  while true do
    local part, err, name = stream:read()
    if not part then
      assert(name == "EOF", err)
      return table.concat(parts)
    end
    parts[#parts + 1] = part
  end
end

describe("vmctl.Stream: write", function()
  it("returns true when all is handed to the kernel", run(function()
    local near, far = pair()
    assert.is_true(near:write "x")
    assert.is_true(near:write "")
    assert.equal("x", far:read())
  end))

  it("delivers much more than the buffers hold, unchanged", run(function()
    local near, far = pair()
    local big = ("The quick brown fox\0"):rep(8 * MiB // 20)
    local writer = vmctl.spawn(function()
      assert(near:write(big))
      return near:close()
    end)
    assert.is_true(read_all(far) == big)
    assert.is_true(writer:join())
  end))

  it("returns ETIMEDOUT, and as fourth value how many bytes it took; they all arrive, and no others", run(function()
    local near, far = pair()
    local big = ("0123456789"):rep(MiB)
    local ok, message, name, taken = near:write(big, 0.02)
    assert.is_nil(ok)
    assert.is_string(message)
    assert.equal("ETIMEDOUT", name)
    assert.is_true(taken > 0 and taken < #big)
    local reader = vmctl.spawn(read_all, far)
    assert(near:write "and more")
    near:close()
    assert.is_true(reader:join() == big:sub(1, taken) .. "and more")
  end))

  it("uses the stream's own time-out when the call has none", run(function()
    local near, _ = pair()
    near:set_timeout { write = 0.01 }
    assert.equal("ETIMEDOUT", code(near:write(("x"):rep(MiB))))
  end))

  it("returns EPIPE when the peer has gone, for good", run(function()
    local near, far = pair()
    far:close()
    for _ = 1, 3 do assert.equal("EPIPE", code(near:write "x")) end
  end))

  it("wakes with EPIPE when the peer goes while it waits", run(function()
    local near, far = pair()
    local writer = vmctl.spawn(function() return near:write(("x"):rep(MiB)) end)
    vmctl.yield()
    assert.equal("waiting", writer:status())
    far:close()
    assert.equal("EPIPE", code(writer:join()))
  end))

  it("reads on what the peer sent before it went", run(function()
    local near, far = pair()
    far:write "goodbye"
    far:close()
    assert.equal("EPIPE", code(near:write "x"))
    assert.equal("goodbye", near:read())
  end))

  it("raises for what is no string", run(function()
    local near, _ = pair()
    for _, what in ipairs { {}, true } do assert.has_error(function() near:write(what) end) end
    assert.has_error(function() near:write() end)
  end))

  it("does not starve other tasks when it never has to wait", run(function()
    local near, far = pair()
    local turns = 0
    local other = vmctl.spawn(function()
      while turns < 5 do
        turns = turns + 1
        vmctl.yield()
      end
    end)
    for _ = 1, 5000 do
      near:write "x"
      far:read()
    end
    assert.equal("done", other:status())
  end))
end)

describe("vmctl.Stream: cork", function()
  it("gathers until flush", run(function()
    local near, far = pair()
    near:cork()
    near:write "a"
    near:write "b"
    assert.equal(2, near:stats().buffered_out)
    assert.equal("ETIMEDOUT", code(far:read(nil, 0)))
    assert.is_true(near:flush())
    assert.equal("ab", far:read(nil, 0))
    near:write "c"
    assert.equal("c", far:read(nil, 0))
  end))

  it("lets the loop send what its writer leaves lying", run(function()
    local near, far = pair()
    near:cork()
    near:write "forgotten"
    assert.equal("forgotten", far:read())
  end))

  it("sends by itself at 64 KiB, and stays bounded when the peer does not read", run(function()
    local near, far = pair()
    near:cork()
    near:write(("x"):rep(64 * 1024 - 1))
    assert.equal("ETIMEDOUT", code(far:read(nil, 0)))
    near:write "x"
    assert.equal(64 * 1024, #far:read_exact(64 * 1024, 0))
    assert.equal("ETIMEDOUT", code(near:write(("y"):rep(8 * MiB), 0.02)))
    assert.is_true(near:stats().buffered_out <= 512 * 1024)
  end))

  it("flush times out when the peer does not read, and can be repeated", run(function()
    local near, far = pair()
    near:cork()
    local _, _, _, taken = near:write(("x"):rep(MiB), 0.01)
    assert.equal("ETIMEDOUT", code(near:flush(0.01)))
    local reader = vmctl.spawn(function() return far:read_exact(taken) end)
    assert.is_true(near:flush())
    assert.equal(taken, #reader:join())
  end))
end)

describe("vmctl.Stream: shutdown", function()
  it("ends one direction; the other goes on", run(function()
    local near, far = pair()
    near:write "question"
    assert.is_true(near:shutdown())
    assert.equal("question", far:read())
    assert.equal("EOF", code(far:read()))
    far:write "answer"
    assert.equal("answer", near:read())
    assert.equal("EPIPE", code(near:write "more"))
    assert.is_true(near:shutdown())
    far:shutdown()
    assert.equal("EOF", code(near:read()))
  end))

  it("waits until all is sent", run(function()
    local near, far = pair()
    local big = ("z"):rep(MiB)
    near:cork()
    local reader = vmctl.spawn(read_all, far)
    assert(near:write(big))
    assert.is_true(near:shutdown())
    assert.equal(0, near:stats().buffered_out)
    assert.is_true(reader:join() == big)
  end))

  it("closes the pipe to a child's stdin", run(function()
    local child = assert(core.process_stream({ argv = { "sort" }, group = true }, "sort"))
    child:write "b\na\n"
    assert.is_true(child:shutdown())
    assert.equal("a\nb\n", read_all(child))
  end))
end)

describe("vmctl.Stream: limits", function()
  it("a reader that stops stops the writer, and memory stays bounded", run(function()
    local near, far = pair()
    local chunk = ("x"):rep(MiB)
    assert.equal("ETIMEDOUT", code(near:write(chunk, 0.01)))
    far:read(1)
    local before, total = resident(), 0
    for _ = 1, 5 do
      local _, _, name, taken = near:write(chunk, 0.01)
      assert.equal("ETIMEDOUT", name)
      total = total + taken
    end
    assert.is_true(total < 2 * MiB)
    assert.is_true(near:stats().buffered_out <= 256 * 1024)
    assert.is_true(far:stats().buffered_in <= MiB + 256 * 1024)
    assert.is_true(resident() - before < 4 * MiB)
  end))

  it("both ends may write at once with small socket buffers, when both also read", run(function()
    local near, far = pair()
    for _, s in ipairs { near, far } do native.functions().buffers(s:fileno(), 4096) end
    local big = ("deadlock?"):rep(MiB // 9)
    local writers = {}
    for i, s in ipairs { near, far } do
      writers[i] = vmctl.spawn(function()
        assert(s:write(big))
        return s:shutdown()
      end)
    end
    local got = vmctl.map({ near, far }, read_all)
    assert.is_true(got[1] == big and got[2] == big)
    assert.is_true(writers[1]:join() and writers[2]:join())
  end))
end)

describe("vmctl.Stream: a broken pipe", function()
  -- In a process of its own, whose SIGPIPE kills: here somebody may have it ignored.
  local deadly = { command = { "env", "--default-signal=PIPE" } }

  local function survives(body)
    script.check(([[
      local core = require "vmctl.core"
      local function status(name) return io.open "/proc/self/status":read "a":match(name .. ":%%s*(%%x+)") end
      local blocked, pending = status "SigBlk", status "SigPnd"
      %s
      assert(status "SigBlk" == blocked and status "SigPnd" == pending and status "ShdPnd" == pending)
    ]]):format(body), deadly)
  end

  it("is EPIPE on a socket, and no signal", run(function()
    survives [[
      local near, far = core.pair()
      far:close()
      assert(select(3, near:write "x") == "EPIPE")
    ]]
  end))

  it("is EPIPE on a pipe, and no signal", run(function()
    survives [[
      local child, stdin = core.process { argv = { "true" }, stdin = "pipe" }
      child:wait()
      assert(select(3, stdin:write "x") == "EPIPE")
      assert(select(3, stdin:write "x") == "EPIPE")
    ]]
  end))

  it("is EPIPE in a relay, and no signal", run(function()
    survives [[
      local client, a = core.pair()
      local command = { "sh", "-c", "exec <&-; echo ready; sleep 0.05" }
      local stream = core.process_stream({ argv = command, group = true }, "sh")
      assert(stream:read_line() == "ready")
      client:write "nobody reads this"
      assert(select(3, core.relay(a, stream):wait()) == "EPIPE")
    ]]
  end))

  it("leaves a SIGPIPE of the program's own as it is", run(function()
    local exit_code, signal = script.run([[
      local core = require "vmctl.core"
      local child, stdin = core.process { argv = { "true" }, stdin = "pipe" }
      child:wait()
      assert(select(3, stdin:write "x") == "EPIPE")
      os.execute "kill -PIPE $PPID"
    ]], deadly)
    assert.same({ -1, 13 }, { exit_code, signal })
  end))
end)
