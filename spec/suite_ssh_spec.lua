-- `vmctl test --on ssh:…` by GNU parallel, on hosts with a real sshd each (`make test-ssh`) that share no folder with the suite: each
-- file is in the report once, whatever dies, and nothing is left behind.
-- Takes about 30 seconds.
local assert = require "luassert"
local cjson = require "cjson"
local cli = require "spec.support.cli"
local core = require "vmctl.core"
local ssh_hosts = require "spec.support.ssh_hosts"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 240

local QUICK = [[describe("quick", function() it("says where", function()
  print("on " .. io.popen "hostname -I; ip -4 -o addr show eth0":read "a":match "(10%.213%.%d+%.%d+)/")
end) end)]]
local BAD = [[describe("bad", function() it("leaves a file", function()
  local folder = os.getenv "VMCTL_ARTEFACTS"
  os.execute("mkdir -p " .. folder .. "/bad_leaves_a_file; echo why > " .. folder .. "/bad_leaves_a_file/note")
  error "why"
end) end)]]
-- It lasts until the host has a file; its process is seen there.
local HELD = [[describe("held", function() it("waits", function()
  while not io.open "/root/go" do os.execute "exec sleep 0.05" end
end) end)]]

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  assert(file:write(text))
end

local function as_task(fn) return support.shared(fn, LIMIT) end

it("vmctl test --on ssh needs GNU parallel, and says so", support.run(function()
  local folder = support.tmpdir()
  write(folder .. "/one_spec.lua", QUICK)
  local program, lua = core.fs.real(cli.PROGRAM), io.popen "command -v lua5.4":read "l"
  local result = assert(vmctl.host:run { lua, program, "test", "--on", "ssh:a", "one_spec.lua", cwd = folder, timeout = 60,
    env = { PATH = folder } })
  assert.equal(125, result.exit_code)
  assert.truthy(result.stderr:find("GNU parallel does it, which is not here", 1, true), result.stderr)
  for _, place in ipairs { "ssh:", "ssh:-oProxyCommand=x", "moon" } do
    assert.equal(125, cli.run({ "test", "--on", place, folder }).exit_code)
  end
end, LIMIT))

describe("vmctl test --on ssh #ssh", function()
  local hosts, root
  lazy_setup(function()
    root = support.tmpdir()
    hosts = ssh_hosts.start(3, { hide = { root } })
  end)
  lazy_teardown(function() if hosts then hosts:close() end end)

  local number = 0
  local function suite(files)
    number = number + 1
    local folder = ("%s/%d"):format(root, number)
    assert(core.fs.mkdir(folder))
    assert(core.fs.mkdir(folder .. "/specs"))
    for name, text in pairs(files) do write(("%s/specs/%s_spec.lua"):format(folder, name), text) end
    return folder
  end

  local function start(folder, ...)
    local words = { core.fs.real(cli.PROGRAM), "test", "--on", "ssh:h1,h2,h3", "--json", "--artefacts", "out", ... }
    words.cwd, words.env = folder, hosts:environment()
    words.stdin, words.stdout, words.stderr = "null", "pipe", "inherit"
    return assert(vmctl.process.spawn(words))
  end

  local function finish(program)
    local parts = {}
    for bytes in function() return (program.stdout:read(1 << 16, LIMIT)) end do
      if bytes == "" then break end
      parts[#parts + 1] = bytes
    end
    local record = assert(program:wait(LIMIT))
    return cjson.decode(table.concat(parts)), record.exit_code
  end

  local function nothing_is_left()
    for _, host in ipairs(hosts) do
      support.eventually(function() return #host:processes() == 0 end)
      assert.equal("", host:run("sh", "-c", "ls -A /root | grep vmctl; true"))
    end
  end

  local function is_held(host)
    for _, line in ipairs(host:processes()) do
      if line:find("busted", 1, true) then return true end
    end
  end

  it("runs files on all hosts, each once, and brings results and artefacts back", as_task(function()
    local files = { bad = BAD }
    for i = 1, 11 do files["f" .. i] = QUICK end
    local folder = suite(files)
    local document, code = finish(start(folder, "specs"))
    assert.same({ 1, 11, 1, 12 }, { code, document.passed, document.failed, #document.files })
    local places, count = {}, 0
    for _, file in ipairs(document.files) do
      local where = file.output:match "on (%S+)"
      if where and not places[where] then places[where], count = true, count + 1 end
    end
    assert.equal(3, count)
    local bad = document.files[1].tests[1]
    assert.equal("out/specs_bad_spec.lua/bad_leaves_a_file", bad.artefacts)
    local note <close> = assert(io.open(folder .. "/" .. bad.artefacts .. "/note")) -- luacheck: ignore
    assert.equal("why\n", note:read "a")
    nothing_is_left()
  end))

  it("leaves out a host that does not answer, and fails where none does", as_task(function()
    local folder = suite { one = QUICK }
    local document, code = finish(start(folder, "specs", "--on", "ssh:none.invalid,h2"))
    assert.same({ 0, 1 }, { code, document.passed })
    document, code = finish(start(folder, "specs", "--on", "ssh:none.invalid"))
    assert.same({ 125, "EHOSTUNREACH" }, { code, document.error.code })
  end))

  it("runs files elsewhere whose host died", as_task(function()
    local folder = suite { held = HELD, one = QUICK }
    local program <close> = start(folder, "specs")
    local dead
    support.eventually(function()
      for i, host in ipairs(hosts) do if is_held(host) then dead = i end end
      return dead
    end)
    hosts[dead]:kill()
    for i, host in ipairs(hosts) do if i ~= dead then host:run("touch", "/root/go") end end
    local document, code = finish(program)
    assert.same({ 0, 2, 0, 2 }, { code, document.passed, document.failed, #document.files })
    hosts[dead]:start()
    for _, host in ipairs(hosts) do host:run("rm", "-f", "/root/go") end
    nothing_is_left()
  end))

  it("ends all when it is interrupted", as_task(function()
    local folder = suite { held = HELD }
    local program <close> = start(folder, "specs")
    support.eventually(function()
      for _, host in ipairs(hosts) do if is_held(host) then return true end end
    end)
    program:kill("INT", true)
    local document, code = finish(program)
    assert.same({ 130, "it was ended" }, { code, document.files[1].ended })
    nothing_is_left()
  end))
end)
