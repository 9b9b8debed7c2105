-- QMP as bytes: what is sent, what is understood, what is refused (docs/wire/qmp-qga.md#qmp-messages).
local assert = require "luassert"
local wire = require "vmctl.qmp.wire"

local GREETING = '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "x"}, "capabilities": ["oob"]}}'

describe("a QMP request", function()
  it("has a name, arguments only where there are some, and a number", function()
    assert.equal('{"execute":"stop"}', (wire.encode "stop"))
    assert.equal('{"execute":"stop","id":7}', (wire.encode("stop", {}, 7)))
    assert.equal('{"exec-oob":"x","arguments":{"a":[1]},"id":1}', (wire.encode("x", { a = { 1 } }, 1, "exec-oob")))
  end)

  it("keeps integers whole", function()
    assert.equal('{"execute":"x","arguments":{"n":9007199254740993}}', (wire.encode("x", { n = 9007199254740993 })))
  end)

  it("is refused with arguments that are a list or no JSON, or when it is too big", function()
    for _, arguments in ipairs { { 1, 2 }, { f = print }, { s = "\xff" } } do
      assert.equal("EINVAL", (select(3, wire.encode("x", arguments))))
    end
    assert.equal("ETOOBIG", (select(3, wire.encode("x", { s = ("x"):rep(wire.MAX_REQUEST) }))))
  end)
end)

describe("a QMP message", function()
  it("is a greeting, a return, an error or an event, whatever the order of its members", function()
    assert.equal("greeting", (wire.parse(GREETING)))
    assert.equal("return", (wire.parse '{"return": {}, "id": 1}'))
    assert.equal("return", (wire.parse '{"id": 1, "return": []}'))
    assert.equal("error", (wire.parse '{"id": 2, "error": {"class": "GenericError", "desc": "no"}}'))
    local kind, event = wire.parse '{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}'
    assert.equal("event", kind)
    assert.same({}, event.data)
    assert.equal("integer", math.type(event.timestamp.seconds))
  end)

  it("keeps integers above 2^53 whole", function()
    local _, message = wire.parse '{"return": 9223372036854775807}'
    assert.equal(math.maxinteger, message["return"])
  end)

  it("is refused when it is none", function()
    for _, line in ipairs {
      "{", "[]", "7", "null", "{}", '{"id": 1}', '{"event": 7}', '{"event": "X", "data": [1]}', '{"event": "X", "timestamp": 1}',
      '{"error": "no"}', '{"error": {"class": "X"}}', '{"QMP": {}}', '{"QMP": {"version": {"qemu": {"major": "7"}}}}', "\xff{}",
    } do
      local kind, message, code = wire.parse(line)
      assert.is_nil(kind, line)
      assert.equal("EPROTO", code)
      assert.truthy(message:find "^malformed QMP: ", line)
    end
  end)

  it("is refused wherever it is cut", function()
    for i = 0, #GREETING - 1 do assert.is_nil((wire.parse(GREETING:sub(1, i)))) end
  end)
end)

describe("QEMU's classes of errors", function()
  it("become codes, with the error as fourth value", function()
    for class, code in pairs { DeviceNotFound = "ENODEV", CommandNotFound = "ENOTSUP", GenericError = "EREMOTE", New = "EREMOTE" } do
      local problem = { class = class, desc = "so\nit is" }
      local _, message, got, extra = wire.failure(problem)
      assert.equal(code, got)
      assert.equal(problem, extra)
      assert.is_nil(message:find "\n")
    end
  end)
end)
