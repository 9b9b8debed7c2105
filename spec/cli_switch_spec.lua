-- vmctl switch and vmctl switch ctl, as a user starts them.
local assert = require "luassert"
local cli = require "spec.support.cli"
local json = require "vmctl.json"
local l2 = require "spec.support.l2"
local schema = require "spec.support.schema"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 120
local schemas = schema.read "docs/command-line.md"

local code = support.code

local function run(fn) return support.run(fn, LIMIT) end

-- A switch called net with a Unix socket, until `fn(where, ctl)` returns. ctl(words) runs `vmctl switch ctl net`.
local function with_switch(more, fn)
  local folder = support.tmpdir()
  local env, where = cli.environment(folder), "unix:" .. folder .. "/net"
  local command = { cli.PROGRAM, "switch", "--name", "net", "--listen", where, table.unpack(more) }
  command.stdout, command.env = "pipe", env
  local program <close> = assert(vmctl.process.spawn(command)) -- luacheck: ignore
  assert.truthy(program.stdout:read_line(100, LIMIT):find "the switch runs")
  fn(where, function(words)
    return cli.run { "switch", "ctl", "net", env = env, table.unpack(words) }
  end)
  program:kill "TERM"
  assert.equal(0, assert(program:wait(LIMIT)).exit_code)
end

-- The texts that a guest has got once it got `last`.
local function until_text(port, last)
  local list = {}
  repeat list[#list + 1] = assert(port:recv(LIMIT)):sub(15) until list[#list] == last
  return list
end

describe("vmctl switch ctl", function()
  it("changes faults, cuts and partitions while the switch runs", run(function()
    with_switch({ "--loss", "100%" }, function(where, ctl)
      local a, b = assert(vmctl.l2.dial(where)), assert(vmctl.l2.dial(where))
      assert(a:send(l2.frame { from = 1, text = "lost" }))
      assert.equal(0, ctl({ "faults" }).exit_code)
      assert(a:send(l2.frame { from = 1, text = "first" }))
      assert.same({ "first" }, until_text(b, "first"))
      for _, words in ipairs { { "cut", "guest-1" }, { "partition", "guest-1", "guest-2" }, { "faults", "guest-1", "guest-2", "--loss",
        "1" }, { "link", "guest-1", "down" } } do
        assert.equal(0, ctl(words).exit_code)
        assert(a:send(l2.frame { from = 1, text = "lost" }))
        assert.equal(0, ctl({ "heal", "--clear" }).exit_code)
        assert(a:send(l2.frame { from = 1, text = words[1] }))
        assert.same({ words[1] }, until_text(b, words[1]))
      end
      local counts = assert(json.decode(ctl({ "counts", "--json" }).stdout))
      schema.check(counts, schemas["switch ctl"])
      assert.same({ 10, 5 }, { counts.counts.ports["guest-1"].frames_in, counts.counts.ports["guest-2"].frames_out })
      assert.matches("guest%-1 +10 +0 +5\n", ctl({ "counts" }).stdout)
      assert.matches("02:00:00:00:00:01 +0 +guest%-1", ctl({ "addresses" }).stdout)
      assert.matches("guest%-1 +connected", ctl({ "ports" }).stdout)
      a:close()
      b:close()
    end)
  end))

  it("captures, and ends captures", run(function()
    with_switch({}, function(where, ctl)
      local a, b = assert(vmctl.l2.dial(where)), assert(vmctl.l2.dial(where))
      local path = support.tmpdir() .. "/net.pcapng"
      assert.equal(0, ctl({ "capture", path }).exit_code)
      assert(a:send(l2.frame { from = 1, text = "seen" }))
      assert.same({ "seen" }, until_text(b, "seen"))
      assert.equal("1 frames\n", ctl({ "capture-end", path }).stdout)
      a:close()
      b:close()
    end)
  end))

  it("says what is wrong", run(function()
    with_switch({}, function(_, ctl)
      local wrong = {
        { { "cut" }, "one port or two expected" }, { { "cut", "x" }, "no port 'x'" }, { { "link", "x" }, "up or down" },
        { { "faults", "a", "b", "c" }, "two ports at most" }, { { "dance" }, "must be one of" }, { { "seed", "x" }, "whole number" },
        { { "faults", "--only", "x", "--loss", "1" }, "KEY=VALUE" }, { { "faults", "--gemodel", "1,1,1,1,1" }, "at most 4 values" },
      }
      for _, case in ipairs(wrong) do
        local result = ctl(case[1])
        assert.equal(125, result.exit_code)
        assert.is_truthy(result.stderr:find(case[2], 1, true), result.stderr)
      end
    end)
    local env = cli.environment(support.tmpdir())
    for _, name in ipairs { "nobody", "../x", "unix:/no/such/socket" } do
      local result = cli.run { "switch", "ctl", name, "ports", env = env }
      assert.equal(125, result.exit_code)
      assert.matches("^vmctl: ", result.stderr)
    end
  end))
end)

describe("vmctl switch", function()
  it("has one switch of a name at a time, and takes the name of one that was killed", run(function()
    local folder = support.tmpdir()
    local env = cli.environment(folder)
    local function start(name)
      local command = { cli.PROGRAM, "switch", "--name", "net", "--listen", ("unix:%s/%s"):format(folder, name) }
      command.stdout, command.stderr, command.env = "pipe", "pipe", env
      return assert(vmctl.process.spawn(command))
    end
    local first <close> = start "a" -- luacheck: ignore
    assert.truthy(first.stdout:read_line(100, LIMIT):find "the switch runs")
    local second = start "b"
    assert.equal(125, assert(second:wait(LIMIT)).exit_code)
    assert.matches("in use", assert(second.stderr:read_line(1000, LIMIT)))
    second:close()
    first:kill "KILL"
    first:wait(LIMIT)
    local third <close> = start "c" -- luacheck: ignore
    assert.truthy(third.stdout:read_line(100, LIMIT):find "the switch runs")
  end))

  it("joins a switch that another command runs, and ends with it", run(function()
    local folder = support.tmpdir()
    local near, far = "unix:" .. folder .. "/near", "unix:" .. folder .. "/far"
    local here <close> = assert(vmctl.process.spawn { -- luacheck: ignore
      cli.PROGRAM, "switch", "--listen", near, "--trunk", ("exec:%s switch --listen %s --trunk -"):format(cli.PROGRAM, far),
      stdout = "pipe", stderr = "pipe", env = cli.environment(folder),
    })
    assert.truthy(here.stdout:read_line(100, LIMIT):find "the switch runs")
    assert.matches("^the switch runs", assert(here.stderr:read_line(200, LIMIT))) -- that of the other one
    local a, b = assert(vmctl.l2.dial(near)), assert(vmctl.l2.dial(far))
    assert(a:send(l2.frame { from = 1, text = "there" }))
    assert.same({ "there" }, until_text(b, "there"))
    assert(b:send(l2.frame { to = 1, from = 2, text = "back" }))
    assert.same({ "back" }, until_text(a, "back"))
    here:kill "TERM"
    assert.equal(0, assert(here:wait(LIMIT)).exit_code)
    assert.equal("EOF", b:done(LIMIT)) -- it has ended as well
    a:close()
    b:close()
  end))

  it("lets in who has the key of its file, and says when a trunk has ended", run(function()
    local folder = support.tmpdir()
    local where, guest, key = "unix:" .. folder .. "/trunk", "unix:" .. folder .. "/guest", ("k"):rep(32)
    local file = assert(io.open(folder .. "/key", "w"))
    file:write(key)
    file:close()
    local program <close> = assert(vmctl.process.spawn { -- luacheck: ignore
      cli.PROGRAM, "switch", "--listen", guest, "--listen-trunk", where, "--trunk-key", folder .. "/key", "--network", "lan",
      stdout = "pipe", stderr = "pipe", env = cli.environment(folder),
    })
    assert.truthy(program.stdout:read_line(100, LIMIT):find "the switch runs")
    local sw <close> = vmctl.l2.switch { name = "lan" } -- luacheck: ignore
    assert.equal("EACCES", code(sw:trunk(where, { key = key .. "k" })))
    local trunk = assert(sw:trunk(where, { key = key }))
    local wire <close> = assert(vmctl.l2.dial(guest)) -- luacheck: ignore
    support.eventually(function() -- the other end has joined as well
      wire:send(l2.frame { from = 1, text = "x" })
      return #sw:addresses() == 1
    end)
    trunk:close()
    assert.matches("^vmctl: trunk trunk%-1 has ended: ", assert(program.stderr:read_line(500, LIMIT)))
    with_switch({}, function(_, ctl)
      local answer = ctl { "trunk", where, "--trunk-key", folder .. "/./key", "--network", "lan", "--json" }
      assert.equal(0, answer.exit_code, answer.stderr)
      local said = assert(json.decode(answer.stdout))
      schema.check(said, schemas["switch ctl"])
      assert.same({ port = "trunk-1", networks = { "lan" } }, said.trunk)
      assert.matches("trunk%-1 +connected", ctl({ "ports" }).stdout)
      local again = ctl { "trunk", where, "--trunk-key", folder .. "/key", "--network", "lan" }
      assert.equal(125, again.exit_code)
      assert.matches("a loop in network 'lan'", again.stderr)
      assert.equal(0, ctl({ "disconnect", "trunk-1" }).exit_code)
    end)
    assert.matches("^vmctl: trunk trunk%-%d has ended: ", assert(program.stderr:read_line(500, LIMIT)))
    program:kill "TERM"
    assert.equal(0, assert(program:wait(LIMIT)).exit_code)
  end))

  it("reads faults with units", run(function()
    local options = require "vmctl.cli.fault_options"
    local argparse = require "argparse"
    local function faults(...)
      local parser = argparse "x"
      options.describe(parser)
      local ok, opts = parser:pparse { ... }
      assert.is_true(ok, opts)
      return options.read(opts)
    end
    assert.is_nil(faults())
    assert.same({ delay = 0.05, jitter = 0.02, loss = 0.1, rate = 10000000, burst = 65536 },
      faults("--delay", "50ms", "--jitter", "20ms", "--loss", "10%", "--rate", "10mbit", "--burst", "64k"))
    assert.same({ gemodel = { p = 0.01, r = 0.1 }, slot = { min = 0.02, max = 0.04, frames = 3 }, loss_every = 4 },
      faults("--gemodel", "1%,10%", "--slot", "20ms,40ms,3", "--loss-every", "4"))
    assert.same({ distribution = { -1, 0.5 }, jitter = 1, ordered = true, jitter_correlation = 0.25, overhead = -4 },
      faults("--distribution=-1,0.5", "--jitter", "1", "--ordered", "--jitter-correlation", "25%", "--overhead=-4"))
    assert.same({ loss = 1, only = { protocol = "tcp", port = 80, nth = 3, to = "52:54:00:12:34:56" } },
      faults("--loss", "1", "--only", "protocol=tcp", "--only", "port=80", "--only", "nth=3", "--only", "to=52:54:00:12:34:56"))
  end))
end)
