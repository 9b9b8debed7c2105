-- `--json` prints one document that follows its schema in docs/command-line.md, and nothing else.
local assert = require "luassert"
local cli = require "spec.support.cli"
local json = require "vmctl.json"
local schema = require "spec.support.schema"
local core = require "vmctl.core"
local layers = require "spec.support.layers"
local rootfs = require "vmctl.rootfs"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 120
local schemas = schema.read "docs/command-line.md"

local function run(fn) return support.run(fn, LIMIT) end

-- Runs a command with --json: one line that follows the schema. Its document and the exit code.
local function document(name, words)
  table.insert(words, 2, "--json")
  local result = cli.run(words)
  assert.same("", result.stderr)
  assert.matches("^[^\n]+\n$", result.stdout)
  local value = assert(json.decode(result.stdout))
  schema.check(value, assert(schemas[name], name))
  return value, result.exit_code
end

local function two_lines(name, words, meanwhile)
  local command = { cli.PROGRAM, table.unpack(words) }
  command.stdout = "pipe"
  local program <close> = assert(vmctl.process.spawn(command)) -- luacheck: ignore
  local first = assert(json.decode(assert(program.stdout:read_line(10000, LIMIT))))
  schema.check(first, schemas[name])
  meanwhile(first)
  program:kill "INT"
  local second = assert(json.decode(assert(program.stdout:read_line(10000, LIMIT))))
  schema.check(second, schemas[name])
  assert.equal("EOF", support.code(program.stdout:read(1, LIMIT)))
  assert.equal(0, assert(program:wait(LIMIT)).exit_code)
  return first, second
end

describe("a schema of the command line's documents", function()
  it("refuses what does not follow it", function()
    assert.has_error(function() schema.check({ guests = json.array { { name = 1 } } }, schemas.list) end)
    assert.has_error(function() schema.check({ guests = json.array {}, more = 1 }, schemas.list) end)
    assert.has_error(function() schema.check({}, schemas.stop) end)
    schema.check({ guests = json.array {} }, schemas.list)
  end)

  it("is there for every command that has --json", function()
    local _, commands = require("vmctl.cli").parser()
    for name, command in pairs(commands) do
      if command.module.json ~= false and name ~= "qmp" and name ~= "test" then assert.is_table(schemas[name], name) end
    end
  end)
end)

describe("vmctl --json", function()
  it("exec: text, bytes, exit codes, signals", run(function()
    assert.same({ stdout = "out\n", stderr = "err\n", exit_code = 3 },
      document("exec", { "exec", "host", "--", "sh", "-c", "echo out; echo err >&2; exit 3" }))
    local bytes = document("exec", { "exec", "host", "--", "printf", [[a\377\000b\342\202]] })
    assert.equal("a\u{fffd}\0b\u{fffd}\u{fffd}", bytes.stdout)
    assert.equal("Yf8AYuKC", bytes.stdout_base64)
    local value, code = document("exec", { "exec", "host", "--", "sh", "-c", "kill -TERM $$" })
    assert.same({ "TERM", 143 }, { value.signal, code })
  end))

  it("exec: what there was when the time was over", run(function()
    local value, code = document("error", { "exec", "--timeout", "1", "host", "--", "sh", "-c", "echo part; exec sleep 60" })
    assert.same({ "ETIMEDOUT", "part\n", 124 }, { value.error.code, value.partial.stdout, code })
  end))

  it("failures of every kind", run(function()
    for _, words in ipairs { { "exec", "nobody", "true" }, { "exec" }, { "exec", "--timeout", "x", "host", "true" }, { "cp", "a", "b" },
      { "logs", "nobody" }, { "stop" }, { "stop", "nobody" }, { "health", "unix:/nowhere" }, { "trace", "/nowhere" },
      { "switch" }, { "switch", "--loss", "2", "--listen", "unix:/x" }, { "push", "nobody", "--file", "x" },
      { "screenshot", "nobody", "x" },
      { "ready", "nobody", "--timeout", "0.1" }, { "run", "--kernel", "/nowhere", "--initrd", "/nowhere", "--", "true" } } do
      local value, code = document("error", words)
      assert.is_true(#value.error.code > 0, words[1])
      assert.is_true(code == 125 or code == 124, words[1])
    end
  end))

  it("list, stop, doctor, trace", run(function()
    local env = cli.environment(support.tmpdir())
    assert.same({}, document("list", { "list", env = env }).guests)
    assert.same({}, document("stop", { "stop", "--all", env = env }).stopped)
    assert.is_true(#document("doctor", { "doctor" }).findings > 10)
    local trace = support.tmpdir() .. "/trace"
    assert.equal(0, cli.run({ "exec", "host", "--", "echo", "x", env = { VMCTL_TRACE = trace } }).exit_code)
    assert.is_true(#document("trace", { "trace", trace }) > 3)
  end))

  it("images", run(function()
    local folder = support.tmpdir()
    local env = { XDG_CACHE_HOME = folder }
    assert.same({}, document("images", { "images", env = env }).images)
    assert(core.fs.replace(folder .. "/root.tar", layers.tar { { path = "a", content = "b" } }))
    local made = assert(rootfs.image("tar:" .. folder .. "/root.tar", { cache = folder .. "/vmctl", arch = "amd64" }))
    local listed = document("images", { "images", env = env }).images
    assert.same({ 1, made.digest, "image", "tar:" .. folder .. "/root.tar" }, { #listed, listed[1].name, listed[1].kind, listed[1].from })
    assert.same({}, document("images", { "images", "--prune", env = env }).removed)
    assert.equal(125, cli.run({ "images", "--keep", "1G", env = env }).exit_code)
    assert.equal(1, #document("images", { "images", "--prune", "--unused", "0", env = env }).removed)
    assert.same({}, rootfs.list(folder .. "/vmctl"))
  end))

  it("cp, ready, push", run(function()
    local folder = support.tmpdir()
    local copied = document("cp", { "cp", "README.md", "host:" .. folder .. "/r" })
    assert.same({ 1, {} }, { copied.files, copied.skipped })
    assert.is_true(document("ready", { "ready", "host", "--file", "/etc/passwd" })["host: /etc/passwd"].ready)
    local words = { "push", "host", "--file", "README.md:" .. folder .. "/p" }
    assert.is_true(document("push", { "push", "--dry-run", table.unpack(words, 2) }).changed)
    assert.is_nil(io.open(folder .. "/p"))
    assert.is_true(document("push", { table.unpack(words) }).changed)
    local again = document("push", { "push", "--dry-run", table.unpack(words, 2) })
    assert.same({ true, false, {} }, { again.planned, again.changed, again.notes })
    local inside_a_file = "README.md:" .. folder .. "/p/q"
    local failed = document("error", { "push", "host", "--file", "README.md:" .. folder .. "/p", "--file", inside_a_file })
    schema.check(failed.partial, schemas.push)
    assert.equal(1, #failed.partial.steps)
  end))

  it("health: exit code 1 when an agent does not run", run(function()
    local where = "unix:" .. support.tmpdir() .. "/control"
    local listener <close> = assert(vmctl.listen(where)) -- luacheck: ignore
    local running = true
    local server = vmctl.spawn(vmctl.stereos.serve, listener, { get_health = function()
      return { state = "healthy", uptime_seconds = 5, agents = { { name = "web", running = running, session = "s", restarts = 1 } } }
    end })
    local health, code = document("health", { "health", where })
    assert.same({ "healthy", "web", 0 }, { health.state, health.agents[1].name, code })
    running = false
    assert.equal(1, select(2, document("health", { "health", where })))
    listener:close()
    server:join()
  end))

  it("forward tells its port first, and the counts at the end", run(function()
    local folder = support.tmpdir()
    local listener <close> = assert(vmctl.listen("unix:" .. folder .. "/there")) -- luacheck: ignore
    vmctl.spawn(function()
      local s <close> = listener:accept(LIMIT) -- luacheck: ignore
      s:write(assert(s:read_line(100, LIMIT)) .. "\n")
    end)
    local first, second = two_lines("forward", { "forward", "--json", "tcp:127.0.0.1:0", "unix:" .. folder .. "/there" }, function(first)
      local s <close> = assert(vmctl.dial(first.from)) -- luacheck: ignore
      assert(s:write "abc\n")
      assert.equal("abc", s:read_line(100, LIMIT))
    end)
    assert.matches("^tcp:127%.0%.0%.1:[1-9]%d*$", first.from)
    assert.same({ "listening", "ended", 1 }, { first.event, second.event, second.counts.connections })
  end))

  it("switch says that it runs first, and the counts at the end", run(function()
    local where = "unix:" .. support.tmpdir() .. "/net"
    local first, second = two_lines("switch", { "switch", "--json", "--seed", "7", "--listen", where }, function() end)
    assert.same({ "running", 7, "ended" }, { first.event, first.seed, second.event })
  end))
end)
