-- The command line with a real guest: started by `vmctl run`, reached by its name, and its shell used as a person would, in tmux.
-- Takes about 20 seconds.
local assert = require "luassert"
local agent = require "spec.support.agent"
local cli = require "spec.support.cli"
local guest = require "spec.support.guest"
local json = require "vmctl.json"
local schema = require "spec.support.schema"
local support = require "spec.support"
local vmctl = require "vmctl"

local BOOT = 60 -- seconds
local schemas = schema.read "docs/command-line.md"

-- Plain bodies, not support.run's: the guest outlives them.
describe("vmctl run", function()
  local folder, env, program

  lazy_setup(function()
    folder = support.tmpdir()
    env = cli.environment(folder)
    program = assert(vmctl.process.spawn { cli.PROGRAM, "run", "--name", "web", "--display", "--kernel", guest.kernel, "--initrd",
      guest.image, env = env, stdout = "pipe", stderr = "inherit" })
    local line = program.stdout:read_line(1000, BOOT)
    assert(line and line:find "^web is ready", line or "the guest was not ready")
  end)

  lazy_teardown(function()
    if program then program:close() end
  end)

  -- An echo server inside: the exec client keeps it alive.
  local function vm_server()
    local client = assert(vmctl.exec.client("hybrid:" .. folder .. "/vmctl/web/agent:5000"))
    local server = assert(client:start { "nc", "-ll", "-p", "7007", "-e", "cat" })
    assert(vmctl.ready.wait(vmctl.ready.port(client, 7007), 10))
    return server
  end

  local function vmctl_(words)
    words.env = env
    return cli.run(words)
  end

  it("has its guest listed, and reached by its name", function()
    assert.truthy(vmctl_({ "list" }).stdout:find "\nweb +%d+ +")
    local result = vmctl_ { "exec", "web", "--", "sh", "-c", "cat; exit 4", stdin = "into the guest\n" }
    assert.same({ "into the guest\n", "", 4 }, { result.stdout, result.stderr, result.exit_code })
    assert.equal(0, vmctl_({ "ready", "web", "--stereos", "--file", "/etc/passwd" }).exit_code)
    assert.truthy(vmctl_({ "health", "web" }).stdout:find "^ready, up %d+ s")
    assert.truthy(vmctl_({ "console", "web", "--no-follow" }).stdout:find("vmctl-agent: ready", 1, true))
  end)

  it("shows what its console had", function()
    assert.truthy(vmctl_({ "logs", "web" }).stdout:find("vmctl-agent: ready", 1, true))
    local last = vmctl_ { "logs", "web", "--tail", "1" }
    assert.equal(1, select(2, last.stdout:gsub("\n", "")))
    local document = json.decode(vmctl_({ "logs", "--json", "web" }).stdout)
    schema.check(document, schemas.logs)
    assert.equal("web", document.name)
  end)

  it("names the guest in errors, not its socket", function()
    local gone = vmctl_ { "cp", "web:/no/such", folder }
    assert.truthy(gone.stderr:find("web", 1, true))
    assert.is_nil(gone.stderr:find("hybrid:", 1, true))
  end)

  it("offers its name to a shell that completes", function()
    assert.equal("web\n", vmctl_({ "list", "--names" }).stdout)
    local script = [[eval "$(bin/vmctl completion bash)"; vmctl() { bin/vmctl "$@"; }
      COMP_WORDS=(vmctl exec w); COMP_CWORD=2; _vmctl_and_names vmctl w exec; echo "${COMPREPLY[*]}"]]
    local completed = assert(vmctl.host:run { "bash", "-c", script, env = env })
    assert.matches("%f[%w]web%f[%W]", completed.stdout)
  end)

  it("has its health, its list and its screen as JSON", function()
    for name, words in pairs { list = { "list", "--json" }, health = { "health", "--json", "web" },
      ready = { "ready", "--json", "--healthy", "web" }, screenshot = { "screenshot", "--json", "web", folder .. "/json.png" },
      exec = { "exec", "--json", "web", "true" } } do
      schema.check(assert(json.decode(vmctl_(words).stdout)), schemas[name])
    end
  end)

  it("does not let a second guest take the name", function()
    local second = vmctl_ { "run", "--name", "web", "--kernel", guest.kernel, "--initrd", guest.image, "--", "true" }
    assert.equal(125, second.exit_code)
    assert.truthy(second.stderr:find("a guest of that name runs", 1, true))
    assert.equal(0, vmctl_({ "exec", "web", "true" }).exit_code)
  end)

  it("copies files in and out", function()
    local from = folder .. "/tree"
    assert(vmctl.host:run { "sh", "-ec", 'mkdir -p "$1/a"; echo content > "$1/a/file"; chmod 640 "$1/a/file"', "sh", from, check = true })
    local copied = vmctl_ { "cp", from, "web:/tmp/" }
    assert.same({ "", 0 }, { copied.stderr, copied.exit_code })
    local inside = "stat -c %a /tmp/tree/a/file | tr '\\n' ' '; cat /tmp/tree/a/file"
    assert.equal("640 content\n", vmctl_({ "exec", "web", "--", "sh", "-c", inside }).stdout)
    assert.truthy(vmctl_({ "cp", "web:/tmp/tree/a", folder .. "/back" }).stdout:find("1 file, 1 folder,", 1, true))
    assert.equal("content\n", assert(vmctl.host:run { "cat", folder .. "/back/file" }).stdout)
    assert.equal(125, vmctl_({ "cp", "web:/no/such", folder }).exit_code)
  end)

  it("has its monitor asked, and its screen saved", function()
    assert.equal("running", json.decode(vmctl_({ "qmp", "web", "query-status" }).stdout).status)
    local failed = vmctl_ { "qmp", "web", "no-such-command" }
    assert.equal(125, failed.exit_code)
    assert.truthy(failed.stderr:find("no-such-command", 1, true))
    assert.equal(0, vmctl_({ "screenshot", "web", folder .. "/screen.png" }).exit_code)
    assert.equal("\137PNG", assert(io.open(folder .. "/screen.png", "rb")):read(4))
  end)

  it("forwards a socket into it, and counts", function()
    local far = assert(vm_server())
    local forward <close> = assert(vmctl.process.spawn { cli.PROGRAM, "forward", "unix:" .. folder .. "/fw", -- luacheck: ignore
      "web/tcp:127.0.0.1:7007", env = env, stdout = "pipe" })
    assert(forward.stdout:read_line(200, 10))
    local s <close> = assert(vmctl.dial("unix:" .. folder .. "/fw")) -- luacheck: ignore
    assert(s:write "abc\n")
    assert.equal("abc", s:read_line(10, 5))
    s:close()
    forward:kill "TERM"
    assert.truthy(forward.stdout:read_line(300, 5):find "1 connections, %d open, 0 failed; 4 bytes there, 4 back")
    far:close()
  end)

  it("gives a shell: keys, Ctrl-C, the size, the exit code, and the terminal as it was", function()
    if not os.execute "command -v tmux >/dev/null" then return pending "tmux is not installed" end
    local terminal <close> = cli.terminal(folder, env) -- luacheck: ignore
    terminal:type(cli.PROGRAM .. " shell web", "Enter")
    terminal:wait "/ #"
    terminal:type("stty size; echo a$((1+2))b", "Enter")
    terminal:wait "\n20 90\na3b\n"
    terminal:resize(100, 30)
    terminal:type("sleep 0.3; stty size; sleep 1000", "Enter")
    terminal:wait "\n30 100\n"
    terminal:type "C-c"
    terminal:wait "%^C"
    terminal:type("echo sti''ll; exit 5", "Enter")
    terminal:wait "\nstill\n"
    terminal:type("echo rc=$?; stty -a | grep -o '.icanon'", "Enter")
    terminal:wait "rc=5\n icanon\n"
  end)

  it("powers its guest off when it is told to end, and leaves nothing", function()
    program:kill "TERM"
    local record = assert(program:wait(30))
    assert.same({ exit_code = 0 }, { exit_code = record.exit_code, signal = record.signal })
    assert.is_nil(vmctl_({ "list" }).stdout:find "web")
    assert.equal("", vmctl_({ "exec", "host", "--", "ls", folder .. "/vmctl" }).stdout)
  end)

  it("is waited for by name before it has one, and ends by vmctl stop", function()
    local waiting = assert(vmctl.process.spawn { cli.PROGRAM, "ready", "later", "--timeout", tostring(BOOT), env = env, stdout = "pipe" })
    local later = assert(vmctl.process.spawn { cli.PROGRAM, "run", "--name", "later", "--kernel", guest.kernel, "--initrd", guest.image,
      env = env, stdout = "null" })
    assert.equal(0, assert(waiting:wait(BOOT)).exit_code)
    local stopped = vmctl_ { "stop", "--json", "later" }
    schema.check(json.decode(stopped.stdout), schemas.stop)
    assert.same({ 0, "" }, { stopped.exit_code, stopped.stderr })
    assert.equal(0, assert(later:wait(BOOT)).exit_code)
    assert.equal("", vmctl_({ "list", "--names" }).stdout)
  end)

  it("ends its guest and takes its folder away when it is told to end while it boots", function()
    local early = assert(vmctl.process.spawn { cli.PROGRAM, "run", "--name", "early", "--kernel", guest.kernel, "--initrd", guest.image,
      env = env, stdout = "null", stderr = "null" })
    support.eventually(function() return vmctl_({ "list", "--names" }).stdout == "early\n" end)
    local pid = json.decode(vmctl_({ "list", "--json" }).stdout).guests[1].pid
    early:kill "TERM"
    assert.equal(143, assert(early:wait(BOOT)).exit_code)
    assert.is_true(agent.has_ended(pid))
    assert.equal("", vmctl_({ "exec", "host", "--", "ls", folder .. "/vmctl" }).stdout)
  end)

  it("clears away what a killed one has left", function()
    local killed = assert(vmctl.process.spawn { cli.PROGRAM, "run", "--name", "killed", "--kernel", guest.kernel, "--initrd", guest.image,
      env = env, stdout = "null", stderr = "null" })
    support.eventually(function() return vmctl_({ "list", "--names" }).stdout == "killed\n" end)
    local pid = json.decode(vmctl_({ "list", "--json" }).stdout).guests[1].pid
    killed:kill "KILL"
    killed:wait(BOOT)
    support.eventually(function() return agent.has_ended(pid) end)
    local words = { "run", "--name", "other", "--kernel", guest.kernel, "--initrd", guest.image, "--", "true" }
    words.timeout = BOOT
    assert.equal(0, vmctl_(words).exit_code)
    assert.equal("", vmctl_({ "exec", "host", "--", "ls", folder .. "/vmctl" }).stdout)
  end)

  it("runs one command, whose exit code is its own", function()
    local result = vmctl_ { "run", "--kernel", guest.kernel, "--initrd", guest.image, "--", "sh", "-c", "uname -s; exit 6",
      timeout = BOOT }
    assert.same({ "Linux\n", "", 6 }, { result.stdout, result.stderr, result.exit_code })
  end)
end)
