local assert = require "luassert"
local pb = require "vmctl.protobuf"
local support = require "spec.support"
local wire = require "spec.support.protobuf"

local field = wire.field
local DEPTH = 100

local function code_of(...) return (select(3, ...)) end

-- Kilobytes that this process holds, and the most it ever held.
local function memory(what)
  local status <close> = assert(io.open "/proc/self/status")
  return tonumber(status:read "a":match(what .. ":%s+(%d+) kB"))
end

describe("vmctl.protobuf", function()
  if not pb.available then return pending "needs protobuf-c" end

  it("encodes and decodes a message of 4 MiB", function()
    local request = { service = "s", method = "m", payload = ("\0\1\2\xff"):rep(1 << 20), timeout_nano = 1, metadata = {} }
    assert.same(request, pb.decode("ttrpc.Request", assert(pb.encode("ttrpc.Request", request))))
  end)

  it("decodes 4 MiB of small texts", function()
    local list = {}
    for i = 1, 400000 do list[i] = ("%08d"):format(i) end
    local bytes = assert(pb.encode("ttrpc.StringList", { list = list }))
    local decoded = assert(pb.decode("ttrpc.StringList", bytes)).list
    assert.equal(table.concat(list), table.concat(decoded))
  end)

  it("refuses 4 MiB that would become hundreds", function()
    local hostile = field(5, 2, ""):rep(2 << 20)
    collectgarbage()
    local before = memory "VmHWM"
    local value, message, code = pb.decode("ttrpc.Request", hostile)
    assert.same({ nil, "EPROTO" }, { value, code })
    assert.matches("would take more than 129 MiB", message)
    assert.is_true(memory "VmHWM" - before < 160 * 1024)
  end)

  it("is done soon with a message of a million parts", function()
    pb.decode("ttrpc.Response", field(1, 2, field(3, 2, "")):rep(1 << 20)) -- quadratic work would take hours
  end)

  it("gives back what failed calls took", function()
    local bytes = pb.encode("ttrpc.Request", { payload = ("x"):rep(1 << 20), service = "s" }) .. field(2, 2, "\xff")
    local deep = { payload = ("x"):rep(1 << 20), metadata = { { key = 1 } } }
    for _ = 1, 20 do pb.decode("ttrpc.Request", bytes) pb.encode("ttrpc.Request", deep) end
    collectgarbage()
    local before = memory "VmRSS"
    for _ = 1, 200 do
      assert.equal("EPROTO", code_of(pb.decode("ttrpc.Request", bytes)))
      assert.equal("EINVAL", code_of(pb.encode("ttrpc.Request", deep)))
    end
    collectgarbage()
    assert.is_true(memory "VmRSS" - before < 16 * 1024)
  end)

  it("may be called by a finalizer that runs inside a call", function()
    local count = 0
    local function litter()
      setmetatable({}, { __gc = function()
        count = count + 1
        assert(pb.decode("ttrpc.Request", pb.encode("ttrpc.Request", { service = "from a finalizer" })))
        if count < 2000 then litter() end
      end })
    end
    local was_running = collectgarbage "isrunning"
    collectgarbage "restart"
    local mode = collectgarbage "generational"
    litter()
    local request = { service = "s", method = "m", payload = "p", timeout_nano = 1, metadata = {} }
    for i = 1, 50 do request.metadata[i] = { key = "k" .. i, value = "v" } end
    for _ = 1, 500 do
      assert.equal(50, #pb.decode("ttrpc.Request", pb.encode("ttrpc.Request", request)).metadata)
    end
    collectgarbage(mode)
    if not was_running then collectgarbage "stop" end
    assert.is_true(count > 0)
    count = 2000
    collectgarbage()
  end)
end)

describe("vmctl.protobuf's depth", function()
  if not pb.available or not os.execute "command -v protoc-c >/dev/null" then return pending "needs protoc-c" end
  setup(function() wire.load "types" end)

  local function nested(depth, number)
    local bytes = ""
    for _ = 2, depth do bytes = field(number, 2, bytes) end
    return bytes
  end

  for number, name in ipairs { "one", "many" } do
    it("is limited on decode, in field " .. name, function()
      assert.is_table(pb.decode("spec.types.Tree", nested(DEPTH, number)))
      local _, message, code = pb.decode("spec.types.Tree", nested(DEPTH + 1, number))
      assert.same({ "decode spec.types.Tree: messages nested more than 100 deep", "EPROTO" }, { message, code })
    end)

    it("is limited on decode by the stack as well, in field " .. name, function()
      for _, depth in ipairs { 1000, 20000 } do
        assert.equal("EPROTO", code_of(pb.decode("spec.types.Tree", nested(depth, number))))
      end
    end)
  end

  it("is limited where parts of messages are merged", function()
    local bytes = nested(20000, 1)
    assert.equal("EPROTO", code_of(pb.decode("spec.types.Tree", bytes .. bytes)))
  end)

  it("is limited on encode, and a table in itself is refused", function()
    local tree = {}
    for _ = 2, DEPTH do tree = { one = tree } end
    assert.equal(nested(DEPTH, 1), pb.encode("spec.types.Tree", tree))
    assert.equal("EINVAL", code_of(pb.encode("spec.types.Tree", { many = { tree } })))
    local circle = {}
    circle.one = circle
    assert.matches("nested more than 100 deep", select(2, pb.encode("spec.types.Tree", circle)))
  end)

  it("is the same from a coroutine in a coroutine", function()
    local results
    local function call(left)
      if left > 0 then return coroutine.wrap(call)(left - 1) end
      results = { pb.decode("spec.types.Tree", nested(DEPTH, 1)) ~= nil, code_of(pb.decode("spec.types.Tree", nested(DEPTH + 1, 1))) }
    end
    call(50)
    assert.same({ true, "EPROTO" }, results)
  end)
end)

describe("vmctl.protobuf in two Lua states", function()
  local found, thread = pcall(require, "cqueues.thread")
  if not pb.available or not found or not os.execute "command -v protoc-c >/dev/null" then
    return pending "needs protoc-c and cqueues"
  end

  it("keeps what each loaded apart, and works in both at once", support.run(function()
    local path = wire.build(support.tmpdir(), "types")
    local child, socket = thread.start(function(con, modules, cpath, plugin)
      package.path, package.cpath = modules, cpath
      local messages = require "vmctl.protobuf"
      local result = { tostring(messages.exists "spec.types.Tree") }
      for i = 1, 20000 do
        local request = { service = "thread", timeout_nano = i, metadata = { { key = "k", value = tostring(i) } } }
        local back = messages.decode("ttrpc.Request", messages.encode("ttrpc.Request", request))
        if back.timeout_nano ~= i or back.metadata[1].value ~= tostring(i) then result[#result + 1] = "wrong" break end
      end
      result[#result + 1] = messages.load(plugin) and tostring(messages.exists "spec.types.Tree")
      con:write(table.concat(result, " "), "\n")
    end, package.path, package.cpath, path)
    assert(child, tostring(socket))
    assert(pb.load(path))
    for i = 1, 20000 do
      assert.equal(i, pb.decode("ttrpc.Request", pb.encode("ttrpc.Request", { timeout_nano = i })).timeout_nano)
    end
    assert.equal("false true", socket:read())
    child:join()
    socket:close()
  end, 60))
end)
