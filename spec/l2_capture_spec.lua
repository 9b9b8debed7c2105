local assert = require "luassert"
local lfs = require "lfs"
local l2s = require "spec.support.l2"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run
local frame, texts = l2s.frame, l2s.texts

local function contents(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read "a"
  file:close()
  return bytes
end

-- The options of a packet, from the byte behind it: numbers and values.
local function options_of(data, at)
  local found = {}
  while true do
    local number, length = ("<I2I2"):unpack(data, at)
    if number == 0 then return found end
    found[number] = data:sub(at + 4, at + 3 + length)
    at = at + 4 + (length + 3) // 4 * 4
  end
end

-- The packets of whole blocks: { bytes, length, flags, comment }; fails for what is no whole block.
local function packets_of(data)
  local list, at = {}, 1
  while at <= #data do
    local type, total = ("<I4I4"):unpack(data, at)
    assert.equal(total, (("<I4"):unpack(data, at + total - 4)))
    if type == 6 then
      local captured, length = ("<I4I4"):unpack(data, at + 20)
      local options = options_of(data, at + 28 + (captured + 3) // 4 * 4)
      list[#list + 1] = { data:sub(at + 28, at + 27 + captured), length, ("<I4"):unpack(options[2]), options[1] }
    end
    at = at + total
  end
  return list
end

local function fifo()
  local path = support.tmpdir() .. "/fifo"
  assert.equal(0, vmctl.host:run({ "mkfifo", path }).exit_code)
  return path
end

-- Sends `count` frames from a, which b gets.
local function traffic(far, count, size)
  local sender = vmctl.spawn(function()
    local batch = {}
    for i = 1, 50 do batch[i] = frame { from = 1, text = "x", size = size or 1514 } end
    for _ = 1, count // 50 do assert(far.a:send_many(batch, 30)) end
  end)
  local got = 0
  while got < count do got = got + #assert(far.b:recv_many(256, 30)) end
  sender:join()
end

describe("a capture of vmctl.L2Switch", function()
  it("is held by the switch, also if its handle is not kept", run(function()
    local sw, far = l2s.switch { "a", "b" }
    local path = support.tmpdir() .. "/x.pcapng"
    assert(sw:capture(path))
    far.a:send(frame { text = "1" })
    texts(far.b)
    collectgarbage() collectgarbage()
    far.a:send(frame { text = "2" })
    texts(far.b)
    sw:close()
    assert.equal(2, #packets_of(contents(path)))
  end))

  it("goes into a FIFO whose reader comes and goes, each time from the beginning", run(function()
    local sw, far = l2s.switch { "a", "b" }
    local path = fifo()
    local capture = assert(sw:capture(path)) -- no reader: it does not wait for one
    traffic(far, 50)
    assert.equal(0, (capture:status()))
    for _ = 1, 2 do
      local reader = vmctl.spawn(function() return assert(vmctl.host:run { "head", "-c", "8000", path, timeout = 30 }) end)
      local before = capture:status()
      support.eventually(function()
        traffic(far, 50)
        return capture:status() > before
      end)
      local result = assert(reader:join())
      assert.equal(8000, #result.stdout)
      assert.equal("\x0a\x0d\x0d\x0a", result.stdout:sub(1, 4))
      traffic(far, 50) -- its end is noticed, and ends nothing
    end
    assert(capture:close())
    sw:close()
  end, 90))

  it("holds up nothing when its reader stands still, and counts what it leaves out", run(function()
    local sw, far = l2s.switch { "a", "b" }
    local path = fifo()
    local reader = assert(io.open(path, "r+"))
    local capture = assert(sw:capture(path))
    traffic(far, 10000)
    local frames, lost, waiting = assert(capture:status())
    assert.equal(10000, frames + lost)
    assert.is_true(lost > 5000)
    assert.is_true(waiting > 0 and waiting <= 4 << 20)
    reader:close()
    traffic(far, 50)
    sw:close()
  end, 90))

  it("refuses what is no file of this user's and no FIFO", run(function()
    local sw = l2s.switch { "a" }
    local folder = support.tmpdir()
    assert.equal("EISDIR", code(sw:capture(folder)))
    assert.equal("ENOENT", code(sw:capture(folder .. "/none/x")))
    assert.has_error(function() sw:capture(folder .. "/x", { files = 2 }) end)
    assert.has_error(function() sw:capture(folder .. "/x", { snaplen = 13 }) end)
    sw:close()
  end))

  it("that cannot be written is logged once, ends behind a whole frame, and says so", run(function()
    local path = support.tmpdir() .. "/full.pcapng"
    local script = [[
      local l2s, vmctl = require "spec.support.l2", require "vmctl"
      vmctl.run(function()
        local sw, far = l2s.switch { "a", "b" }
        local capture = assert(sw:capture(arg[1]))
        local lines = l2s.logged(function()
          for _ = 1, 200 do
            far.a:send(l2s.frame { from = 1, size = 1000 })
            assert(far.b:recv(30))
          end
          vmctl.sleep(0.05)
        end)
        print(#l2s.about(lines, "has ended"), select(3, capture:status()), select(3, capture:close()))
        sw:close()
      end)]]
    local file = support.tmpdir() .. "/full.lua"
    local out = assert(io.open(file, "w"))
    out:write(("package.path, package.cpath = %q, %q\n"):format(package.path, package.cpath), script)
    out:close()
    local command = "ulimit -f 100 && exec \"$0\" \"$@\"" -- blocks of 512 or 1024 bytes, as the shell has it
    local result = vmctl.host:run { "sh", "-c", command, "lua5.4", file, path, timeout = 60, cwd = lfs.currentdir() }
    assert.equal("1\tEFBIG\tEFBIG\n", result.stdout, result.stderr)
    local packets = packets_of(contents(path))
    assert.is_true(#packets >= 45 and #packets < 200, #packets)
  end, 90))

  it("shows the direction, and what the faults did", run(function()
    local sw, far = l2s.switch({ "a", "b", "c" }, { seed = 1 })
    local path = support.tmpdir() .. "/x.pcapng"
    local capture = assert(sw:capture(path))
    far.a:send(frame { from = 1, text = "plain" })
    texts(far.b)
    sw:faults("a", "b", { delay = 0.05, duplicate = 1 })
    sw:faults("a", "c", { loss = 1 })
    far.a:send(frame { from = 1, text = "hit" })
    texts(far.b, 0.3)
    sw:port("a"):faults({ loss = 1 }, { direction = "from" })
    far.a:send(frame { from = 1, text = "lost" })
    texts(far.b)
    sw:port("a"):cut()
    far.a:send(frame { from = 1, text = "cut" })
    texts(far.b)
    assert.equal(4, capture:close())
    local packets = packets_of(contents(path))
    local comments = {}
    for i, packet in ipairs(packets) do
      assert.equal(1, packet[3]) -- inbound
      comments[i] = packet[4] or ""
    end
    assert.same({ "", "b: delayed by 0.050000 s; b: duplicated; c: dropped (loss)", "dropped (loss)", "dropped (cut)" }, comments)
    sw:close()
  end))

  it("keeps as much of each frame as `snaplen` says", run(function()
    local sw, far = l2s.switch { "a", "b" }
    local path = support.tmpdir() .. "/x.pcapng"
    local capture = assert(sw:capture(path, { snaplen = 61 }))
    local long, short = frame { from = 1, size = 1514 }, frame { from = 1, text = "short" }
    far.a:send_many { long, short }
    texts(far.b)
    assert(capture:close())
    local packets = packets_of(contents(path))
    assert.same({ { long:sub(1, 61), 1514, 1 }, { short, #short, 1 } }, packets)
    sw:close()
  end))

  it("ends at `max_bytes`, or goes on in another file", run(function()
    local sw, far = l2s.switch { "a", "b" }
    local folder = support.tmpdir()
    local one = assert(sw:capture(folder .. "/one", { max_bytes = 131072 }))
    assert(sw:capture(folder .. "/three", { max_bytes = 131072, files = 3 }))
    traffic(far, 500)
    local frames, lost = one:status()
    assert.equal(500, frames + lost)
    assert.equal(frames, #packets_of(contents(folder .. "/one")))
    sw:close()
    local kept = 0
    for _, name in ipairs { "/three", "/three.1", "/three.2" } do
      local bytes = contents(folder .. name)
      assert.is_true(#bytes <= 131072)
      kept = kept + #packets_of(bytes)
    end
    assert.is_true(kept > 160 and kept < 500)
    assert.is_nil(io.open(folder .. "/three.3"))
  end))

  it("takes only what a filter of libpcap lets through", run(function()
    local sw, far = l2s.switch { "a", "b" }
    local path = support.tmpdir() .. "/x.pcapng"
    local capture, message, why = sw:capture(path, { filter = "ether src 02:00:00:00:00:02" })
    if why == "ENOSYS" then
      assert.truthy(message:find("libpcap", 1, true))
    else
      assert(capture)
      far.a:send_many { frame { from = 1 }, frame { from = 2, text = "this" }, frame { from = 3 } }
      texts(far.b)
      assert.equal(1, capture:close())
      assert.equal(frame { from = 2, text = "this" }, packets_of(contents(path))[1][1])
      assert.equal("EINVAL", code(sw:capture(path, { filter = "no such thing at all" })))
    end
    sw:close()
  end))
end)
