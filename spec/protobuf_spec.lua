local assert = require "luassert"
local pb = require "vmctl.protobuf"
local support = require "spec.support"
local wire = require "spec.support.protobuf"

local field = wire.field

-- A decode's table without what is zero or empty.
local function set_fields(value)
  local set = {}
  for name, each in pairs(value) do
    local empty = each == 0 or each == "" or each == false or type(each) == "table" and next(each) == nil
    if not empty then set[name] = each end
  end
  return set
end

local function code_of(...) return (select(3, ...)) end

describe("vmctl.protobuf", function()
  if not pb.available then return pending "needs protobuf-c" end

  it("knows the messages of its protocols by their full names", function()
    for _, name in ipairs { "ttrpc.Request", "ttrpc.Response", "ttrpc.KeyValue", "ttrpc.StringList", "google.rpc.Status",
      "google.protobuf.Any", "google.protobuf.Empty", "google.protobuf.Timestamp", "containerd.types.Envelope",
      "nerdbox.services.socketforward.v1.BindRequest", "nerdbox.services.socketforward.v1.Socket",
      "containerd.vminitd.services.bundle.v1.CreateResponse", "containerd.vminitd.services.mount.v1.UnmountRequest",
      "containerd.vminitd.services.system.v1.InfoResponse" } do
      assert.is_true(pb.exists(name), name)
    end
    assert.is_false(pb.exists "Request")
    assert.is_true(#pb.names() >= 19)
  end)

  it("puts a message into a field of bytes of another, and finds it there, in one step", function()
    local inner, message = "containerd.vminitd.services.mount.v1.UnmountRequest", { target = "/mnt" }
    local envelope = { service = "s", method = "m", timeout_nano = 5 }
    local bytes = assert(pb.encode("ttrpc.Request", envelope, "payload", inner, message))
    envelope.payload = assert(pb.encode(inner, message))
    assert.equal(pb.encode("ttrpc.Request", envelope), bytes)
    assert.same(message, pb.decode("ttrpc.Request", bytes, "payload", inner).payload)
    assert.equal("", pb.decode("ttrpc.Request", assert(pb.encode("ttrpc.Request", {}, "payload", inner, {})), "payload", inner).payload)
    assert.equal("EPROTO", code_of(pb.decode("ttrpc.Request", "\26\1\255", "payload", inner)))
    assert.equal("EINVAL", code_of(pb.decode("ttrpc.Request", bytes, "payload", "no.Such")))
    assert.equal("EINVAL", code_of(pb.encode("ttrpc.Request", {}, "payload", inner, { nonsense = 1 })))
    assert.equal("EINVAL", code_of(pb.encode("ttrpc.Request", {}, "service", inner, message)))
    assert.equal("EINVAL", code_of(pb.encode("ttrpc.Request", {}, "nope", inner, message)))
  end)

  it("says what a message has", function()
    assert.same({
      { name = "id", type = "string", number = 1, repeated = false, map = false, oneof = false },
      { name = "files", type = "message", number = 2, repeated = true, map = true, oneof = false,
        message = "containerd.vminitd.services.bundle.v1.CreateRequest.FilesEntry" },
    }, pb.fields "containerd.vminitd.services.bundle.v1.CreateRequest")
    assert.same({}, pb.fields "google.protobuf.Empty")
    assert.equal("EINVAL", code_of(pb.fields "no.Such"))
  end)

  it("gives absent fields their defaults, and absent messages none", function()
    assert.same({ service = "", method = "", payload = "", timeout_nano = 0, metadata = {} }, pb.decode("ttrpc.Request", ""))
    assert.same({ payload = "" }, pb.decode("ttrpc.Response", ""))
    assert.same({ payload = "", status = { code = 0, message = "", details = {} } }, pb.decode("ttrpc.Response", "\10\0"))
  end)

  it("leaves out what is zero or empty", function()
    assert.equal("", pb.encode("ttrpc.Request", { service = "", payload = "", timeout_nano = 0, metadata = {} }))
    assert.equal("", pb.encode("google.protobuf.Empty", {}))
    assert.equal("\10\0", pb.encode("ttrpc.Response", { status = {} }))
  end)

  it("takes an empty field that was sent for an absent one", function()
    assert.equal("", pb.decode("ttrpc.Request", "\x1a\0").payload)
    assert.equal("", pb.decode("ttrpc.Request", "\x0a\0").service)
  end)

  it("skips unknown fields of each wire type", function()
    local unknown = field(200, 0, -1) .. field(201, 1, "12345678") .. field(202, 2, "text") .. field(203, 5, "1234")
    local bytes = unknown .. field(1, 2, "s") .. unknown .. field(2, 2, "m") .. unknown
    assert.same({ service = "s", method = "m" }, set_fields(pb.decode("ttrpc.Request", bytes)))
    assert.same({}, pb.decode("google.protobuf.Empty", unknown))
  end)

  it("refuses groups, field 0, and field numbers beyond the largest", function()
    for _, bytes in ipairs { field(9, 3, ""), field(9, 4, ""), field(9, 6, ""), field(9, 7, ""), "\0\0", "\2\0",
      ("\x80"):rep(10) .. "\1" } do
      assert.equal("EPROTO", code_of(pb.decode("ttrpc.Request", bytes)))
    end
  end)

  it("takes fields in any order, and the last of several", function()
    local bytes = field(4, 0, 1) .. field(2, 2, "b") .. field(1, 2, "first") .. field(4, 0, 2) .. field(1, 2, "last")
    assert.same({ service = "last", method = "b", timeout_nano = 2 }, set_fields(pb.decode("ttrpc.Request", bytes)))
  end)

  it("merges a message that comes in parts, with the numbers of the last", function()
    local detail = field(3, 2, field(1, 2, "a"))
    local bytes = field(1, 2, field(2, 2, "gone") .. detail) .. field(1, 2, field(1, 0, 5) .. detail)
    local one = { type_url = "a", value = "" }
    assert.same({ code = 5, message = "gone", details = { one, one } }, pb.decode("ttrpc.Response", bytes).status)
  end)

  it("reads and writes negative numbers as ten bytes", function()
    for _, value in ipairs { -1, math.mininteger, -5000000000 } do
      local bytes = pb.encode("ttrpc.Request", { timeout_nano = value })
      assert.equal(field(4, 0, value), bytes)
      assert.equal(11, #bytes)
      assert.equal(value, pb.decode("ttrpc.Request", bytes).timeout_nano)
    end
    assert.equal(field(1, 0, -2), pb.encode("google.rpc.Status", { code = -2 }))
    assert.equal(-2, pb.decode("google.rpc.Status", field(1, 0, -2)).code)
  end)

  it("refuses text that is not UTF-8, both ways", function()
    for _, text in ipairs { "\xff", "a\x80", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf0\x80\x80\x80",
      "\xc3", "\xe2\x82", "12345678\xf0\x9f\x98", "\xf8\x88\x80\x80\x80" } do
      local _, message, code = pb.decode("ttrpc.Request", field(1, 2, text))
      assert.same({ "decode ttrpc.Request: field 'service' is not UTF-8", "EPROTO" }, { message, code })
      assert.equal("EINVAL", code_of(pb.encode("ttrpc.Request", { service = text })))
      assert.equal(text, pb.decode("ttrpc.Request", field(3, 2, text)).payload)
    end
    for _, text in ipairs { "\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}", "12345678é", "é12345678" } do
      assert.equal(text, pb.decode("ttrpc.Request", pb.encode("ttrpc.Request", { service = text })).service)
    end
  end)

  it("reads a text with a zero byte whole, and does not write one", function()
    assert.equal("a\0b", pb.decode("ttrpc.Request", field(1, 2, "a\0b")).service)
    assert.equal("EINVAL", code_of(pb.encode("ttrpc.Request", { service = "a\0b" })))
    assert.equal("a\0b", pb.decode("ttrpc.Request", pb.encode("ttrpc.Request", { payload = "a\0b" })).payload)
  end)

  it("names the message and the field that it refuses", function()
    local cases = {
      { { nope = 1 }, "ttrpc.Request has no field 'nope'" },
      { { 1 }, "ttrpc.Request: names of fields are strings, this one is a number" },
      { { service = 1 }, "ttrpc.Request.service: string expected, got number" },
      { { payload = {} }, "ttrpc.Request.payload: string expected, got table" },
      { { timeout_nano = "1" }, "ttrpc.Request.timeout_nano: integer expected, got string" },
      { { timeout_nano = 1.5 }, "ttrpc.Request.timeout_nano: the number has no integer representation" },
      { { timeout_nano = 2.0 ^ 63 }, "ttrpc.Request.timeout_nano: the number has no integer representation" },
      { { metadata = "x" }, "ttrpc.Request.metadata: table expected, got string" },
      { { metadata = { "x" } }, "ttrpc.Request.metadata: table expected, got string" },
      { { metadata = { {}, nil, {} } }, "ttrpc.Request.metadata: a list expected: the table has holes, or other keys" },
      { { metadata = { key = "k" } }, "ttrpc.Request.metadata: a list expected: the table has holes, or other keys" },
      { { metadata = { { key = true } } }, "ttrpc.KeyValue.key: string expected, got boolean" },
    }
    for _, case in ipairs(cases) do
      local bytes, message, code = pb.encode("ttrpc.Request", case[1])
      assert.same({ "encode ttrpc.Request: " .. case[2], "EINVAL" }, { message, code })
      assert.is_nil(bytes)
    end
    assert.equal("encode google.rpc.Status: google.rpc.Status.code: 2147483648 does not fit int32",
      select(2, pb.encode("google.rpc.Status", { code = 1 << 31 })))
    assert.same({ "encode no.Such: there is no such message", "EINVAL" }, { select(2, pb.encode("no.Such", {})) })
    assert.same({ "decode no.Such: there is no such message", "EINVAL" }, { select(2, pb.decode("no.Such", "")) })
  end)

  it("raises on arguments of another type, at the caller's line", function()
    for _, call in ipairs {
      function() pb.encode("ttrpc.Request") end, function() pb.encode(1, {}) end,
      function() pb.decode("ttrpc.Request", {}) end, function() pb.decode("ttrpc.Request", 5) end,
      function() pb.exists() end, function() pb.fields {} end, function() pb.load() end, function() pb.load_set() end,
    } do
      local ok, err = pcall(call)
      assert.is_false(ok)
      assert.matches("^spec/protobuf_spec.lua:%d+: protobuf%.[%l_]+: %l+: %l+ expected, got %l+$", err)
    end
  end)

  it("gives a smaller message or EPROTO for bytes that are cut anywhere", function()
    local whole = pb.encode("ttrpc.Request", {
      service = "service", method = "méthode", payload = ("x"):rep(300), timeout_nano = -1,
      metadata = { { key = "k", value = "v" }, { key = "other", value = "w" } },
    })
    for cut = 0, #whole - 1 do
      local value, message, code = pb.decode("ttrpc.Request", whole:sub(1, cut))
      if value then
        assert.is_true(#pb.encode("ttrpc.Request", value) <= cut)
      else
        assert.same({ "string", "EPROTO" }, { type(message), code })
      end
    end
  end)

  it("survives any change of one byte", function()
    local whole = pb.encode("ttrpc.Response", {
      status = { code = 5, message = "gone", details = { { type_url = "a/b", value = "\1\2" } } }, payload = "bytes",
    })
    for at = 1, #whole do
      for byte = 0, 255 do
        local value, _, code = pb.decode("ttrpc.Response", whole:sub(1, at - 1) .. string.char(byte) .. whole:sub(at + 1))
        assert.is_true(value ~= nil or code == "EPROTO")
      end
    end
  end)

  it("refuses lengths beyond the end, however large", function()
    for _, length in ipairs { 1, 127, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, math.maxinteger, -1 } do
      for number = 1, 5 do
        assert.equal("EPROTO", code_of(pb.decode("ttrpc.Request", wire.varint(number << 3 | 2) .. wire.varint(length))))
      end
    end
  end)

  it("sorts the keys of maps", function()
    local files, parts = {}, {}
    for i = 10, 99 do
      files["f" .. i] = "content"
      parts[#parts + 1] = field(2, 2, field(1, 2, "f" .. i) .. field(2, 2, "content"))
    end
    local name = "containerd.vminitd.services.bundle.v1.CreateRequest"
    assert.equal(table.concat(parts), pb.encode(name, { files = files }))
    assert.same({ id = "", files = files }, pb.decode(name, table.concat(parts)))
  end)

  it("decodes entries of maps without key or value, and takes the last of equal keys", function()
    local name = "containerd.vminitd.services.bundle.v1.CreateRequest"
    local bytes = field(2, 2, "") .. field(2, 2, field(1, 2, "a") .. field(2, 2, "1")) .. field(2, 2, field(2, 2, "v"))
      .. field(2, 2, field(1, 2, "a") .. field(2, 2, "2")) .. field(2, 2, field(1, 2, "b"))
    assert.same({ [""] = "v", a = "2", b = "" }, pb.decode(name, bytes).files)
  end)

  it("refuses keys of maps that do not fit", function()
    local _, message = pb.encode("containerd.vminitd.services.bundle.v1.CreateRequest", { files = { "x" } })
    assert.equal("encode containerd.vminitd.services.bundle.v1.CreateRequest: "
      .. "containerd.vminitd.services.bundle.v1.CreateRequest.FilesEntry.key: string expected, got number", message)
  end)

  it("does not load what is no list of messages", support.run(function()
    local folder = support.tmpdir()
    assert.equal("ENOENT", code_of(pb.load(folder .. "/none.so")))
    assert(os.execute(("echo 'int vmctl_other;' | cc -shared -fPIC -x c -o %s/odd.so -"):format(folder)))
    assert.same({ ("load %s/odd.so: it exports no 'vmctl_messages'"):format(folder), "EINVAL" },
      { select(2, pb.load(folder .. "/odd.so")) })
  end, 20))
end)

describe("vmctl.protobuf without its shared object", function()
  it("can be loaded, and says of each call what to install", function()
    local program = [[
      package.preload["vmctl.pb"] = function() error "none" end
      local pb = require "vmctl.protobuf"
      assert(not pb.available)
      for _, call in ipairs { { pb.encode, "a.B", {} }, { pb.decode, "a.B", "" }, { pb.exists, "a.B" }, { pb.fields, "a.B" },
        { pb.names }, { pb.load, "x" } } do
        local value, message, code = call[1](call[2], call[3])
        assert(value == nil and code == "ENOTSUP" and message:find("install libprotobuf-c-dev and protobuf-c-compiler", 1, true))
      end
    ]]
    local before = package.loaded["vmctl.protobuf"]
    local preload, loaded = package.preload["vmctl.pb"], package.loaded["vmctl.pb"]
    package.loaded["vmctl.protobuf"], package.loaded["vmctl.pb"] = nil, nil
    local ok, err = pcall(assert(load(program)))
    package.loaded["vmctl.protobuf"], package.loaded["vmctl.pb"] = before, loaded
    package.preload["vmctl.pb"] = preload
    assert.is_true(ok, err)
  end)
end)
