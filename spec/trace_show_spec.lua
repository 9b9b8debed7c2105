local assert = require "luassert"
local support = require "spec.support"
local trace = require "vmctl.trace"

local code, run = support.code, support.run

local function file_of(text)
  local path = support.tmpdir() .. "/t.ndjson"
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
  return path
end

local function records_of(text)
  local list = {}
  for record in assert(trace.read(file_of(text))) do list[#list + 1] = record end
  return list
end

describe("vmctl.trace.read", function()
  it("gives records with their bytes, from text and from base64", run(function()
    local list = records_of('{"ev":"line","t":1.5,"s":"1.1","dir":"in","size":2,"text":"hi"}\n'
      .. '{"ev":"bytes","t":2,"s":"1.1","dir":"out","size":3,"data":"AAEC"}\n')
    assert.same({ "hi", 1, 1.5 }, { list[1].payload, list[1].line, list[1].t })
    assert.same({ "\0\1\2", 2 }, { list[2].payload, list[2].line })
  end))

  it("tells lines that are no records and goes on", run(function()
    local good = '{"ev":"stop","t":1}'
    local list = records_of(table.concat({
      good, "garbage", "[]", "7", '{"ev":"stop"}', '{"t":1}', '{"ev":"line","t":"1"}', '{"ev":"frame","t":1,"type":"x"}',
      '{"ev":"line","t":1,"s":{}}', "", "\0\255", good, '{"ev":"li',
    }, "\n"))
    assert.equal(13, #list)
    for i, record in ipairs(list) do
      assert.equal((i == 1 or i == 12) and "stop" or "broken", record.ev, i)
      assert.equal(i, record.line)
    end
  end))

  it("passes over a line that is too long, in bounded memory", run(function()
    local path = support.tmpdir() .. "/long"
    local file = assert(io.open(path, "wb"))
    local block = ("x"):rep(1 << 20)
    for _ = 1, 20 do file:write(block) end
    file:write '\n{"ev":"stop","t":1}\n'
    file:close()
    local evs = {}
    for record in assert(trace.read(path)) do evs[#evs + 1] = record.ev end
    assert.same({ "broken", "stop" }, evs)
  end, 10))

  it("is empty for an empty file", run(function()
    assert.same({}, records_of "")
  end))

  it("closes the file of a loop that is left early", run(function()
    for record in assert(trace.read(file_of(('{"ev":"stop","t":1}\n'):rep(9)))) do
      if record.line == 2 then break end
    end
  end))

  it("fails for what can not be read", run(function()
    assert.equal("ENOENT", code(trace.read "/no/such/file"))
    assert.equal("EINVAL", code(trace.read "/dev/zero"))
    assert.has_error(function() trace.read(7) end)
  end))
end)

local EXEC = [[
{"ev":"start","t":100.0,"pid":7,"time":"2026-01-02T03:04:05Z","version":"vmctl 9.8.7"}
{"ev":"open","t":100.5,"s":"7.1","how":"dial","address":"vsock:3:5000"}
{"ev":"name","t":100.5,"s":"7.1","address":"vsock:3:5000","protocol":"exec"}
{"ev":"frame","t":100.6,"s":"7.1","dir":"out","type":12,"size":40,"masked":true,"text":"{\"argv_b64\":[\"bHM=\",\"LWw=\"]}"}
{"ev":"frame","t":100.7,"s":"7.1","dir":"out","type":7,"size":5,"masked":true,"fill":true}
{"ev":"frame","t":101.7,"s":"7.1","dir":"in","type":3,"size":9,"data":"G1szMW1yZWQHCg=="}
{"ev":"frame","t":101.8,"s":"7.1","dir":"in","type":99,"size":0}
{"ev":"end","t":102.0,"s":"7.1","dir":"in","code":"EOF"}
{"ev":"close","t":102.0,"s":"7.1","bytes_in":14,"bytes_out":50}
nonsense
{"ev":"open","t":103.0,"s":"7.1","how":"accept","address":"unix:/a"}
]]

describe("vmctl.trace.print", function()
  local function printed(text, opts)
    local parts = {}
    local count = trace.print(file_of(text), { write = function(_, ...) parts[#parts + 1] = table.concat { ... } end }, opts)
    return table.concat(parts), count
  end

  it("shows times, sessions, arrows, types by name, sizes and texts", run(function()
    local text, count = printed(EXEC)
    assert.equal(11, count)
    assert.equal([[
   0.000000      start pid 7 at 2026-01-02T03:04:05Z
   0.500000 #1   open dial vsock:3:5000
   0.500000 #1   name vsock:3:5000 (exec)
   0.600000 #1   -> EXEC_PIPE           40  {"argv":["ls","-l"]}
   0.700000 #1   -> STDIN                5  (hidden)
   1.700000 #1   <- STDOUT               9  red\x07\n
   1.800000 #1   <- 99                   0
   2.000000 #1   end of input EOF
   2.000000 #1   close in 14 bytes out 50 bytes
            line 10 is no record
   3.000000 #2   open accept unix:/a
]], text)
  end))

  it("shows one session alone, and as much of a message as is asked for", run(function()
    local text, count = printed('{"ev":"line","t":1,"s":"a","dir":"in","size":50,"text":"' .. ("y"):rep(50) .. '"}\n'
      .. '{"ev":"line","t":1,"s":"b","dir":"in","size":1,"text":"z"}\n', { session = "a", width = 10 })
    assert.equal(1, count)
    assert.truthy(text:find "  yyyyyyyyyy%[40 bytes cut%]\n$")
  end))

  it("lets nothing through that a terminal obeys", run(function()
    local evil = "\\u001b]0;title\\u0007\\u001b[2J\\r\\u009b"
    local text = printed('{"ev":"open","t":1,"s":"a","how":"' .. evil .. '","address":"' .. evil .. '"}\n'
      .. '{"ev":"line","t":1,"s":"a","dir":"' .. evil .. '","size":1,"call":"' .. evil .. '","text":"' .. evil .. '"}\n'
      .. '{"ev":"' .. evil .. '","t":1,"code":"' .. evil .. '"}\n')
    assert.is_nil(text:gsub("\n", ""):find "[%c\127]")
    assert.is_nil(text:find("\194\155", 1, true))
  end))

  it("fails as read does", function()
    assert.equal("ENOENT", code(trace.print "/no/such/file"))
  end)

  it("shows a record alone", function()
    assert.equal("   0.000000 #1   <- line                 2  hi",
      trace.format { ev = "line", t = 5, s = "x", dir = "in", size = 2, payload = "hi" })
  end)
end)
