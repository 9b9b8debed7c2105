-- Failures that a beginner meets: each says what to do next.
-- Takes about 10 seconds.
local assert = require "luassert"
local lfs = require "lfs"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 120
local TOP = lfs.currentdir()
local host = vmctl.host

local function run(argv, env)
  argv = { "env", "-u", "VMCTL_KERNEL", "-u", "VMCTL_INITRD", table.unpack(argv) }
  argv.env = { LUA_PATH = package.path:gsub("%f[^;\0]%./", TOP .. "/"), LUA_CPATH = package.cpath:gsub("%f[^;\0]%./", TOP .. "/") }
  for name, value in pairs(env or {}) do argv.env[name] = value end
  argv.timeout, argv.cwd = LIMIT, TOP
  return assert(host:run(argv))
end

local function vmctl_(words, env) return run({ "lua5.4", TOP .. "/bin/vmctl", table.unpack(words) }, env) end

-- Runs a program that requires vmctl, and returns its output: the message of its failure.
local function lua(program, env, interpreter)
  local done = run({ interpreter or "lua5.4", "-e", program }, env)
  assert.equal(0, done.exit_code, done.stderr)
  return done.stdout
end

-- A failure of vmctl's, whose last line says what to do.
local function assert_hint(done, message, hint)
  assert.equal(125, done.exit_code, done.stderr)
  local said, advice = done.stderr:match "^vmctl: (.*)\n  %-> ([^\n]*)\n$"
  assert(said, done.stderr)
  assert.matches(message, said)
  assert.matches(hint, advice)
end

-- Root may do everything: a command by a user who may not.
local function as_somebody(argv)
  if require("vmctl.core").fs.identity() ~= 0 then return argv end
  return { "setpriv", "--reuid", "65534", "--clear-groups", table.unpack(argv) }
end

-- A folder with links to some programs: a PATH of its own.
local function path_with(names)
  local folder = support.tmpdir()
  for name in names:gmatch "%S+" do
    assert(host:run { "sh", "-c", 'ln -s "$(command -v "$1")" "$2/"', "sh", name, folder, check = true })
  end
  return folder
end

local function find_finding(program_head, name)
  return lua(program_head .. ([[
    for _, each in ipairs(require("vmctl.doctor").check()) do
      if each.name == %q then print(tostring(each.ok), each.detail, each.advice) end
    end]]):format(name))
end

describe("a machine", function()
  it("without QEMU", support.run(function()
    local done = vmctl_({ "run", "--kernel", TOP .. "/Makefile", "--initrd", TOP .. "/Makefile", "--", "true" },
      { PATH = path_with "sh env lua5.4 uname" })
    assert_hint(done, "start qemu%-system%-[%w_]+: No such file",
      "^QEMU is missing: apt install qemu%-system%-x86, or what docs/start%.md says")
  end, LIMIT))

  it("without KVM, or with one that this user may not use", support.run(function()
    local head = 'require("vmctl.machine.host_devices").KVM = %q '
    local seen = find_finding(head:format "/nonexistent/kvm", "KVM")
    assert.matches("^false\t/nonexistent/kvm is not there\tturn virtualisation on .*without it guests are emulated", seen)
    local folder = support.tmpdir()
    assert(host:run { "sh", "-c", 'chmod 755 "$1"; : >"$1/kvm"; chmod 000 "$1/kvm"', "sh", folder, check = true })
    local program = head:format(folder .. "/kvm") .. [[
      for _, each in ipairs(require("vmctl.doctor").check()) do
        if each.name == "KVM" then print(tostring(each.ok), each.advice) end
      end]]
    local argv = as_somebody { "lua5.4", "-e", program }
    assert.equal("false\tlet this user read and write it: adduser USER kvm\n", run(argv).stdout)
  end, LIMIT))

  it("whose KVM is asked for in vain", function()
    local hints = require "vmctl.cli.hints"
    assert.matches("^there is no KVM here: leave out %-%-accel kvm",
      hints.of("Could not access KVM kernel module: No such file or directory", "ERESET"))
    assert.matches("adduser USER kvm", hints.of("Could not access KVM kernel module: Permission denied", "ERESET"))
    assert.is_nil(hints.of("something else", "EOF"))
  end)
end)

describe("a checkout", function()
  it("without a kernel, and without an image", support.run(function()
    local folder = support.tmpdir()
    assert(host:run { "ln", "-s", TOP .. "/lua", folder .. "/lua", check = true })
    assert(host:run { "mkdir", "-p", folder .. "/build/kernel", check = true })
    local env = { LUA_PATH = ("%s/lua/?.lua;%s/lua/?/init.lua"):format(folder, folder) }
    local program = 'print(select(2, require "vmctl".machine.launch {}))'
    local advice = "name kernel and initrd, set VMCTL_KERNEL and VMCTL_INITRD, or run `make guest` in a checkout\tENOENT\n"
    assert.equal("launch: no kernel: " .. advice, lua(program, env))
    assert(host:write_file(folder .. "/build/kernel/vmlinuz", "kernel"))
    assert.equal("launch: no guest image: " .. advice, lua(program, env))
  end, LIMIT))

  it("without a static busybox", support.run(function()
    local seen = lua(([[
      require("vmctl.machine.host_devices").BUSYBOX = { "/nonexistent/busybox" }
      print(select(2, require("vmctl").machine.image.build { output = %q, agent = "Makefile" }))]]):format(support.tmpdir() .. "/image"))
    assert.equal("image: read busybox (Debian's package busybox-static) /nonexistent/busybox: No such file or directory\tENOENT\n", seen)
  end, LIMIT))

  it("that is not built, or not found", support.run(function()
    local seen = lua('print(select(2, pcall(require, "vmctl")))', { LUA_CPATH = support.tmpdir() .. "/?.so" })
    assert.matches('^vmctl%.core is not found: in a checkout, make, and eval "%$%(make %-s env%)"', seen)
  end, LIMIT))
end)

describe("Lua", function()
  it("of another version", support.run(function()
    local seen = lua('print((select(2, pcall(require, "vmctl"))))', nil, "lua5.1")
    assert.matches("^vmctl needs Lua 5%.4, and this is Lua 5%.1: start the script with lua5%.4", seen)
  end, LIMIT))

  it("without lua-cjson, or with another module of that name", support.run(function()
    local folder = support.tmpdir()
    local env = { LUA_PATH = folder .. "/?.lua;" .. package.path:gsub("%f[^;\0]%./", TOP .. "/") }
    local program = 'print((select(2, pcall(require, "vmctl.json"))))'
    local advice = "install lua%-cjson %(Debian, Ubuntu%), or: luarocks %-%-lua%-version 5%.4 install lua%-cjson\n$"
    assert(host:write_file(folder .. "/cjson.lua", "return {}"))
    assert.matches(("^vmctl needs lua%%-cjson, and %s/cjson%%.lua is another module of that name: %s"):format(folder:gsub("%p", "%%%0"),
      advice), lua(program, env))
    assert(host:write_file(folder .. "/cjson.lua", "error 'not here'"))
    assert.matches("^vmctl needs lua%-cjson, and it is not here: " .. advice, lua(program, env))
  end, LIMIT))
end)

describe("a command", function()
  it("whose port is in use", support.run(function()
    local listener <close> = assert(vmctl.listen "tcp:127.0.0.1:0")
    local done = vmctl_ { "forward", tostring(listener:address()), "tcp:127.0.0.1:1" }
    assert_hint(done, "listen tcp:127%.0%.0%.1:%d+: Address already in use$",
      "^another program has this address: .* port 0 is any free one$")
  end, LIMIT))

  it("whose disk is full", support.run(function()
    local folder = support.tmpdir()
    local done = run { "unshare", "--map-root-user", "--mount", "sh", "-c", [[
      mount -t tmpfs -o size=40k none "$1" && dd if=/dev/zero of="$1/full" 2>/dev/null
      exec lua5.4 bin/vmctl cp README.md "host:$1/copy"]], "sh", folder }
    assert_hint(done, "No space left on device", "^free some room, or name another place: TMPDIR ")
  end, LIMIT))

  it("whose file this user may not write", support.run(function()
    local folder = support.tmpdir()
    assert(host:run { "sh", "-c", 'chmod 555 "$1"', "sh", folder, check = true })
    local argv = as_somebody { "lua5.4", "bin/vmctl", "forward", "unix:" .. folder .. "/socket", "tcp:127.0.0.1:1" }
    assert_hint(run(argv), "Permission denied", "^this user may not: look at the owner and the mode")
  end, LIMIT))
end)
