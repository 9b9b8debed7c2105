-- Descriptor sets of strangers: each thing that breaks a rule is named, and nothing is made of them.
local assert = require "luassert"
local pb = require "vmctl.protobuf"
local wire = require "spec.support.protobuf"

local INT32, STRING, MESSAGE, ENUM, GROUP = 5, 9, 11, 14, 10
local OPTIONAL, REQUIRED, REPEATED = 1, 2, 3

local function set_of(file) return assert(pb.encode("vmctl.schema.FileSet", { file = { file } })) end

local function field(changed)
  local made = { name = "f", number = 1, label = OPTIONAL, type = INT32 }
  for name, value in pairs(changed) do made[name] = value end
  return made
end

-- A file with a message M of the given fields.
local function with(fields, more)
  local file = { name = "x.proto", package = "p", syntax = "proto3",
    message_type = { { name = "M", field = fields, oneof_decl = { { name = "o" } } } } }
  for name, value in pairs(more or {}) do file[name] = value end
  return file
end

describe("vmctl.protobuf", function()
  if not pb.available then return pending "needs protobuf-c" end

  local M = { name = "M" }
  local refused = {
    ["groups"] = { with { field { type = GROUP } }, "p.M.f: groups are not supported" },
    ["an unknown type"] = { with { field { type = 19 } }, "p.M.f: there is no type 19" },
    ["no type"] = { with { field { type = 0 } }, "p.M.f: there is no type 0" },
    ["a type below zero"] = { with { field { type = -1 } }, "p.M.f: there is no type -1" },
    ["an unknown label"] = { with { field { label = 4 } }, "p.M.f: there is no label 4" },
    ["the number 0"] = { with { field { number = 0 } }, "p.M.f: no field can have the number 0" },
    ["a number below 0"] = { with { field { number = -1 } }, "p.M.f: no field can have the number -1" },
    ["a number above the largest"] = { with { field { number = 1 << 29 } }, "p.M.f: no field can have the number 536870912" },
    ["a reserved number"] = { with { field { number = 19500 } }, "p.M.f: no field can have the number 19500" },
    ["a number twice"] = { with { field {}, field { name = "g" } }, "p.M: two fields have the number 1" },
    ["a name twice"] = { with { field {}, field { number = 2 } }, "p.M: two fields are named f" },
    ["a field without a name"] = { with { field { name = "" } }, "p.M: a field has no proper name" },
    ["a name with a space"] = { with { field { name = "a b" } }, "p.M: a field has no proper name" },
    ["a name with a dot"] = { with { field { name = "a.b" } }, "p.M: a field has no proper name" },
    ["a message that is missing"] = { with { field { type = MESSAGE, type_name = ".p.N" } },
      "p.M.f: the set lacks p.N (protoc --include_imports takes in what is imported)" },
    ["a name that is not full"] = { with { field { type = MESSAGE, type_name = "M" } }, "p.M.f: 'M' is no full name of a type" },
    ["no name of a type"] = { with { field { type = ENUM } }, "p.M.f: '' is no full name of a type" },
    ["a message for an enum"] = { with { field { type = ENUM, type_name = ".p.M" } }, "p.M.f: p.M is no enum" },
    ["a known message for an enum"] = { with { field { type = ENUM, type_name = ".ttrpc.Request" } }, "p.M.f: ttrpc.Request is no enum" },
    ["an enum for a message"] = { with({ field { type = MESSAGE, type_name = ".p.E" } }, { enum_type = { { name = "E" } } }),
      "p.M.f: p.E is no message" },
    ["a oneof that is missing"] = { with { field { oneof_index = 1 } }, "p.M.f: there is no oneof 1" },
    ["a oneof below 0"] = { with { field { oneof_index = -1 } }, "p.M.f: there is no oneof -1" },
    ["a list in a oneof"] = { with { field { oneof_index = 0, label = REPEATED } }, "p.M.f: a field of a oneof that is repeated" },
    ["a required field in a oneof"] = { with({ field { oneof_index = 0, label = REQUIRED } }, { syntax = "proto2" }),
      "p.M.f: a field of a oneof that is required" },
    ["a required field of proto3"] = { with { field { label = REQUIRED } }, "p.M.f: proto3 knows nothing required" },
    ["editions"] = { with({}, { syntax = "editions" }), "x.proto: the syntax 'editions' is not supported" },
    ["a package with an empty part"] = { with({}, { package = "a..b" }), "x.proto: its package has no proper name" },
    ["a message twice"] = { { package = "p", message_type = { M, M } }, "p.M is there twice" },
    ["a message and an enum of one name"] = { { message_type = { M }, enum_type = { { name = "M" } } }, "M is there twice" },
    ["a message without a name"] = { { message_type = { {} } }, "file 1: a message has no proper name" },
    ["a nested message without a name"] = {
      { message_type = { { name = "M", nested_type = { {} } } } }, "M: a message has no proper name",
    },
    ["a value twice"] = { { enum_type = { { name = "E", value = { { name = "A" }, { name = "A", number = 1 } } } } },
      "E: two values are named A" },
    ["a service of a message that is missing"] = { { service = { { name = "S", method = { { name = "F", input_type = ".X" } } } } },
      "S.F: the set lacks X (protoc --include_imports takes in what is imported)" },
    ["a method twice"] = { with({}, { service = { { name = "S", method = {
      { name = "F", input_type = ".p.M", output_type = ".p.M" }, { name = "F" } } } } }), "p.S: two methods are named F" },
    ["a service named as a message"] = { with({}, { service = { { name = "M" } } }), "p.M is there twice" },
  }
  for what, case in pairs(refused) do
    it("refuses a descriptor set with " .. what, function()
      local names, message, code = pb.load_set(set_of(case[1]))
      assert.same({ nil, "load a descriptor set: " .. case[2], "EINVAL" }, { names, message, code })
      assert.is_false(pb.exists "p.M")
    end)
  end

  it("refuses bytes that are no descriptor set", function()
    for _, bytes in ipairs { "\255", "\10\5", "\10\3\34\1\255", ("\10\200"):rep(500), wire.field(1, 2, wire.field(1, 2, "\255")) } do
      local names, message, code = pb.load_set(bytes)
      assert.same({ nil, "EINVAL" }, { names, code })
      assert.matches("^load a descriptor set: no descriptor set: ", message)
    end
  end)

  it("refuses messages in messages beyond its depth", function()
    local message = { name = "M" }
    for _ = 1, 200 do message = { name = "M", nested_type = { message } } end
    local bytes = ""
    for _ = 1, 200 do bytes = wire.field(1, 2, "M") .. wire.field(3, 2, bytes) end
    assert.equal("EINVAL", (select(3, pb.load_set(wire.field(1, 2, wire.field(4, 2, bytes))))))
    assert.is_nil(pb.encode("vmctl.schema.FileSet", { file = { { message_type = { message } } } }))
  end)

  it("refuses more types and fields than it counts", function()
    local list = {}
    for i = 1, 65536 do list[i] = wire.field(4, 2, wire.field(1, 2, "M" .. i)) end
    assert.equal("load a descriptor set: more than 65535 types", (select(2, pb.load_set(wire.field(1, 2, table.concat(list))))))
    for i = 1, 16385 do list[i] = wire.field(2, 2, wire.field(1, 2, "f" .. i)) end
    local message = wire.field(1, 2, "M") .. table.concat(list, "", 1, 16385)
    assert.equal("load a descriptor set: M: more than 16384 fields",
      (select(2, pb.load_set(wire.field(1, 2, wire.field(4, 2, message))))))
  end)

  it("takes a chain of messages, each a field of the one before, without going down it", function()
    local list, count = {}, 60000
    for i = 1, count do
      local inner = wire.field(1, 2, "f") .. wire.field(3, 0, 1) .. wire.field(4, 0, 1) .. wire.field(5, 0, 11) ..
        wire.field(6, 2, ".C" .. i % count + 1)
      list[i] = wire.field(4, 2, wire.field(1, 2, "C" .. i) .. wire.field(2, 2, inner))
    end
    local fresh = wire.another()
    assert.equal(count, #assert(fresh.load_set(wire.field(1, 2, table.concat(list)))))
    assert.same({ f = { f = {} } }, fresh.decode("C60000", fresh.encode("C60000", { f = { f = {} } })))
  end)

  it("bounds what a message of many members costs", function()
    local fields = {}
    for i = 1, 16384 do fields[i] = field { name = "f" .. i, number = i, oneof_index = 0 } end
    fields[1] = field { name = "inner", label = REPEATED, type = MESSAGE, type_name = ".p.M" }
    local fresh = wire.another()
    assert(fresh.load_set(set_of(with(fields))))
    local value, _, code = fresh.decode("p.M", ("\10\0"):rep(1 << 19))
    assert.same({ nil, "EPROTO" }, { value, code })
    assert.equal(3, fresh.decode("p.M", "\16\3").f2)
  end)

  it("names a field of text as a message is named", function()
    local fresh = wire.another()
    assert(fresh.load_set(set_of { syntax = "proto3", message_type = {
      { name = "M", field = { field { name = "M", type = STRING }, field { name = "N", number = 2, type = MESSAGE, type_name = ".N" } } },
      { name = "N" } } }))
    assert.same({ M = "x", N = {} }, fresh.decode("M", fresh.encode("M", { M = "x", N = {} })))
  end)
end)
