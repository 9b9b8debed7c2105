-- The parts of the command line: values with units, documents and tables, targets.
local assert = require "luassert"
local output = require "vmctl.cli.output"
local support = require "spec.support"
local targets = require "vmctl.cli.targets"
local units = require "vmctl.cli.units"

local json = require "vmctl.json"

describe("vmctl.cli.units", function()
  local good = {
    seconds = { ["1.5"] = 1.5, ["50ms"] = 0.05, ["250us"] = 0.00025, ["2m"] = 120, ["1h"] = 3600, ["1e2"] = 100, ["5 s"] = 5 },
    chance = { ["0.1"] = 0.1, ["10%"] = 0.1, ["100%"] = 1, ["0"] = 0 },
    rate = { ["64k"] = 64000, ["10mbit"] = 10000000, ["1G"] = 1000000000, ["1"] = 1 },
    bytes = { ["4096"] = 4096, ["64k"] = 65536, ["1MiB"] = 1 << 20, ["2g"] = 2 << 30 },
    memory = { ["256"] = "256", ["256M"] = "256M", ["2G"] = "2G" },
  }
  for name, values in pairs(good) do
    it("takes " .. name, function()
      local convert = units[name] "--option"
      for text, value in pairs(values) do
        local got = convert(text)
        if type(value) == "number" then assert.near(value, got, 1e-9, text) else assert.equal(value, got) end
      end
    end)
  end

  local bad = {
    seconds = { "", "s", "5x", "-1", "1.2.3", "0x10" }, chance = { "1.5", "101%", "-0.1", "x" }, rate = { "0", "0.5", "fast" },
    bytes = { "", "-1", "1T" }, memory = { "", "0", "012", "1.5G", "256 M" },
  }
  for name, texts in pairs(bad) do
    it("refuses what is none of " .. name .. ", and names the option and the value", function()
      local convert = units[name] "--option"
      for _, text in ipairs(texts) do
        local value, err = convert(text)
        assert.is_nil(value, text)
        assert.is_truthy(err:find("--option: ", 1, true) and err:find(("'%s'"):format(text), 1, true), err)
      end
    end)
  end

  it("takes whole numbers within their bounds", function()
    local convert = units.integer("--option", 1, 10)
    assert.same({ 1, 10 }, { (convert "1"), (convert "10") })
    for _, text in ipairs { "0", "11", "1.5", "x", "" } do
      assert.same({ n = 2, nil, ("--option: a whole number from 1 to 10 expected, got '%s'"):format(text) },
        table.pack(convert(text)))
    end
  end)
end)

describe("output.encode", function()
  it("is one line with sorted keys", function()
    assert.equal('{"a":[1,2],"b":{"c":true},"d":"x\\ny"}', output.encode { d = "x\ny", b = { c = true }, a = { 1, 2 } })
  end)

  it("has the exact bytes of what is not UTF-8 beside a readable text", function()
    assert.equal('{"x":"a\u{fffd}b","x_base64":"Yf9i"}', output.encode { x = "a\xffb" })
    assert.equal('["a",{"base64":"/w=="}]', output.encode { "a", "\xff" })
    assert.equal('{"base64":"/w==","text":"\u{fffd}"}', output.encode "\xff")
  end)

  it("has empty lists where members are lists, and objects where they are not", function()
    assert.equal('{"changed":[],"other":{}}', output.encode { changed = {}, other = {} })
  end)

  it("has null for what JSON has no number for, and for json.null", function()
    assert.equal('{"a":null,"b":null,"c":null}', output.encode { a = 0 / 0, b = math.huge, c = json.null })
  end)
end)

describe("output.table", function()
  it("aligns all columns but the last", function()
    assert.equal("NAME    PID\nweb     17\nlonger  1", output.table({ "NAME", "PID" }, { { "web", "17" }, { "longer", "1" } }))
    assert.equal("NAME", output.table({ "NAME" }, {}))
  end)
end)

describe("vmctl.cli.targets", function()
  it("adds the service's port to an address that has none", function()
    assert.equal("vsock:3:5000", tostring(targets.address("vsock:3", 5000)))
    assert.equal("vsock:3:77", tostring(targets.address("vsock:3:77", 5000)))
    assert.equal("hybrid:/run/fc.sock:5000", tostring(targets.address("hybrid:/run/fc.sock", 5000)))
    assert.equal("hybrid:/run/fc.sock:77", tostring(targets.address("hybrid:/run/fc.sock:77", 5000)))
    assert.equal("unix:/run/agent", tostring(targets.address("unix:/run/agent", 5000)))
  end)

  it("says that a guest is not there, and that a name or an address is none", function()
    assert.equal("ENOENT", support.code(targets.address("no-such-guest", 5000)))
    for _, text in ipairs { "..", "a/b", "", ("x"):rep(41), "tcp:nonsense" } do
      assert.equal("EINVAL", support.code(targets.address(text, 5000)), text)
    end
  end)

  it("takes this machine for commands alone", function()
    assert.equal(require "vmctl.host", targets.exec "host")
    assert.equal("EINVAL", support.code(targets.stereos "host"))
    assert.equal("EINVAL", support.code(targets.socket("host", "console")))
  end)
end)
