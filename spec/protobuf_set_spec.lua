-- Messages of descriptor sets: they are to be those that protoc-c compiles, byte by byte, and have what it lacks.
local assert = require "luassert"
local pb = require "vmctl.protobuf"
local wire = require "spec.support.protobuf"

local field = wire.field
local RUN_TIME = "spec/descriptor_set"
local MACHINE = "spec.machines.Machine"

local function code_of(...) return (select(3, ...)) end

local function encoded(message, value) return assert(pb.encode(message, value)) end

local function round(message, value) return assert(pb.decode(message, encoded(message, value))) end

describe("vmctl.protobuf's descriptor sets", function()
  if not pb.available or not os.execute "command -v protoc-c >/dev/null" then return pending "needs protoc-c" end

  describe("beside what protoc-c compiles", function()
    local loaded

    setup(function()
      for _, name in ipairs { "types", "old" } do wire.load(name) end
      loaded = wire.another()
      for _, name in ipairs { "types", "old" } do assert(loaded.load_set(wire.set("spec/protobuf", name))) end
    end)

    it("say the same of each message", function()
      local count = 0
      for _, name in ipairs(pb.names()) do
        if name:find "^spec%." then
          assert.same(pb.fields(name), loaded.fields(name))
          count = count + 1
        end
      end
      assert.is_true(count >= 12)
    end)

    local scalars = { i32 = -1, s32 = -2, sf32 = 3, u32 = 4, f32 = 5, i64 = -6, s64 = 7, sf64 = 8, u64 = -1, f64 = 9, single = 1.5,
      real = -0.0, flag = true, text = "é", data = "\0", colour = "DARK", inner = { colour = 77, inner = {} } }
    local values = {
      { "spec.types.Scalars", scalars }, { "spec.types.Scalars", {} }, { "spec.types.Scalars", { text = "", data = "", i32 = 0 } },
      { "spec.types.Lists", { i32 = { 1, -1 }, loose = { 1, 2 }, s64 = { -1 }, f32 = { 7 }, real = { 0.0, -0.0 }, flag = { true, false },
        text = { "", "x" }, data = { "", "\0" }, colour = { "RED", 5 }, inner = { scalars, {} } } },
      { "spec.types.Maps", { names = { b = "1", a = "", [""] = "2" }, by_number = { [-1] = scalars, [0] = {} },
        by_int64 = { [math.mininteger] = "" }, by_flag = { [true] = "RED", [false] = 0 }, by_uint64 = { [-1] = -0.0 } } },
      { "spec.types.Pairs", { pairs = { { key = "a", value = "b" }, { key = "a" } } } },
      { "spec.types.Choice", { text = "" } }, { "spec.types.Choice", { number = 0, other = true } },
      { "spec.types.Choice", { inner = {} } }, { "spec.types.Choice", { data = "" } },
      { "spec.types.Tree", { one = { many = { {}, { name = "x" } } } } },
      { "spec.old.Order", { id = 0, name = "" } },
      { "spec.old.Order", { id = 1, name = "n", count = 0, note = "", data = "", urgent = false, parts = { 1, 2 }, prices = { a = 0 } } },
    }

    it("give the same bytes and the same tables", function()
      for _, each in ipairs(values) do
        local name, value = table.unpack(each)
        local bytes = assert(pb.encode(name, value))
        assert.equal(bytes, loaded.encode(name, value))
        assert.same(pb.decode(name, bytes), loaded.decode(name, bytes))
      end
    end)

    it("refuse the same bytes", function()
      for _, each in ipairs(values) do
        local bytes = assert(pb.encode(each[1], each[2]))
        for at = 1, #bytes do
          for _, other in ipairs { bytes:sub(1, at - 1), bytes:sub(1, at - 1) .. "\xff" .. bytes:sub(at + 1) } do
            local compiled, message, code = pb.decode(each[1], other)
            local value, its_message, its_code = loaded.decode(each[1], other)
            assert.same({ message, code }, { its_message, its_code })
            if compiled then assert.equal(pb.encode(each[1], compiled), loaded.encode(each[1], value)) end -- NaN is not the same
          end
        end
      end
    end)

    it("refuse the same tables", function()
      for _, each in ipairs {
        { "spec.old.Order", { id = 1 } }, { "spec.types.Scalars", { colour = "NO" } }, { "spec.types.Choice", { text = "", number = 1 } },
        { "spec.types.Scalars", { single = 1e39 } }, { "spec.types.Lists", { i32 = { 1, nil, 3 } } }, { "spec.types.Tree", { nope = 1 } },
      } do
        local bytes, message, code = loaded.encode(table.unpack(each))
        assert.same({ nil, (select(2, pb.encode(table.unpack(each)))) }, { bytes, message })
        assert.equal("EINVAL", code)
      end
    end)
  end)

  describe("of an agent's protocol", function()
    setup(function() assert(pb.load_set(wire.set(RUN_TIME, "machines"))) end)

    it("know what is optional in proto3 from what is zero", function()
      local value = { cpus = 0, note = "", seed = "", quiet = false, load = 0.0 }
      assert.equal(field(4, 0, 0) .. field(5, 2, "") .. field(6, 2, "") .. field(7, 0, 0) .. field(8, 1, ("\0"):rep(8)),
        encoded(MACHINE, value))
      local there, absent = round(MACHINE, value), round(MACHINE, {})
      for name, each in pairs(value) do
        assert.equal(each, there[name])
        assert.is_nil(absent[name])
      end
      assert.same({ path = "", kind = 0, limit = { bytes = 0 }, seen = 0 }, round(MACHINE .. ".Disk", { limit = {} }))
      assert.is_nil(round(MACHINE .. ".Disk", {}).limit)
    end)

    it("have fields that C has other uses for", function()
      assert.equal(field(2, 0, 1) .. field(3, 0, 1), encoded(MACHINE, { linux = true, unix = true }))
    end)

    it("have maps to each kind of value", function()
      local value = { labels = { a = "b" }, disks = { [-1] = { path = "p", kind = -5, seen = 0 } }, states = { x = 2 },
        loads = { [-1] = 0.5 } }
      local seen = round(MACHINE, value)
      for name, each in pairs(value) do assert.same(each, seen[name]) end
      assert.equal(field(11, 2, field(1, 2, "x") .. field(2, 0, 1)), encoded(MACHINE, { states = { x = "ACTIVE" } }))
    end)

    it("have oneofs, of which the last member counts", function()
      for _, name in ipairs { "kernel", "disk", "firmware", "slot", "delay", "net" } do
        local empty = { kernel = "", disk = {}, firmware = "", slot = 0, delay = 0.0, net = {} }
        local seen = round(MACHINE, { [name] = empty[name], after = 0 })
        for other in pairs(empty) do assert.equal(other == name, seen[other] ~= nil, other) end
        assert.same({ 0, nil }, { seen.after, seen.when })
      end
      local seen = assert(pb.decode(MACHINE, field(13, 2, "k") .. field(14, 2, "") .. field(15, 2, "f") .. field(16, 0, 3)))
      assert.same({ 3 }, { seen.slot, seen.kernel, seen.disk, seen.firmware })
      assert.equal("EINVAL", code_of(pb.encode(MACHINE, { kernel = "", slot = 0 })))
    end)

    it("read packed lists and others, whichever they send", function()
      assert.equal(field(21, 2, "\1\2"), encoded(MACHINE, { packed = { 1, 2 } }))
      assert.equal(field(22, 0, 1) .. field(22, 0, 2), encoded(MACHINE, { loose = { 1, 2 } }))
      for name, number in pairs { packed = 21, loose = 22 } do
        assert.same({ 1, 2, 3, 4 }, pb.decode(MACHINE, field(number, 2, "\1\2") .. field(number, 0, 3) .. field(number, 0, 4))[name])
      end
    end)

    it("have well-known messages, and numbers up to the largest", function()
      local value = { spec = { type_url = "t", value = "v" }, created = { seconds = 1, nanos = 2 }, uptime = { seconds = -1, nanos = -5 },
        mask = { paths = { "a.b", "c" } }, limit = { value = 7 }, share = -0.0 }
      local seen = round(MACHINE, value)
      for name, each in pairs(value) do assert.same(each, seen[name]) end
      assert.equal(field((1 << 29) - 1, 2, field(1, 0, 7)), encoded(MACHINE, { limit = { value = 7 } }))
    end)

    it("skip what the set does not know, at each depth", function()
      local unknown = field(200, 0, -1) .. field(201, 1, "12345678") .. field(20000, 2, "text") .. field(203, 5, "1234")
      local seen = assert(pb.decode(MACHINE, unknown .. field(1, 2, "n") .. field(28, 2, unknown .. field(1, 2, "p")) .. unknown))
      assert.same({ "n", "p" }, { seen.name, seen.more[1].path })
    end)

    it("refuse messages nested too deep", function()
      local value, bytes = {}, ""
      for _ = 1, 100 do value, bytes = { inner = value }, field(18999, 2, bytes) end
      assert.equal("EINVAL", code_of(pb.encode(MACHINE, value)))
      assert.equal("EPROTO", code_of(pb.decode(MACHINE, bytes)))
      assert.is_table(pb.decode(MACHINE, encoded(MACHINE, value.inner)))
    end)

    it("are the same when they are loaded once more, and stay when another is refused", function()
      assert.same(pb.load_set(wire.set(RUN_TIME, "machines")), pb.load_set(wire.set(RUN_TIME, "machines")))
      local other = wire.set(RUN_TIME, "common"):gsub("key", "kez")
      local names, message, code = pb.load_set(other)
      assert.same({ nil, "load a descriptor set: there is another message spec.common.Label already", "EINVAL" }, { names, message, code })
      assert.equal(field(1, 2, "k"), encoded("spec.common.Label", { key = "k" }))
      collectgarbage()
      collectgarbage()
      assert.equal("n", round(MACHINE, { name = "n" }).name)
    end)

    it("keep the form of a well-known message that is known, and use it", function()
      local fresh = wire.another()
      local function file(package, fields)
        local list = {}
        for number, name in ipairs(fields) do
          list[number] = { name = name, number = number, label = 1, type = name == "other" and 11 or 5,
            type_name = name == "other" and ".google.protobuf.Spec" or nil }
        end
        return { name = package, package = package, syntax = "proto3", message_type = { { name = "Spec", field = list } } }
      end
      local function load(...) return fresh.load_set(assert(pb.encode("vmctl.schema.FileSet", { file = { ... } }))) end
      assert.same({ "google.protobuf.Spec" }, load(file("google.protobuf", { "a" })))
      assert.same({ "google.protobuf.Spec", "p.Spec" }, load(file("google.protobuf", { "a", "b" }), file("p", { "other" })))
      assert.equal(1, #fresh.fields "google.protobuf.Spec")
      assert.same({ other = { a = 7 } }, fresh.decode("p.Spec", field(1, 2, field(1, 0, 7) .. field(2, 0, 8))))
      assert.equal("EINVAL", code_of(load(file("p", { "other", "b" }))))
    end)

    it("may lack what is known already", function()
      local fresh = wire.another()
      local alone = wire.set(RUN_TIME, "machines", true)
      assert.matches("the set lacks spec%.common%.State %(protoc %-%-include_imports", (select(2, fresh.load_set(alone))))
      assert(fresh.load_set(wire.set(RUN_TIME, "common")))
      local missing = select(2, fresh.load_set(alone)) -- an enum is known by its messages alone
      assert.matches("the set lacks spec%.common%.State", missing)
      assert.is_false(fresh.exists(MACHINE))
    end)
  end)

  describe("as files", function()
    local folder

    setup(function()
      folder = os.tmpname()
      os.remove(folder)
      assert(os.execute("mkdir " .. folder))
    end)
    teardown(function() os.execute("rm -r " .. folder) end)

    local function write(name, content)
      local file <close> = assert(io.open(folder .. "/" .. name, "wb"))
      file:write(content)
      return folder .. "/" .. name
    end

    it("give messages and services", function()
      local path = write("agent.pb", wire.set(RUN_TIME, "machines"))
      local fresh = wire.another()
      local names = assert(fresh.load(path))
      assert.is_true(#names > 10 and fresh.exists(MACHINE))
      local event, empty = "spec.machines.Event", "google.protobuf.Empty"
      local function method(request, response, client, server)
        return { request = request, response = response, client_stream = client, server_stream = server }
      end
      assert.same({
        { name = "spec.machines.Machines", methods = {
          Start = method(MACHINE, empty, false, false), Watch = method(empty, event, false, true),
          Push = method(event, "spec.common.Label", true, false), Talk = method(event, MACHINE .. ".Disk", true, true),
        } },
        { name = "spec.machines.Empty", methods = {} },
      }, fresh.services(path))
    end)

    it("are made of a .proto by protoc", function()
      local fresh = wire.another()
      local names = assert(fresh.load(RUN_TIME .. "/machines.proto", { include = { RUN_TIME, "proto" } }))
      assert.is_true(#names > 10 and fresh.exists(MACHINE))
      assert.same({ "spec.common.Label" }, fresh.load(RUN_TIME .. "/common.proto"))
      local path = write("broken.proto", 'syntax = "proto3"; message {')
      local _, message, code = fresh.load(path)
      assert.equal("EINVAL", code)
      assert.matches("^load .*/broken%.proto: protoc[-c]*: broken%.proto:1:.*", message)
      path = write("old.proto", "message {") -- of which protoc first says that its syntax is not named
      assert.matches("^load .*/old%.proto: protoc[-c]*: old%.proto:1:.*", (select(2, fresh.load(path))))
    end)

    it("say why they cannot be read", function()
      assert.equal("ENOENT", code_of(pb.load(folder .. "/none.pb")))
      assert.equal("ENOENT", code_of(pb.load(folder .. "/none.proto")))
      assert.equal("EINVAL", code_of(pb.load "libc.so.6\0x"))
      assert.matches("NUL byte", select(2, pb.load("libc.so.6", "none\0x")))
      assert.equal("ETOOBIG", code_of(pb.load_set(("\0"):rep((8 << 20) + 1))))
      local path = write("words.pb", "some words")
      assert.matches("^load .*/words%.pb: no descriptor set: ", select(2, pb.load(path)))
      for _, options in ipairs { { nope = 1 }, { include = { 1 } }, { include = "x" }, true } do
        local ok, err = pcall(function() pb.load(path, options) end)
        assert.is_false(ok)
        assert.matches("^spec/protobuf_set_spec.lua:%d+: protobuf%.load: ", err)
      end
    end)
  end)
end)
