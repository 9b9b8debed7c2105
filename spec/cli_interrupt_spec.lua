-- How the command line ends when a signal tells it to: in order, with the code of that signal, and nothing left behind.
local assert = require "luassert"
local cli = require "spec.support.cli"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 60
local CODES = { INT = 130, TERM = 143, HUP = 129 }

-- Starts it, waits until `begun` gives something true, sends the signal. Its exit code and standard error.
local function interrupted(words, signal, begun)
  local command = { cli.PROGRAM, table.unpack(words) }
  command.stdin, command.stdout, command.stderr, command.env = "null", "null", "pipe", words.env
  local program <close> = assert(vmctl.process.spawn(command)) -- luacheck: ignore
  support.eventually(begun)
  program:kill(signal)
  local said = program.stderr:read_exact(1 << 16, LIMIT)
  local record = assert(program:wait(LIMIT))
  return record.exit_code, said
end

-- A server that accepts and says nothing, and whether somebody has come.
local function silent_server(scope, path)
  local listener = assert(vmctl.listen("unix:" .. path))
  local state = { listener = listener }
  vmctl.spawn_in(scope, function()
    local streams = {}
    while true do
      local stream = listener:accept(LIMIT)
      if not stream then break end
      streams[#streams + 1] = stream
      state.came = true
    end
    for _, stream in ipairs(streams) do stream:close() end
  end)
  return state
end

describe("a signal ends the command line", function()
  for signal, code in pairs(CODES) do
    it("in order, while it waits: " .. signal, support.run(function()
      local folder = support.tmpdir()
      vmctl.scope(function(scope)
        local server = silent_server(scope, folder .. "/s")
        local at = "unix:" .. folder .. "/s"
        for _, words in ipairs { { "ready", at }, { "health", "--timeout", "60", at }, { "qmp", at, "query-status" },
          { "exec", at, "true" }, { "cp", "README.md", at .. ":/tmp/x" }, { "push", at, "--file", "README.md:/x" } } do
          server.came = nil
          local got = interrupted(words, signal, function() return server.came end)
          assert.equal(code, got, words[1])
        end
        server.listener:close()
      end)
    end, LIMIT))
  end

  it("with 0 where it runs until then", support.run(function()
    local folder = support.tmpdir()
    for _, words in ipairs { { "switch", "--listen", "unix:" .. folder .. "/net" },
      { "forward", "unix:" .. folder .. "/net", "unix:" .. folder .. "/other" } } do
      local code = interrupted(words, "INT", function() return vmctl.host:run({ "test", "-S", folder .. "/net" }).exit_code == 0 end)
      assert.equal(0, code, words[1])
      assert.equal("", vmctl.host:run({ "ls", folder }).stdout)
    end
  end, LIMIT))

  it("and is passed on to the command that exec runs", support.run(function()
    local mark = support.tmpdir() .. "/mark"
    local script = ('trap "exit 7" INT; touch %s; while :; do sleep 0.05; done'):format(mark)
    local code = interrupted({ "exec", "host", "--", "sh", "-c", script }, "INT", function() return io.open(mark) end)
    assert.equal(7, code)
  end, LIMIT))
end)

describe("values of options", function()
  local units = require "vmctl.cli.units"

  it("have units", function()
    local seconds, chance, rate, bytes = units.seconds "-t", units.chance "-c", units.rate "-r", units.bytes "-b"
    assert.same({ 0.05, 5, 120, 0.25 }, { seconds "50ms", seconds "5", seconds "2m", seconds "0.25" })
    assert.same({ 0.1, 0.1, 1, 0 }, { chance "10%", chance "0.1", chance "100%", chance "0" })
    assert.same({ 10000000, 10000000, 64000 }, { rate "10mbit", rate "10M", rate "64k" })
    assert.same({ 65536, 1 << 30, 7 }, { bytes "64k", bytes "1G", bytes "7" })
  end)

  it("that are none are refused, and the option is named", function()
    for _, case in ipairs { { "seconds", "x" }, { "seconds", "5q" }, { "seconds", "-1" }, { "seconds", "nan" }, { "chance", "2" },
      { "chance", "101%" }, { "rate", "10Q" }, { "rate", "0" }, { "bytes", "1.5.5k" }, { "integer", "1.5" }, { "integer", "-1" } } do
      local value, err = units[case[1]] "--option"(case[2])
      assert.is_nil(value, case[2])
      assert.matches("^%-%-option: .* expected, got '", err)
    end
  end)

  it("may begin with a dash", support.run(function()
    local result = cli.run { "run", "--kernel", "/nowhere", "--initrd", "/nowhere", "--arg", "-drive", "--", "true" }
    assert.matches("/nowhere", result.stderr)
    assert.is_nil(result.stderr:find "Usage")
  end, LIMIT))
end)
