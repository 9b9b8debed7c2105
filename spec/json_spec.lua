local children = require "spec.support.child"
local core = require "vmctl.core"
local json = require "vmctl.json"
local support = require "spec.support"

local function decoded(text)
  local value, message = json.decode(text)
  assert(value ~= nil, message)
  return value
end

local function same_number(expected, text)
  for _, form in ipairs { "%s", "[%s]", '{"n":%s}', '{"a":[{ "n" :\t%s }],"s":"1.0"}' } do
    form = form:format(text)
    local value = decoded(form)
    while type(value) == "table" do
      value = value.n or value.a or value[1]
    end
    assert.equal(expected, value, form)
    assert.equal(math.type(expected), math.type(value), form)
  end
end

local function refused(text)
  local value, message, code = json.decode(text)
  assert.is_nil(value, text)
  assert.matches("^decode JSON: ", message)
  assert.equal("EPROTO", code)
end

local function not_encodable(value)
  local text, message, code = json.encode(value)
  assert.is_nil(text)
  assert.matches("^encode JSON: ", message)
  assert.equal("EINVAL", code)
  return message
end

-- A locale "comma" in a folder, whose numbers have a decimal comma. Systems without locales of their own have no character map either.
local function make_comma_locale(folder)
  local map = { "<code_set_name> ASCII\n<comment_char> %\n<escape_char> /\nCHARMAP\n" }
  for byte = 0, 127 do map[#map + 1] = ("<U%04X> /x%02x\n"):format(byte, byte) end
  map[#map + 1] = "END CHARMAP\n"
  assert(core.fs.replace(folder .. "/map", table.concat(map)))
  assert(core.fs.replace(folder .. "/source",
    'LC_NUMERIC\ndecimal_point ","\nthousands_sep ""\ngrouping -1\nEND LC_NUMERIC\nLC_CTYPE\nEND LC_CTYPE\n'))
  local said = children.output_of(children.shell("localedef -c -f ./map -i ./source ./comma 2>&1; ls comma/LC_NUMERIC", { cwd = folder }))
  assert.matches("comma/LC_NUMERIC\n$", said)
end

--- A list of `depth` lists, each in the one before.
local function nested(depth)
  return ("["):rep(depth) .. ("]"):rep(depth)
end

describe("json.decode", function()
  it("returns an integer for a number without fraction and exponent", function()
    same_number(0, "0")
    same_number(12, "12")
    same_number(-7, "-7")
    same_number(0, "-0")
    same_number(100000000000000, "100000000000000")
  end)

  it("keeps each bit of a 64-bit integer", function()
    for _, text in ipairs {
      "9007199254740991", "9007199254740992", "9007199254740993", "-9007199254740993", "1686041011364000001",
      "9223372036854775806", "9223372036854775807", "-9223372036854775807", "-9223372036854775808",
    } do
      same_number(math.tointeger(text), text)
    end
  end)

  it("returns a float for an integer that needs more than 64 bits", function()
    same_number(2.0^63, "9223372036854775808")
    same_number(-9223372036854775809.0, "-9223372036854775809")
    same_number(1e20, "100000000000000000000")
    same_number(2.0^64 + 5, "18446744073709551621")
  end)

  it("returns a float for a number with a fraction or an exponent", function()
    for _, text in ipairs {
      "1.0", "1.5", "-0.0", "1e3", "1E3", "1e+3", "10e-1", "1.0e2", "1.25E2", "12.000", "0e0", "1e18",
      "4503599627370497.5", "0.99999999999999999", "99999999.000000001", "1." .. ("0"):rep(30) .. "1",
      "0." .. ("0"):rep(400) .. "1",
    } do
      same_number(tonumber(text) + 0.0, text)
    end
  end)

  it("tells an integer from an integral float beside it", function()
    local value = decoded '{"a":1,"b":1.0,"c":[2,2.0,3e0,4],"d":1.5,"e":9007199254740993}'
    assert.equal("integer", math.type(value.a))
    assert.equal("float", math.type(value.b))
    assert.equal("integer", math.type(value.c[1]))
    assert.equal("float", math.type(value.c[2]))
    assert.equal("float", math.type(value.c[3]))
    assert.equal("integer", math.type(value.c[4]))
    assert.equal(1.5, value.d)
    assert.equal(9007199254740993, value.e)
  end)

  it("leaves strings and keys alone that look like numbers, lists or marks", function()
    for _, look_alike in ipairs {
      "1.0", ":1.0,", "[1e5]", "9007199254740993", '\\":1.0,\\"', "[]", "[ ]", "a\\\\", "\\\\\\\"1.5", ",2e2",
      "10.0.0.1", "-.5", "-5", "\\u0000", "\195\191", "null",
    } do
      local plain = load('return "' .. look_alike:gsub("\\u0000", "\\0") .. '"')()
      local text = ('{"%s":"%s","n":1,"f":1.0,"e":[],"big":9007199254740993}'):format(look_alike, look_alike)
      local value = decoded(text)
      assert.equal(plain, value[plain])
      assert.equal("integer", math.type(value.n))
      assert.equal("float", math.type(value.f))
      assert.equal("[]", json.encode(value.e))
      assert.equal(9007199254740993, value.big)
    end
  end)

  it("drops null members of an object and keeps null entries of a list", function()
    assert.same({ a = 1 }, decoded '{"a":1,"b":null}')
    assert.same({}, decoded '{"b":null}')
    assert.same({ a = 1.0 }, decoded '{"a":1.0,"b":null}')
    assert.same({ 1, json.null, 3 }, decoded "[1,null,3]")
    assert.same({ json.null }, decoded "[null]")
    assert.same({ json.null, 1.5, 1.0 }, decoded "[null,1.5,1.0]")
  end)

  it("returns json.null for null alone, and other values alone", function()
    assert.equal(json.null, decoded "null")
    assert.equal("x", decoded ' "x" ')
    assert.is_true(decoded "true")
    assert.is_false((json.decode "false"))
  end)

  it("tells an empty list from an empty object", function()
    for _, text in ipairs { "[]", "{}", '{"a":[]}', '{"a":{}}', "[[],{},[[]]]" } do
      assert.equal(text, json.encode(decoded(text)))
    end
    assert.equal('{"a":[]}', json.encode(decoded '{ "a" : [ \n ] }'))
    assert.is_true(json.is_array(decoded "[]"))
    assert.is_false(json.is_array(decoded "{}"))
  end)

  it("keeps a list a list when its last entry is removed", function()
    local list = decoded "[1]"
    list[1] = nil
    assert.equal("[]", json.encode(list))
  end)

  it("lets the last of two equal keys count", function()
    assert.same({ a = 2 }, decoded '{"a":1,"a":2}')
    assert.same({}, decoded '{"a":1,"a":null}')
    assert.same({ a = 2.0, b = 1.0 }, decoded '{"a":1,"a":2.0,"b":1.0}')
  end)

  it("decodes escapes and surrogate pairs", function()
    assert.equal("\0\n/\"\\\u{E9}\u{1F600}", decoded [["\u0000\n\/\"\\\u00e9\ud83d\ude00"]])
  end)

  it("refuses text that is no JSON", function()
    for _, text in ipairs {
      "", " ", "{", "[1,]", '{"a":1,}', "{a:1}", "{1:2}", "{[]:1}", '"', '"\\x"', '"\\u12"', "nul", "tru", "'a'",
      "[1 2]", "\239\187\191{}", "{} x", "{}{}", "1 2", "[1]]", "{}\0", "{}\0{}", "\0", '{"a":1}\0x',
    } do
      refused(text)
    end
  end)

  it("refuses numbers that JSON does not have", function()
    for _, number in ipairs {
      "01", "-01", "+1", ".5", "-.5", "1.", "-1.", "1.e5", "1e", "1e+", "-", "0x10", "NaN", "nan", "Infinity",
      "-Infinity", "inf", "1e999", "-1e999", "1.5e", "1.2.3", ("9"):rep(400),
    } do
      refused(number)
      refused("[" .. number .. "]")
      refused('{"a":' .. number .. "}")
      refused('{"a": ' .. number .. ' ,"b":1,"c":0.5}')
    end
  end)

  it("refuses text that is not UTF-8", function()
    for _, bytes in ipairs { "\255", "\192\128", "\237\160\128", "\226\130", "\244\144\128\128", "\128" } do
      refused('"' .. bytes .. '"')
      refused('{"' .. bytes .. '":1.0}')
    end
    refused [["\ud800"]]
    refused [["\udc00\ud800"]]
  end)

  it("takes 100 levels and refuses 101", function()
    assert.equal(nested(100), json.encode(decoded(nested(100))))
    refused(nested(101))
    refused(("["):rep(100000))
  end)

  it("gives a fresh value each time", function()
    for _ = 1, 3 do
      local ping = decoded '{"type":"ping"}'
      assert.same({ type = "ping" }, ping)
      ping.type, ping.more = "pong", 1
    end
  end)

  it("stays right when thousands of short texts have come by", function()
    for i = 1, 2000 do
      assert.same({ id = "x" .. i }, decoded('{"id":"x' .. i .. '"}'))
    end
    assert.same({ id = "x1" }, decoded '{"id":"x1"}')
  end)

  it("raises at the caller's line when the text is no string", function()
    local ok, message = pcall(function() json.decode(12) end)
    assert.is_false(ok)
    assert.matches("json_spec%.lua:%d+: json%.decode: string expected, got number", message)
    assert.has_error(function() json.decode() end)
  end)
end)

describe("json.encode", function()
  it("writes integers in full", function()
    for _, integer in ipairs { 0, -1, 99999999999999, 10^14 | 0, 2^53 + 1 | 0, math.maxinteger, math.mininteger } do
      assert.equal(("%d"):format(integer), json.encode(integer))
      assert.equal(("[%d]"):format(integer), json.encode { integer })
      assert.equal(('{"n":%d}'):format(integer), json.encode { n = integer })
    end
  end)

  it("writes an integral float without fraction and exponent while it fits 64 bits", function()
    assert.equal("[1,0,-3,1000000000000000,9007199254740992]", json.encode { 1.0, -0.0, -3.0, 1e15, 2.0^53 })
    assert.equal("1e+100", json.encode(1e100))
  end)

  it("writes a float with as many digits as bring it back", function()
    for _, float in ipairs {
      0.1, 1.5, 0.1 + 0.2, 1 / 3, math.pi, 1 + 2^-52, 5e-324, 1.7976931348623157e308, -2.5e-7, 2.0^63,
    } do
      assert.equal(float, decoded(json.encode(float)))
      assert.equal(float, decoded(json.encode { float })[1])
    end
    assert.equal("0.1", json.encode(0.1))
    assert.equal("0.30000000000000004", json.encode(0.1 + 0.2))
  end)

  it("writes and reads a point whatever the locale says", support.run(function()
    local folder = support.tmpdir()
    make_comma_locale(folder)
    local text = children.output_of { "lua5.4", "-e", [[
      local json = require "vmctl.json"
      assert(os.setlocale("comma", "numeric"))
      local value = json.decode "[0.25,3.0,1e2]"
      print(("%.1f"):format(0.5), json.encode { 0.5 }, value[1] == 0.25, json.encode(value))
    ]], env = { LOCPATH = folder, LC_ALL = "" }, stderr = "stdout" }
    assert.equal("0,5\t[0.5]\ttrue\t[0.25,3,100]\n", text)
  end))

  it("writes nil members not at all and json.null as null", function()
    assert.equal('{"a":null}', json.encode { a = json.null, b = nil })
    assert.equal("[1,null]", json.encode { 1, json.null })
    assert.equal("null", json.encode(json.null))
  end)

  it("writes single values", function()
    assert.equal('"x"', json.encode "x")
    assert.equal("true", json.encode(true))
    assert.equal("false", json.encode(false))
    assert.equal("[true,false]", json.encode { true, false })
  end)

  it("writes an unmarked empty table as an object and a marked one as marked", function()
    assert.equal("{}", json.encode {})
    assert.equal("[]", json.encode(json.array()))
    assert.equal("{}", json.encode(json.object()))
    assert.equal('{"a":[]}', json.encode { a = json.array {} })
  end)

  it("writes a marked object with integer keys as an object", function()
    assert.equal('{"1":"a"}', json.encode(json.object { "a" }))
    assert.equal('{"5000":{}}', json.encode(json.object { [5000] = {} }))
    not_encodable(json.object { "a", ["1"] = "b" })
    not_encodable(json.object { [0.5] = 1 })
  end)

  it("escapes what must be escaped, and no slash", function()
    assert.equal([["\"\\\n\u0000\u001b/é"]], json.encode "\"\\\n\0\27/é")
    assert.equal([["\\/"]], json.encode "\\/")
    assert.equal('{"/a":"/b"}', json.encode { ["/a"] = "/b" })
    local long = ("/\\"):rep(5000)
    assert.equal(long, decoded(json.encode(long)))
  end)

  it("brings long strings and many members back", function()
    local value = { text = ("x\n"):rep(100000), list = {}, map = {} }
    for i = 1, 3000 do
      value.list[i] = i
      value.map["key" .. i] = { i, "value" .. i, i + 0.5 }
    end
    assert.same(value, decoded(json.encode(value)))
  end)

  it("refuses what JSON cannot say", function()
    not_encodable(nil)
    not_encodable(print)
    not_encodable { print }
    not_encodable { a = { b = coroutine.create(print) } }
    not_encodable { io.stdout }
    not_encodable { [true] = 1 }
    for _, number in ipairs { 0 / 0, 1 / 0, -1 / 0 } do
      not_encodable(number)
      not_encodable { number }
      not_encodable { n = number }
    end
  end)

  it("refuses lists with holes and lists with named members", function()
    for _, tbl in ipairs {
      { 1, nil, 3 }, { [2] = 1 }, { [1] = 1, [1000000] = 2 }, { 1, x = 2 }, { [0] = 1 }, { [-1] = 1, [1] = 1, [3] = 3 },
      { [1.5] = 1 }, { 1, 2, [4] = 4 }, { [2] = 2, x = 1 },
    } do
      not_encodable(tbl)
      not_encodable { inner = tbl }
    end
  end)

  it("refuses strings and keys that are not UTF-8", function()
    for _, bytes in ipairs { "\255", "\2551.5", "\237\160\128", "a\128" } do
      not_encodable(bytes)
      not_encodable { bytes }
      not_encodable { [bytes] = 1 }
      not_encodable { a = { bytes, 0.1 + 0.2, json.array() } }
    end
  end)

  it("refuses cycles and more than 100 levels", function()
    local cycle = {}
    cycle.self = cycle
    not_encodable(cycle)
    cycle = {}
    cycle[1], cycle[2] = cycle, cycle
    not_encodable(cycle)
    local deep = {}
    for _ = 1, 99 do deep = { deep } end
    assert.is_string(json.encode(deep))
    not_encodable { deep }
  end)

  it("shows none of the data in its refusal", function()
    local message = not_encodable { password = "hunter2", other = "\255hunter2", [1] = "hunter2" }
    assert.is_nil(message:find("hunter2", 1, true))
  end)

  it("ignores metatables that are not ours", function()
    local class = setmetatable({ a = 1 }, {
      __index = function() error "touched" end,
      __len = function() return 7 end,
      __pairs = function() error "touched" end,
    })
    assert.equal('{"a":1}', json.encode(class))
    assert.equal('[["x"]]', json.encode { setmetatable({ "x" }, { __len = function() return 7 end }) })
  end)

  it("works again after a refusal", function()
    not_encodable { "a", "b", print }
    assert.equal('["c"]', json.encode { "c" })
  end)

  it("does not change its argument", function()
    local inner = { 1.0, 2^60 | 0 }
    local value = { list = inner, empty = json.array() }
    json.encode(value)
    assert.equal(inner, value.list)
    assert.equal("float", math.type(inner[1]))
    assert.is_nil(getmetatable(value))
  end)

  it("stays right when thousands of keys and values have come by", function()
    for i = 1, 2000 do
      assert.equal(('{"k%d":"v%d"}'):format(i, i), json.encode { ["k" .. i] = "v" .. i })
    end
    assert.equal('{"k1":true}', json.encode { k1 = true })
    assert.equal("[false,null]", json.encode { false, json.null })
  end)
end)

describe("json.array and json.object", function()
  it("return the table they mark", function()
    local tbl = {}
    assert.equal(tbl, json.array(tbl))
    assert.equal(tbl, json.object(tbl))
  end)

  it("raise at the caller's line for anything else", function()
    for _, wrong in ipairs {
      function() json.array "x" end, function() json.array { a = 1 } end, function() json.object(1) end,
    } do
      local ok, message = pcall(wrong)
      assert.is_false(ok)
      assert.matches("json_spec%.lua:%d+:", message)
    end
  end)

  it("are told apart by is_array", function()
    assert.is_true(json.is_array { 1 })
    assert.is_true(json.is_array(json.array()))
    assert.is_false(json.is_array(json.object { 1 }))
    assert.is_false(json.is_array {})
    assert.is_false(json.is_array "x")
  end)
end)

describe("vmctl.json", function()
  it("leaves the settings of the program's own lua-cjson alone", function()
    local cjson = require "cjson"
    assert.equal(1000, cjson.decode_max_depth())
    assert.is_true(cjson.decode_invalid_numbers())
    assert.is_true(cjson.encode_keep_buffer())
    assert.equal("{}", cjson.encode {})
  end)

  it("brings random values back as they were", function()
    local random = math.random
    math.randomseed(20240229)
    local strings = { "", "a", "1.0", "é", "[]", "null", '"', "\\", "/", ":1.0,", "\0", "x/y", ("z"):rep(50), "1e5" }
    local function value(depth)
      local pick = random(depth > 4 and 7 or 10)
      if pick == 1 then return random(0) end
      if pick == 2 then return random(-100, 100) end
      if pick == 3 then return string.unpack("<d", string.pack("<I8", random(0) & ~(1 << 62))) end
      if pick == 4 then return random(1000) / 8 end
      if pick == 5 then return random(2) == 1 end
      if pick <= 7 then return strings[random(#strings)] end
      local tbl = pick == 8 and json.array() or {}
      for i = 1, random(0, 5) do
        tbl[pick <= 9 and i or strings[random(#strings)]] = value(depth + 1)
      end
      return tbl
    end
    local function settled(v)         -- an integral float comes back as an integer
      if type(v) == "table" then
        for k, inner in pairs(v) do v[k] = settled(inner) end
      elseif math.type(v) == "float" and v % 1 == 0 and v >= -2.0^63 and v < 2.0^63 then
        return v | 0
      end
      return v
    end
    for _ = 1, 3000 do
      local before = settled { value(1) }
      local text = assert(json.encode(before))
      assert.same(before, decoded(text))
      assert.equal(#text, #json.encode(decoded(text)))
    end
  end)
end)
