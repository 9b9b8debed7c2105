local core = require "vmctl.core"
local script = require "spec.support.script"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run
local MIB = 1 << 20

-- Calls fn(client) with an agent of the reference's that answers to Exec: `write(stream)` writes the answer. docs/wire/exec.md
local function with(write, fn)
  local folder = support.tmpdir()
  local listener = assert(vmctl.listen("unix:" .. folder .. "/agent.sock"))
  vmctl.scope(function(scope)
    vmctl.spawn(function()
      for conn in function() return (listener:accept(math.huge)) end do
        local size = (">I4"):unpack(assert(conn:read_exact(5)), 2)
        assert(conn:read_exact(size))
        write(conn)
        conn:flush(math.huge)
        conn:close()
      end
    end)
    fn(assert(vmctl.exec.client("unix:" .. folder .. "/agent.sock", { revision = "0.2" })))
    listener:close()
    scope:cancel()
  end)
end

local function answer(text) return (">BI4"):pack(2, #text) .. text end

local function response(stdout, stderr)
  return ('{"exit_code":7,"stdout":"%s","stderr":"%s","error":""}'):format(core.base64_encode(stdout), core.base64_encode(stderr))
end

local function whole(text)
  return function(conn) conn:write(answer(text), math.huge) end
end

local all = {}
for i = 0, 255 do all[i] = string.char(i) end
local BYTES = table.concat(all, "", 0)
local LONG = BYTES:rep(6000) .. "x"   -- base64 of 2 MiB, with padding

describe("exec: a long answer of a reference agent", function()
  it("has all of its output, and its exit code", run(function()
    for _, pair in ipairs { { LONG, "" }, { "", LONG }, { LONG, LONG:reverse() }, { LONG:sub(2), "e" }, { LONG:sub(3), "" } } do
      with(whole(response(pair[1], pair[2])), function(client)
        local result = assert(client:run { "x" })
        assert.is_true(pair[1] == result.stdout and pair[2] == result.stderr)
        assert.equal(7, result.exit_code)
        assert.is_nil(result.truncated)
      end)
    end
  end, 60))

  it("gives its output as it comes", run(function()
    with(function(conn)
      local text = response(LONG, "")
      conn:write((">BI4"):pack(2, #text) .. text:sub(1, MIB + MIB // 2), math.huge)
      conn:flush(math.huge)
      conn:read(1, math.huge)
    end, function(client)
      local p = assert(client:start { "x", stdin = false })
      local size = 0
      while size < MIB do
        local data, name = assert(p:read(60))
        assert.equal("stdout", name)
        assert.is_true(data == LONG:sub(size + 1, size + #data))
        size = size + #data
      end
      assert.equal("ETIMEDOUT", code(p:wait(0)))
      p:close()
    end)
  end, 60))

  it("keeps head and tail, as max_output says", run(function()
    with(whole(response("first" .. LONG .. "last!", LONG)), function(client)
      local result = assert(client:run { "x", max_output = 20 })
      local want = "first" .. LONG .. "last!"
      assert.equal(want:sub(1, 10) .. want:sub(-10), result.stdout)
      assert.equal(LONG:sub(1, 10) .. LONG:sub(-10), result.stderr)
      assert.equal(#want + #LONG - 40, result.truncated)
    end)
  end, 60))

  it("goes to on_output in pieces", run(function()
    with(whole(response(LONG, "e")), function(client)
      local parts = { stdout = {}, stderr = {} }
      local result = assert(client:run { "x", on_output = function(data, name) table.insert(parts[name], data) end })
      assert.is_true(LONG == table.concat(parts.stdout))
      assert.same({ "e" }, parts.stderr)
      assert.is_true(#parts.stdout > 8)
      assert.same({ "", "", 7 }, { result.stdout, result.stderr, result.exit_code })
    end)
  end, 60))

  it("is read whatever stands between its members, and however they are escaped", run(function()
    local digits = core.base64_encode(LONG)
    local ways = {
      ('{ "stdout" :\n "%s", "error": "a \\" stdout\\": \\\\", "exit_code" : 7,"stderr":null , "x": {"stdout":"x"}, '):format(digits)
        .. '"y":[ "stderr", ":", "" ]}',
      ('{"stderr":"","stdout":"%s","exit_code":7,"stdout_":"!","more":"\\u0022stdout\\u0022"}'):format((digits:gsub("/", "\\/"))),
      ('{"stdout":"%s","exit_code":7}'):format((digits:gsub("%+", "\\u002b"):gsub("=", "\\u003D"))),
    }
    for i, text in ipairs(ways) do
      with(whole(text), function(client)
        local result = assert(client:run { "x" })
        assert.is_true(LONG == result.stdout)
        assert.equal(i == 1 and 'a " stdout": \\' or nil, result.error)
        assert.equal(7, result.exit_code)
      end)
    end
  end, 60))

  it("is read wherever it is cut", run(function()
    local text = ('{"exit_code":7,"error":"\\"\\\\","stdout":"%s","stderr":"Zq\\/\\u002B","signal":9}'):format(
      core.base64_encode(("x"):rep(MIB)))
    local tail = text:find('","stderr"', 1, true) - 20
    for _, head in ipairs { 1, 30 } do
      with(function(conn)
        conn:write((">BI4"):pack(2, #text) .. text:sub(1, head - 1), math.huge)
        for at = head, head + 50 do conn:write(text:sub(at, at), math.huge) conn:flush(math.huge) vmctl.yield() end
        conn:write(text:sub(head + 51, tail - 1), math.huge)
        for at = tail, #text do conn:write(text:sub(at, at), math.huge) conn:flush(math.huge) vmctl.yield() end
      end, function(client)
        local result = assert(client:run { "x" })
        assert.is_true(("x"):rep(MIB) == result.stdout)
        assert.same({ "f\xaf\xfe", '"\\', 7 }, { result.stderr, result.error, result.exit_code })
      end)
    end
  end, 60))

  it("that is none is EPROTO", run(function()
    local digits = core.base64_encode(LONG)
    for _, text in ipairs {
      '{"exit_code":7,"stdout":"' .. digits, '{"exit_code":7,"stdout":"' .. digits .. '"', '{"stdout":"' .. digits .. '=","exit_code":7}',
      '{"stdout":"' .. digits .. digits .. '","exit_code":7}', '{"stdout":"' .. digits .. '\\","exit_code":7}',
      '{"stdout":"!' .. digits .. '","exit_code":7}', '{"stdout":"' .. digits .. '","exit_code":256}',
      '{"exit_code":0,"error":"' .. digits .. '"}', (" "):rep(2 * MIB), ("["):rep(2 * MIB), ('"'):rep(2 * MIB), ('{"stdout":'):rep(200000),
    } do
      with(whole(text), function(client)
        local result, message, why = client:run { "x" }
        assert.is_nil(result)
        assert.equal("EPROTO", why, message)
      end)
    end
  end, 60))

  it("that breaks off is ERESET, with what there was until then", run(function()
    with(function(conn) conn:write(answer(response(LONG, "")):sub(1, -100), math.huge) end, function(client)
      local result, _, why, partial = client:run { "x" }
      assert.is_nil(result)
      assert.equal("ERESET", why)
      assert.is_true(#partial.stdout > MIB and LONG:sub(1, #partial.stdout) == partial.stdout)
    end)
  end, 60))

  it("does not count where output has come before it", run(function()
    with(function(conn)
      conn:write((">BI4"):pack(3, 5) .. "ahead" .. answer(response(LONG, LONG)), math.huge)
    end, function(client)
      local result = assert(client:run { "x" })
      assert.same({ "ahead", "", 7 }, { result.stdout, result.stderr, result.exit_code })
    end)
  end, 60))

  local CLIENT = [[
local client = assert(require("vmctl").exec.client(os.getenv "ADDRESS", { revision = "0.2" }))
local result = assert(client:run { "x", timeout = 300, max_output = 100 })
local seen = { #result.stdout, result.stdout:sub(1, 3), result.stdout:sub(-3), result.truncated, result.exit_code,
  require("spec.support.agent").status("self", "VmHWM") }
io.stderr:write(table.concat(seen, " "))
]]

  it("of 1 GiB is read in a memory that does not grow with it", run(function()
    local piece, count = core.base64_encode(("abc"):rep(MIB // 4)), 1024
    with(function(conn)
      local head, tail = '{"exit_code":7,"stdout":"', '","stderr":"","error":""}'
      conn:write((">BI4"):pack(2, #head + #piece * count + #tail) .. head, math.huge)
      for _ = 1, count do conn:write(piece, math.huge) end
      conn:write(tail, math.huge)
    end, function(client)
      local status, _, text = script.run(CLIENT, { env = { "ADDRESS=" .. tostring(client.address) } })
      assert.equal(0, status, text)
      local line, resident = text:match "^(.*) (%d+)$"
      assert.equal(("100 abc abc %d 7"):format(MIB // 4 * 3 * count - 100), line)
      if not os.getenv "VMCTL_ASAN" then assert.is_true(tonumber(resident) < 24 << 10, resident .. " KiB") end
    end)
  end, 300))
end)
