local status = require "vmctl.ttrpc.status"
local support = require "spec.support"
local wire = require "vmctl.ttrpc.wire"

describe("ttrpc's wire", function()
  it("has a header of ten bytes, big-endian", function()
    assert.equal("\0\0\0\2\0\0\0\7\3\5hi", wire.frame(wire.DATA, "hi", 7, wire.CLOSE))
    assert.equal("\0\0\0\0\255\255\255\255\1\2", wire.frame(wire.REQUEST, "", 0xffffffff, wire.REMOTE_OPEN))
  end)

  it("makes and reads requests", function()
    local bytes = assert(wire.encode_request {
      service = "a.B", method = "C", payload = "\0\255", timeout_nano = -1, metadata = { { key = "k", value = "v" } },
    })
    local request = assert(wire.decode_request(bytes))
    assert.same({ "a.B", "C", "\0\255", -1 }, { request.service, request.method, request.payload, request.timeout_nano })
    assert.same({ key = "k", value = "v" }, request.metadata[1])
  end)

  it("leaves out what is empty", function()
    assert.equal("\10\1a\18\1b", wire.encode_request { service = "a", method = "b", payload = "", timeout_nano = 0 })
    assert.equal("", wire.encode_response "")
    assert.equal("", wire.encode_response(nil))
  end)

  it("keeps time-outs of 64 bits", function()
    local nano = 9007199254740993
    assert.equal(nano, wire.decode_request(assert(wire.encode_request {
      service = "a", method = "b", timeout_nano = nano })).timeout_nano)
  end)

  it("takes an answer without bytes, and one whose status is OK, for success", function()
    assert.same({ payload = "" }, wire.decode_response "")
    local response = assert(wire.decode_response "\10\0\18\1x")
    assert.equal("x", response.payload)
    assert.equal(0, response.status.code)
  end)

  it("refuses envelopes over 4 MiB, and takes one of just that", function()
    local overhead = #wire.encode_response(("x"):rep(4000000)) - 4000000
    local most = wire.MAX - overhead
    assert.equal(wire.MAX, #wire.encode_response(("x"):rep(most)))
    assert.equal("ETOOBIG", support.code(wire.encode_response(("x"):rep(most + 1))))
    assert.equal("ETOOBIG", support.code(wire.encode_request { service = "a", method = "b", payload = ("x"):rep(wire.MAX) }))
  end)

  it("says EPROTO for bytes that are no envelope", function()
    assert.equal("EPROTO", support.code(wire.decode_request "\255"))
    assert.equal("EPROTO", support.code(wire.decode_request "\10\1\255"))      -- a service that is not UTF-8
    assert.equal("EPROTO", support.code(wire.decode_response "\10\5\1"))
  end)

  it("skips fields that it does not know, and takes them in any order", function()
    local request = assert(wire.decode_request "\18\1b\120\5\10\1x\130\1\2zz\10\1a")
    assert.same({ "a", "b" }, { request.service, request.method }) -- of two values the last
  end)

  it("sends keys of metadata in lower case, in order", function()
    assert.same({ { key = "a", value = "1" }, { key = "b", value = "2" }, { key = "b", value = "3" } },
      wire.pairs_of { B = { "2", "3" }, a = "1" })
    assert.same({ k = { "1", "2" }, x = { "3" } }, wire.metadata_of {
      { key = "K", value = "1" }, { key = "x", value = "3" }, { key = "k", value = "2" } })
  end)
end)

describe("ttrpc's status", function()
  it("has the names and the numbers of gRPC", function()
    assert.equal(12, status.codes.UNIMPLEMENTED)
    assert.equal("UNAUTHENTICATED", status.names[16])
    for number = 0, 16 do assert.equal(number, status.codes[status.names[number]]) end
  end)

  it("knows what our own failures are", function()
    local expected = {
      ETIMEDOUT = 4, ECANCELED = 1, ENOENT = 5, EEXIST = 6, EACCES = 7, EPERM = 7, EINVAL = 3, EOF = 11, EPIPE = 9,
      ETOOBIG = 8, ENOSYS = 12, NOT_FOUND = 5, DATA_LOSS = 15, EWHATEVER = 2, OK = 2,
    }
    for code, number in pairs(expected) do assert.equal(number, status.number(code), code) end
    assert.equal(2, status.number(nil))
    assert.equal(2, status.number(0))
    assert.equal("UNKNOWN", status.name(99))
  end)

  it("makes texts fit for the wire", function()
    assert.equal("plain \u{e4}", status.clean "plain \u{e4}")
    assert.truthy(utf8.len(status.clean "open \255\254: no such file"))
    assert.is_true(#status.clean(("x"):rep(100000)) < 5000)
    assert.truthy(utf8.len(status.clean(("\u{20ac}"):rep(5000))))
  end)
end)
