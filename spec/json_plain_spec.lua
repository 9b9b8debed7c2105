-- Plain texts are read and written by the core; what is odd, and all that stands beside it, by vmctl.json. Both must agree.
local json = require "vmctl.json"

local random = 7

local function pick(n)
  random = (random * 1103515245 + 12345) & 0x7fffffff
  return (random >> 8) % n + 1
end

local strings = { "", "a", "true", 'say "x"', "back\\slash", "a/b", "type", "line\nfeed", "\127", "\1", "é", ("x"):rep(3000), "0" }
local scalars = { true, false, json.null, 0, 1, -1, 123456789012345, -999999999999999, 1 << 53, math.mininteger, 2.0, 2.5, 1e300, -0.0 }

local function value(depth)
  local kind = pick(depth > 0 and 4 or 2)
  if kind == 1 then return strings[pick(#strings)] end
  if kind == 2 then return scalars[pick(#scalars)] end
  local members, tbl = pick(4) - 1, {}
  for i = 1, members do tbl[kind == 3 and i or strings[pick(#strings)]] = value(depth - 1) end
  local mark = pick(3)
  return mark == 1 and (kind == 3 and json.array or json.object)(tbl) or tbl
end

-- With its metatables and the kinds of its numbers.
local function shown(v)
  if type(v) ~= "table" then return ("%s %s %s"):format(type(v), math.type(v), tostring(v)) end
  local list = {}
  for key, member in pairs(v) do list[#list + 1] = shown(key) .. "=" .. shown(member) end
  table.sort(list)
  return ("%s{%s}"):format(json.is_array(v) and "list" or "table", table.concat(list, ","))
end

-- By way of what only vmctl.json knows: an escape, or a character that is not ASCII.
local function decode_slowly(text)
  local all, err, code = json.decode('["\\u00e9",' .. text .. "\n]")
  if not all then return nil, err, code end
  return all[2]
end

local function encode_slowly(v)
  local text, err, code = json.encode(json.array { "é", v })
  return text and text:sub(#'["é",' + 1, -2), err, code
end

describe("json, of plain texts", function()
  it("encodes as it does beside odd ones", function()
    for _ = 1, 3000 do
      local v = value(3)
      assert.equal(encode_slowly(v), (json.encode(v)))
    end
    for _, v in ipairs { { [1] = "a", b = 1 }, { 1, nil, 3 }, { print }, { [2] = 1 }, { [1.5] = 1 } } do
      assert.same({ encode_slowly(v) }, { json.encode(v) })
    end
    assert.equal('{"a":1}', json.encode(setmetatable({ a = 1 }, { __pairs = error, __index = error })))
  end)

  it("decodes as it does beside odd ones, cut and changed at every byte", function()
    local changes = { '"', "\\", "0", "-", ".", "e", ",", "]", "}", ":", " ", "n", "\255", "\0", "9" }
    for _ = 1, 150 do
      local text = json.encode(value(3))
      assert.equal(shown(decode_slowly(text)), shown((json.decode(text))))
      for at = 1, math.min(#text, 80) do
        local change = changes[pick(#changes)]
        local before = text:sub(1, at - 1)
        for _, odd in ipairs { before, before .. change .. text:sub(at), before .. change .. text:sub(at + 1) } do
          local fast, slow = json.decode(odd), decode_slowly(odd)
          if fast ~= nil or not odd:find(",", 1, true) then -- "1,2" is two members there
            assert.equal(shown(slow), shown(fast))
          end
        end
      end
    end
  end)

  it("takes what stands around and between, and nothing behind the end", function()
    assert.same({ a = 1, b = { 2, json.null } }, json.decode ' \t\r\n{ "a" : 1 ,\n"b":[ 2 , null ] } \n')
    assert.same({ a = 2 }, json.decode '{"a":1,"a":2}')
    assert.same({}, json.decode '{"a":1,"a":null}')
    for _, text in ipairs { '{"a":1}x', '{"a":1}\0', "[1,]", "{,}", "[", "{", '{"a"', '{"a":', '["', "[1", "[-]", "[01]", "[tru]", "[nul]",
      '{"a":nul}', "{a:1}" } do
      local got, _, code = json.decode(text)
      assert.same({ text, nil, "EPROTO" }, { text, got, code })
    end
  end)
end)
