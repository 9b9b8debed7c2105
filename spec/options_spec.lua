local options = require "vmctl.base.options"

local known = {
  timeout = "number>=0", path = "string", port = "integer>=0<=65535", mode = { "raw", "cooked" },
  target = "string|table", any = "any", on_line = "callable", check = "boolean", stream = "vmctl.Stream",
}

--- A function with options, as the library has them: mistakes must name the line that calls it.
local function dial(opts, names)
  local checked = options.check(opts, names or known, "dial")
  return checked
end

local function refused(opts, names)
  local ok, message = pcall(function()
    local checked = dial(opts, names)
    return checked
  end)
  assert.is_false(ok)
  assert.matches("^[^:]*options_spec%.lua:%d+: dial: ", message)
  return (message:gsub("^.-: dial: ", ""))
end

describe("options.check", function()
  it("returns the table when all is well", function()
    local opts = { timeout = 0, path = "/x", port = 65535, mode = "raw", target = {}, any = false, check = false }
    assert.equal(opts, dial(opts))
  end)

  it("takes nil as no options", function()
    assert.same({}, dial(nil))
  end)

  it("takes a number as the time-out where there is one", function()
    assert.same({ timeout = 2.5 }, dial(2.5))
    assert.equal("option 'timeout': number >= 0 expected, got -1", refused(-1))
    assert.equal("table of options expected, got number", refused(2, { path = "string" }))
  end)

  it("raises for anything that is no table", function()
    assert.equal("table of options (or a time-out) expected, got string", refused "x")
    assert.equal("table of options (or a time-out) expected, got boolean", refused(true))
  end)

  it("suggests the name that is nearest to an unknown one", function()
    assert.equal("unknown option 'time_out' (did you mean 'timeout'?)", refused { time_out = 5 })
    assert.equal("unknown option 'Timeout' (did you mean 'timeout'?)", refused { Timeout = 5 })
    assert.equal("unknown option 'tiemout' (did you mean 'timeout'?)", refused { tiemout = 5 })
    assert.equal("unknown option 'pat' (did you mean 'path'?)", refused { pat = 5 })
    assert.equal("unknown option 'onLine' (did you mean 'on_line'?)", refused { onLine = print })
  end)

  it("lists the known names when none is near", function()
    assert.equal("unknown option 'colour' (known: a, b)", refused({ colour = 1 }, { b = "any", a = "any" }))
    assert.equal("unknown option 'colour' (there are none)", refused({ colour = 1 }, {}))
    assert.matches("^unknown option '%?%?x'", refused { ["\27\nx"] = 1 })
  end)

  it("names the option, what was expected and what was given", function()
    assert.equal("option 'path': string expected, got 5", refused { path = 5 })
    assert.equal("option 'path': string expected, got table", refused { path = {} })
    assert.equal("option 'target': string or table expected, got true", refused { target = true })
    assert.equal("option 'port': integer >= 0 <= 65535 expected, got 70000", refused { port = 70000 })
    assert.equal("option 'port': integer >= 0 <= 65535 expected, got 1.5", refused { port = 1.5 })
    assert.equal("option 'mode': 'raw' or 'cooked' expected, got 'row'", refused { mode = "row" })
    assert.equal("option 'on_line': callable expected, got string", refused { on_line = "x" })
  end)

  it("never shows the text of a string option, which may be a secret", function()
    local message = refused({ password = "hunter2" }, { password = "table" })
    assert.equal("option 'password': table expected, got string", message)
  end)

  it("refuses NaN as a number", function()
    assert.equal("option 'timeout': number >= 0 expected, got not a number (NaN)", refused { timeout = 0 / 0 })
    refused({ n = 0 / 0 }, { n = "number" })
    assert.same({ timeout = math.huge }, dial { timeout = math.huge })
  end)

  it("takes an integral float as an integer", function()
    assert.same({ port = 80.0 }, dial { port = 80.0 })
  end)

  it("knows classes by their name", function()
    local stream = setmetatable({}, { __name = "vmctl.Stream" })
    assert.equal(stream, dial { stream = stream }.stream)
    assert.equal("option 'stream': vmctl.Stream expected, got FILE*", refused { stream = io.stdout })
    assert.equal("option 'stream': vmctl.Stream expected, got table", refused { stream = {} })
  end)

  it("takes a table with __call as callable", function()
    local opts = { on_line = setmetatable({}, { __call = print }) }
    assert.equal(opts, dial(opts))
  end)

  it("allows a list part only where known[1] says so", function()
    local names = { "string", cwd = "string" }
    local command = { "ls", "-l", cwd = "/" }
    assert.equal(command, dial(command, names))
    assert.equal("entry 2: string expected, got 5", refused({ "ls", 5 }, names))
    assert.equal("unexpected entry [1]", refused { "ls" })
    assert.equal("unexpected entry [-1]", refused({ "ls", [-1] = "x" }, names))
    assert.equal("unexpected entry [9]", refused({ "ls", [9] = "x" }, names))
  end)

  it("names another line when a level is given", function()
    local function inner(opts) options.check(opts, known, "inner", 4) end
    local function outer(opts) inner(opts) return true end
    local line = debug.getinfo(1, "l").currentline + 1
    local _, message = pcall(function() local ok = outer { x = 1 } return ok end)
    assert.matches("options_spec%.lua:" .. line .. ": inner: unknown option 'x'", message)
  end)

  it("needs no name in front", function()
    local _, message = pcall(function()
      local function f(opts) options.check(opts, {}) return true end
      return f { x = 1 } and 1
    end)
    assert.matches("%d: unknown option 'x'", message)
  end)

  it("says so when the known types are malformed", function()
    assert.has_error(function() options.check({ a = 1 }, { a = ">=0" }) end, "options: malformed type '>=0'")
  end)
end)

describe("options.merge", function()
  it("lets the later table win and changes none", function()
    local defaults, opts = { timeout = 30, check = true }, { check = false, path = "/" }
    assert.same({ timeout = 30, check = false, path = "/" }, options.merge(defaults, opts))
    assert.same({ timeout = 30, check = true }, defaults)
    assert.same({ check = false, path = "/" }, opts)
  end)

  it("skips nil, and takes any number of tables", function()
    assert.same({ a = 3, b = 1 }, options.merge({ a = 1, b = 1 }, nil, { a = 2 }, { a = 3 }))
    assert.same({ a = 1 }, options.merge({ a = 1 }, nil))
    assert.same({}, options.merge())
  end)

  it("takes a list part whole", function()
    assert.same({ "x", cwd = "/" }, options.merge({ "a", "b", cwd = "/" }, { "x" }))
    assert.same({ "a", "b", cwd = "/" }, options.merge({ "a", "b" }, { cwd = "/" }))
  end)
end)
