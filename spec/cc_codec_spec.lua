local cc = require "vmctl.cc"
local ends = require "spec.support.cc"

local HERE = "spec/cc_codec_spec.lua:"

-- The raised error, which must name this file's line.
local function raises(fn)
  local ok, err = pcall(fn)
  assert.is_false(ok)
  assert.equal(HERE, tostring(err):match "[^/]*/[^/]*%.lua:", err)
  return err
end

local function bytes_of(method, value)
  local e = cc.encoder()
  return e[method](e, value):bytes()
end

describe("cc's encoder", function()
  it("gathers fields, gives them any number of times, and can be emptied", function()
    local e = cc.encoder()
    assert.equal("", e:bytes())
    local first = e:uint8(7):string("ab"):bool(true):bytes()
    assert.equal("\7\0\0\0\2ab\1", first)
    assert.equal(first, e:bytes())
    assert.equal("", e:reset():bytes())
    assert.equal("\0\5", e:uint16(5):bytes())
    assert.equal("\7\0\0\0\2ab\1", first)
  end)

  it("takes floats that are integers, and integers of 64 bits from 2^63 on as negative ones", function()
    assert.equal("\0\0\0\3", bytes_of("uint32", 3.0))
    assert.equal(("\255"):rep(8), bytes_of("uint64", -1))
    assert.equal("18446744073709551615", ends.u64_text(cc.decoder(("\255"):rep(8)):uint64()))
  end)

  it("takes any bytes as a string", function()
    assert.equal("\0\0\0\4\0\255\xc0\0", bytes_of("string", "\0\255\xc0\0"))
    assert.equal("\0\0\0\4\0\255\xc0\0", bytes_of("write_bytes", "\0\255\xc0\0"))
  end)

  it("raises at the caller's line for what has no place in a field", function()
    local e = cc.encoder()
    for _, case in ipairs {
      { "uint8", 256 }, { "uint8", -1 }, { "uint16", 65536 }, { "uint32", 1 << 32 }, { "uint32", -1 }, { "int32", 1 << 31 },
      { "int32", -(1 << 31) - 1 }, { "uint64", 1.5 }, { "int64", "7" }, { "uint64", 2.0 ^ 64 }, { "int64", 0 / 0 },
      { "bool", 1 }, { "bool" }, { "string", 7 }, { "string" }, { "write_bytes", {} }, { "string_slice", "a" },
      { "string_slice", { "a", 7 } }, { "error", {} }, { "error", { code = 256 } }, { "error", { code = 7, message = 7 } },
      { "mount_config", { tag = 7 } }, { "mount_config", "x" }, { "instance_options", { cpus = 1 << 31 } },
      { "instance_options", { mounts = { "x" } } }, { "instance_options", { mounts = 7 } },
      { "instance_options", { timeout = -1 } }, { "instance_options", { timeout = 0 / 0 } },
      { "instance_options", { timeout = 1e10 } }, { "instance_options", { timeout = "1" } },
      { "instance_options", { timeout = math.huge } }, { "instance_options", { timeout_ns = 1.5 } },
      { "file_info", { mode = -1 } }, { "dir_entry", { mode = 0 } }, { "dir_entries", { { name = 7 } } },
      { "snapshot_options", { excludes = { 7 } } }, { "snapshot_options" }, { "dockerfile_options", { dockerfile = 7 } },
      { "dockerfile_options", { build_args = { A = 7 } } }, { "dockerfile_options", { build_args = { "A" } } },
    } do
      raises(function()
        e[case[1]](e, case[2])
        return "not a tail call"
      end)
    end
    raises(function()
      cc.decoder(7)
      return 0
    end)
  end)

  it("cuts the time-out of seconds to nanoseconds", function()
    for seconds, nanoseconds in pairs { [1.005] = 1004999999, [30.5] = 30500000000, [0] = 0, [3] = 3000000000, [0.1] = 100000000 } do
      local d = cc.decoder(bytes_of("instance_options", { timeout = seconds }))
      assert.equal(nanoseconds, d:instance_options().timeout_ns)
    end
  end)

  it("writes build arguments in one order, and defaults for what is left out", function()
    local args = {}
    for i = 1, 20 do args[("N%02d"):format(i)] = tostring(i) end
    local written = bytes_of("dockerfile_options", { dockerfile = "FROM x", build_args = args })
    assert.equal(written, bytes_of("dockerfile_options", { dockerfile = "FROM x", build_args = args }))
    assert.is_true(written:find("N01", 1, true) < written:find("N20", 1, true))
    assert.equal(("\0"):rep(29), bytes_of("instance_options", {}))
  end)
end)

describe("cc's decoder", function()
  it("reads fields one after the other, and knows what remains", function()
    local d = cc.decoder "\1\0\2\0\0\0\1x\255"
    assert.equal(9, d:remaining())
    assert.same({ 1, 2, "x", 1, true }, { d:uint8(), d:uint16(), d:string(), d:remaining(), d:bool() })
    assert.equal(0, d:remaining())
    assert.is_false(d:failed())
  end)

  it("consumes nothing of a number that is cut, and the length of a string that is", function()
    local d = cc.decoder "\1\2\3"
    assert.same({ nil, "unexpected EOF", "EPROTO" }, { d:uint32() })
    assert.equal(3, d:remaining())
    d = cc.decoder "\0\0\0"
    assert.is_nil((d:string()))
    assert.equal(3, d:remaining())
    d = cc.decoder "\0\0\0\9abc"
    assert.is_nil((d:bytes()))
    assert.equal(3, d:remaining())
  end)

  it("reads nothing more once it has failed", function()
    local d = cc.decoder "\0\0\0\9abc"
    assert.is_nil((d:string()))
    assert.is_nil((d:uint8()))
    assert.is_nil((d:instance_options()))
    assert.is_true(d:failed())
  end)

  it("takes the last of two values for one build argument", function()
    local d = cc.decoder(("\0\0\0\1F\0\0\0\0\0\0\0\0\0\0\0\2") .. ("\0\0\0\1A\0\0\0\1" .. "1") .. ("\0\0\0\1A\0\0\0\1" .. "2"))
    assert.same({ A = "2" }, d:dockerfile_options().build_args)
  end)

  -- docs/wire/cc-ipc.md#known-weaknesses-of-the-reference: the counts of a peer are believed only as far as its bytes go.
  it("allocates nothing for counts that cannot be true", function()
    local counts = {
      string_slice = "", dir_entries = "", instance_options = ("\0"):rep(25), snapshot_options = "",
      dockerfile_options = ("\0"):rep(12), string = "", bytes = "",
    }
    for method, before in pairs(counts) do
      for _, count in ipairs { "\255\255\255\255", "\127\255\255\255", "\0\15\255\255" } do
        local d = cc.decoder(before .. count .. ("\0"):rep(64))
        collectgarbage()
        collectgarbage "stop"
        local memory = collectgarbage "count"
        local _, err, code = d[method](d)
        memory = collectgarbage "count" - memory
        collectgarbage "restart"
        assert.same({ "unexpected EOF", "EPROTO" }, { err, code }, method)
        assert.is_true(memory < 64, method)
      end
    end
  end)

  it("fails on random bytes or gives values, and never raises", function()
    math.randomseed(7)
    local methods = { "error", "mount_config", "instance_options", "file_info", "dir_entry", "dir_entries", "snapshot_options",
      "dockerfile_options", "string_slice", "string", "bool", "uint8", "uint16", "uint32", "uint64", "int32", "int64" }
    for _ = 1, 2000 do
      local bytes = {}
      for i = 1, math.random(0, 60) do bytes[i] = string.char(math.random(4) == 1 and math.random(0, 255) or 0) end
      bytes = table.concat(bytes)
      for _, method in ipairs(methods) do
        local d = cc.decoder(bytes)
        local value, err, code = d[method](d)
        if value == nil then
          assert.same({ "unexpected EOF", "EPROTO", true }, { err, code, d:failed() })
        else
          assert.is_true(d:remaining() >= 0 and d:remaining() < #bytes)
        end
      end
    end
  end)
end)

describe("cc's response builder", function()
  it("has the encoder's methods behind the code of a success", function()
    assert.equal("\0\0\0\0\0\0\0\0\7", cc.response():success():uint64(7):build())
    local r = cc.response():success():uint8(1):uint16(2):uint32(3):int32(-1):int64(-1):bool(true):string("s")
    r:write_bytes("b"):file_info { name = "n" }
    local d = cc.decoder(r:build(), 2)
    assert.same({ 1, 2, 3, -1, -1, true, "s", "b" }, { d:uint8(), d:uint16(), d:uint32(), d:int32(), d:int64(), d:bool(),
      d:string(), d:bytes() })
    assert.equal("n", d:file_info().name)
    assert.equal(0, d:remaining())
  end)
end)

describe("cc's modes", function()
  local cases = {
    { 0x000001a4, 0x81a4, "file" }, { 0x800001ed, 0x41ed, "directory" }, { 0x080001ff, 0xa1ff, "link" },
    { 0x042001b6, 0x21b6, "char" }, { 0x040001b0, 0x61b0, "block" }, { 0x020001a4, 0x11a4, "fifo" },
    { 0x010001ed, 0xc1ed, "socket" }, { 0x008001ed, 0x89ed, "file" }, { 0x004001ed, 0x85ed, "file" },
    { 0x801001ff, 0x43ff, "directory" },
  }

  it("are converted both ways", function()
    for _, case in ipairs(cases) do
      local posix, kind = cc.mode.to_posix(case[1])
      assert.same({ case[2], case[3] }, { posix, kind })
      assert.equal(case[1], cc.mode.from_posix(case[2]))
      assert.equal(case[1], cc.mode.from_posix(case[2] & 4095, case[3]))
    end
  end)

  it("without a POSIX type lose what POSIX does not know", function()
    assert.equal(0x81a4, (cc.mode.to_posix(0x700001a4)))
    local posix, kind = cc.mode.to_posix(0x000801a4)
    assert.same({ 0x1a4, "other" }, { posix, kind })
    assert.equal(0x000801a4, cc.mode.from_posix(0x1a4, "other"))
    assert.equal(0x1a4, cc.mode.from_posix(0x1a4))
  end)
end)

describe("cc's names", function()
  it("are those of the document: 63 requests, two answers, eleven codes", function()
    local count = 0
    for number, name in pairs(cc.names) do
      count = count + 1
      assert.equal(number, cc.types[name])
    end
    assert.equal(63, count)
    assert.same({ 0xff00, 0xff01, 6 }, { cc.types.RESPONSE, cc.types.ERROR, cc.HEADER_SIZE })
    assert.same({
      OK = 0, INVALID_HANDLE = 1, INVALID_ARGUMENT = 2, NOT_RUNNING = 3, ALREADY_CLOSED = 4, TIMEOUT = 5,
      HYPERVISOR_UNAVAILABLE = 6, IO = 7, NETWORK = 8, CANCELLED = 9, UNKNOWN = 99,
    }, cc.codes)
    for name, number in pairs { INSTANCE_NEW = 0x100, INSTANCE_EXEC = 0x107, FS_SNAPSHOT = 0x212, FS_READ_DIR = 0x20e,
      FILE_NAME = 0x307, CMD_KILL = 0x40d, CMD_COMBINED_OUTPUT = 0x40b, CONN_REMOTE_ADDR = 0x508, SNAPSHOT_AS_SOURCE = 0x603,
      BUILD_DOCKERFILE = 0x700 } do
      assert.equal(number, cc.types[name])
    end
  end)
end)
