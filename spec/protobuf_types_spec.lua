local assert = require "luassert"
local pb = require "vmctl.protobuf"
local wire = require "spec.support.protobuf"

local field, varint = wire.field, wire.varint

local function code_of(...) return (select(3, ...)) end

local SCALARS = "spec.types.Scalars"

local function zeros(set)
  local all = { i32 = 0, s32 = 0, sf32 = 0, u32 = 0, f32 = 0, i64 = 0, s64 = 0, sf64 = 0, u64 = 0, f64 = 0, single = 0.0,
    real = 0.0, flag = false, text = "", data = "", colour = 0 }
  for name, value in pairs(set) do all[name] = value end
  return all
end

local function load_types()
  for _, name in ipairs { "types", "old" } do wire.load(name) end
end

describe("vmctl.protobuf's types", function()
  if not pb.available or not os.execute "command -v protoc-c >/dev/null" then return pending "needs protoc-c" end
  setup(load_types)

  local I32, I64 = 1 << 31, math.mininteger
  -- field, number, wire type, { value, what it is on the wire } ...
  local cases = {
    { "i32", 1, 0, { 1, 1 }, { -1, -1 }, { I32 - 1, I32 - 1 }, { -I32, -I32 } },
    { "s32", 2, 0, { 1, 2 }, { -1, 1 }, { I32 - 1, 2 * I32 - 2 }, { -I32, 2 * I32 - 1 } },
    { "sf32", 3, 5, { 1, ("<i4"):pack(1) }, { -1, ("<i4"):pack(-1) }, { -I32, ("<i4"):pack(-I32) } },
    { "u32", 4, 0, { 1, 1 }, { 2 * I32 - 1, 2 * I32 - 1 } },
    { "f32", 5, 5, { 2 * I32 - 1, "\xff\xff\xff\xff" } },
    { "i64", 6, 0, { 1, 1 }, { -1, -1 }, { I64, I64 }, { math.maxinteger, math.maxinteger }, { (1 << 53) + 1, (1 << 53) + 1 } },
    { "s64", 7, 0, { -1, 1 }, { I64, -1 }, { math.maxinteger, -2 } },
    { "sf64", 8, 1, { I64, ("<i8"):pack(I64) }, { -2, ("<i8"):pack(-2) } },
    { "u64", 9, 0, { math.maxinteger, math.maxinteger }, { -1, -1 }, { I64, I64 } },
    { "f64", 10, 1, { -1, ("\xff"):rep(8) } },
    { "single", 11, 5, { 1.5, ("<f"):pack(1.5) }, { -1 / 0, ("<f"):pack(-1 / 0) } },
    { "real", 12, 1, { 0.1, ("<d"):pack(0.1) }, { 1 / 0, ("<d"):pack(1 / 0) }, { 5e-324, ("<d"):pack(5e-324) } },
    { "flag", 13, 0, { true, 1 } },
    { "text", 14, 2, { "é", "é" }, { ("x"):rep(200), ("x"):rep(200) } },
    { "data", 15, 2, { "\0\xff", "\0\xff" } },
    { "colour", 16, 0, { 1, 1 }, { -1, -1 }, { 77, 77 } },
    { "inner", 2000, 2, { zeros { u32 = 5 }, field(4, 0, 5) }, { zeros {}, "" } },
  }
  for _, case in ipairs(cases) do
    local name, number, kind = table.unpack(case, 1, 3)
    it("has " .. name .. " both ways", function()
      for i = 4, #case do
        local value, content = table.unpack(case[i])
        local bytes = field(number, kind, content)
        assert.equal(bytes, pb.encode(SCALARS, { [name] = value }))
        assert.same(zeros { [name] = value }, pb.decode(SCALARS, bytes))
      end
    end)
  end

  it("keeps integers integers, and floats floats", function()
    local value = pb.decode(SCALARS, field(6, 0, 5) .. field(12, 1, ("<d"):pack(5)))
    assert.same({ "integer", "float", "integer" }, { math.type(value.i64), math.type(value.real), math.type(value.u32) })
    assert.equal(field(6, 0, 5), pb.encode(SCALARS, { i64 = 5.0 }))
    assert.equal(field(12, 1, ("<d"):pack(5)), pb.encode(SCALARS, { real = 5 }))
    local nan = pb.decode(SCALARS, pb.encode(SCALARS, { real = 0 / 0 })).real
    assert.is_true(nan ~= nan)
  end)

  it("keeps the sign of zero, also where zero alone is not sent", function()
    local function is_negative(value) return value == 0 and 1 / value < 0 end
    local bytes = assert(pb.encode(SCALARS, { real = -0.0, single = -0.0, i32 = 1, text = "" }))
    assert.equal(field(1, 0, 1) .. field(11, 5, "\0\0\0\x80") .. field(12, 1, ("\0"):rep(7) .. "\x80"), bytes)
    local value = pb.decode(SCALARS, bytes)
    assert.is_true(is_negative(value.real) and is_negative(value.single))
    assert.equal("", pb.encode(SCALARS, { real = 0.0, single = 0.0 }))
    local maps = pb.decode("spec.types.Maps", assert(pb.encode("spec.types.Maps", { by_uint64 = { [1] = -0.0, [2] = 0.0 } })))
    assert.same({ true, false }, { is_negative(maps.by_uint64[1]), is_negative(maps.by_uint64[2]) })
    local lists = pb.decode("spec.types.Lists", assert(pb.encode("spec.types.Lists", { real = { -0.0, 0.0 } })))
    assert.same({ true, false }, { is_negative(lists.real[1]), is_negative(lists.real[2]) })
  end)

  it("takes what a float holds only nearly, and what is infinite", function()
    for _, value in ipairs { 3.4028235e38, -3.4028235e38, 1 / 0, 1e-60 } do
      local seen = pb.decode(SCALARS, assert(pb.encode(SCALARS, { single = value }))).single
      assert.equal(("<f"):unpack(("<f"):pack(value)), seen)
    end
  end)

  it("refuses what does not fit", function()
    for name, values in pairs {
      i32 = { I32, -I32 - 1, 0.5, "1", true, {} }, s32 = { I32 }, sf32 = { -I32 - 1 }, u32 = { -1, 2 * I32 },
      f32 = { -1, 2 * I32 }, i64 = { 0.5, 2.0 ^ 63, 0 / 0, "x" }, u64 = { 2.0 ^ 64 },
      single = { "1", true, 1e39, -1e39, math.maxinteger * 2.0 ^ 70 },
      real = { "1" }, flag = { 1, "true" }, text = { 1, true }, data = { 1 }, colour = { I32, "NO_SUCH", true, 1.5 },
      inner = { 1, "x", { nope = 1 }, { i32 = "x" } },
    } do
      for _, value in ipairs(values) do
        local bytes, message, code = pb.encode(SCALARS, { [name] = value })
        assert.same({ "EINVAL", nil }, { code, bytes })
        assert.matches("^encode spec.types.Scalars: spec.types.Scalars", message)
      end
    end
  end)

  it("takes the names of enums", function()
    assert.equal(field(16, 0, -1), pb.encode(SCALARS, { colour = "DARK" }))
    assert.equal("encode spec.types.Scalars: spec.types.Scalars.colour: spec.types.Colour has no value 'PINK'",
      select(2, pb.encode(SCALARS, { colour = "PINK" })))
    for _, each in ipairs(pb.fields(SCALARS)) do
      if each.name == "colour" then
        assert.same({ "spec.types.Colour", { NONE = 0, RED = 1, DARK = -1 } }, { each.enum, each.values })
      end
    end
  end)

  it("takes the low bits of varints that are too large, and refuses those that never end", function()
    assert.equal(-1, pb.decode(SCALARS, field(1, 0, (1 << 32) - 1)).i32)
    assert.equal(5, pb.decode(SCALARS, field(4, 0, (1 << 32) + 5)).u32)
    assert.is_true(pb.decode(SCALARS, field(13, 0, 2)).flag)
    assert.equal("EPROTO", code_of(pb.decode(SCALARS, varint(1 << 3) .. ("\x80"):rep(11) .. "\0")))
  end)

  it("skips or refuses a field of another wire type, never reads it as its own", function()
    for number = 1, 16 do
      for _, kind in ipairs { 0, 1, 2, 5 } do
        local content = kind == 0 and 1 or kind == 1 and "\1\0\0\0\0\0\0\0" or kind == 5 and "\1\0\0\0" or "\1"
        local own = cases[number][3]
        local value, _, code = pb.decode(SCALARS, field(number, kind, content))
        if kind ~= own then assert.is_true(code == "EPROTO" or value ~= nil, number .. " as " .. kind) end
      end
    end
  end)
end)

describe("vmctl.protobuf's lists", function()
  if not pb.available or not os.execute "command -v protoc-c >/dev/null" then return pending "needs protoc-c" end
  setup(load_types)

  local LISTS = "spec.types.Lists"
  local values = {
    i32 = { 1, -1, 0, 300 }, loose = { 1, -1, 0 }, s64 = { -1, math.mininteger, 0 }, f32 = { 0, 5 }, real = { 0.5, -0.0, 2 },
    flag = { true, false, true }, text = { "", "a", "é" }, data = { "\0", "", "b" }, colour = { 1, 0, -1 },
  }

  it("go both ways, empty elements included", function()
    local inner = { zeros { i32 = 1 }, zeros {}, zeros { text = "x" } }
    local all = { inner = inner }
    for name, list in pairs(values) do all[name] = list end
    assert.same(all, pb.decode(LISTS, assert(pb.encode(LISTS, all))))
  end)

  it("are packed unless the .proto says otherwise, and read both ways", function()
    local packed = field(1, 2, varint(1) .. varint(-1) .. varint(0) .. varint(300))
    local loose = field(1, 0, 1) .. field(1, 0, -1) .. field(1, 0, 0) .. field(1, 0, 300)
    assert.equal(packed, pb.encode(LISTS, { i32 = values.i32 }))
    assert.same(values.i32, pb.decode(LISTS, loose).i32)
    assert.same({ 1, -1, 0, 300, 1, -1, 0, 300 }, pb.decode(LISTS, loose .. packed).i32)
    assert.equal(field(2, 0, 1) .. field(2, 0, -1), pb.encode(LISTS, { loose = { 1, -1 } }))
    assert.same({ 1, -1, 9 }, pb.decode(LISTS, field(2, 2, varint(1) .. varint(-1)) .. field(2, 0, 9)).loose)
    assert.same({ true, false }, pb.decode(LISTS, field(6, 2, "\1\0")).flag)
    assert.same({ 1, -1 }, pb.decode(LISTS, field(9, 2, varint(1) .. varint(-1))).colour)
    assert.same({}, pb.decode(LISTS, field(1, 2, "")).i32)
  end)

  it("that are packed are refused when an element is cut", function()
    for number, content in pairs { [1] = "\x80", [4] = "123", [5] = "1234567", [6] = "\x80", [9] = "\xff" } do
      assert.equal("EPROTO", code_of(pb.decode(LISTS, field(number, 2, content))), "field " .. number)
    end
  end)

  it("that look like the entries of a map stay lists", function()
    local pairs_in = { pairs = { { key = "a", value = "1" }, { key = "a", value = "2" } } }
    assert.same(pairs_in, pb.decode("spec.types.Pairs", pb.encode("spec.types.Pairs", pairs_in)))
  end)
end)

describe("vmctl.protobuf's maps", function()
  if not pb.available or not os.execute "command -v protoc-c >/dev/null" then return pending "needs protoc-c" end
  setup(load_types)

  it("have keys and values of each type", function()
    local maps = {
      names = { a = "1", [""] = "empty", ["é"] = "" }, by_number = { [-1] = zeros { i32 = 1 }, [0] = zeros {} },
      by_int64 = { [math.mininteger] = "\0", [math.maxinteger] = "b" }, by_flag = { [true] = 1, [false] = -1 },
      by_uint64 = { [0] = 0.5, [-1] = 2.0 },
    }
    assert.same(maps, pb.decode("spec.types.Maps", assert(pb.encode("spec.types.Maps", maps))))
  end)

  it("have an empty message where an entry has none", function()
    assert.same({ [5] = zeros {} }, pb.decode("spec.types.Maps", field(2, 2, field(1, 0, 5))).by_number)
  end)

  it("are written in the order of their keys", function()
    local entries = {}
    for i, key in ipairs { field(1, 0, -7), "", field(1, 0, 3), field(1, 0, 100) } do
      entries[i] = field(2, 2, key .. field(2, 2, ""))
    end
    assert.equal(table.concat(entries), pb.encode("spec.types.Maps", { by_number = { [3] = {}, [-7] = {}, [0] = {}, [100] = {} } }))
  end)
end)

describe("vmctl.protobuf's oneofs", function()
  if not pb.available or not os.execute "command -v protoc-c >/dev/null" then return pending "needs protoc-c" end
  setup(load_types)

  local CHOICE = "spec.types.Choice"

  it("have the member that is set, even if it is empty", function()
    for _, case in ipairs { { "text", "a" }, { "text", "" }, { "number", 0 }, { "number", -1 }, { "data", "\0" }, { "data", "" },
      { "inner", zeros {} } } do
      local bytes = assert(pb.encode(CHOICE, { [case[1]] = case[2] }))
      assert.same({ other = false, [case[1]] = case[2] }, pb.decode(CHOICE, bytes), case[1])
    end
    assert.same({ other = false }, pb.decode(CHOICE, ""))
  end)

  it("have the last member that came", function()
    local text, number, inner = field(1, 2, "a"), field(2, 0, 5), field(3, 2, field(1, 0, 9))
    assert.same({ other = false, number = 5 }, pb.decode(CHOICE, text .. number))
    assert.same({ other = false, text = "a" }, pb.decode(CHOICE, number .. inner .. text))
    assert.same({ other = false, inner = zeros { i32 = 9 } }, pb.decode(CHOICE, text .. number .. inner))
  end)

  it("refuse two members", function()
    assert.matches("another field of the same oneof is set", select(2, pb.encode(CHOICE, { text = "a", number = 1 })))
  end)
end)

describe("vmctl.protobuf's older language", function()
  if not pb.available or not os.execute "command -v protoc-c >/dev/null" then return pending "needs protoc-c" end
  setup(load_types)

  it("needs its required fields, and leaves optional ones nil", function()
    assert.matches("a required field is missing", select(2, pb.encode("spec.old.Order", { id = 1 })))
    assert.equal("EPROTO", code_of(pb.decode("spec.old.Order", field(1, 0, 1))))
    local bytes = pb.encode("spec.old.Order", { id = 0, name = "" })
    assert.equal(field(1, 0, 0) .. field(2, 2, ""), bytes)
    assert.same({ id = 0, name = "", parts = {}, prices = {} }, pb.decode("spec.old.Order", bytes))
  end)

  it("keeps optional fields that are set to zero or to the default", function()
    local order = { id = 1, name = "n", count = 0, note = "", data = "", urgent = false, parts = { 1, 2 }, prices = { a = 0, b = 5 } }
    assert.same(order, pb.decode("spec.old.Order", pb.encode("spec.old.Order", order)))
    order.count, order.note = 7, "none"
    assert.same(order, pb.decode("spec.old.Order", pb.encode("spec.old.Order", order)))
  end)
end)
