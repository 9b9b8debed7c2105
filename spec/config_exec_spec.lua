-- Configuration through commands: below a root folder in memory on this machine, where all that it says can be seen. What a
-- control plane does: config_spec.lua.
local assert = require "luassert"
local agent = require "spec.support.agent"
local core = require "vmctl.core"
local lfs = require "lfs"
local reference = require "spec.support.reference"
local support = require "spec.support"
local vmctl = require "vmctl"

local run = support.run
local host, push = vmctl.host, vmctl.config.push

local KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk3+9Vb2gWJwJ3oQ0e6mF8pXn8WkqY6v5c2m9r0Zz1A joe@x"
local OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk3+9Vb2gWJwJ3oQ0e6mF8pXn8WkqY6v5c2m9r0Zz1B joe@y"
local JOE = 65534
local MEMORY = "/dev/shm"
local LIMIT = 10

-- A script with arguments; one that is missing is no empty word, which would stand for / here.
local function sh(script, ...)
  local command = { "sh", "-c", "set -eu\n" .. script, "sh", ... }
  command.check = true
  return (assert(host:run(command)).stdout:gsub("\n$", ""))
end

local is_root = core.fs.identity() == 0
local has_memory = lfs.attributes(MEMORY, "mode") == "directory" and sh("stat -f -c %T " .. MEMORY) == "tmpfs"

-- A body with a root folder that has users.
local function with_root(fn)
  return run(function()
    local root = assert(core.fs.temporary((has_memory and MEMORY or "/tmp") .. "/vmctl-config"))
    local own = core.fs.identity()
    sh([[chmod 755 "$1"; cd "$1"; mkdir -p etc home/joe home/own
printf '%s\n' "own:x:$2:$(id -g)::/home/own:/bin/sh" "joe:x:$3:$3::/home/joe:/bin/sh" 'odd:x:7:7::/nowhere:/bin/sh' > etc/passwd
[ "$2" != 0 ] || chown "$3:$3" home/joe]], root, tostring(own), tostring(JOE))
    local fine, err = xpcall(fn, debug.traceback, root)
    sh('rm -rf "$1"', root)
    if not fine then error(err, 0) end
  end, LIMIT)
end

local function look(path)
  return sh('stat -c "%a %u" "$1" && cat "$1"', path)
end

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  file:write(text)
end

local function changes(report)
  local list = {}
  for i, step in ipairs(report.steps) do list[i] = ("%s %s %s %s"):format(step.kind, step.name, step.changed, step.via) end
  return list
end

-- Nothing is left beside what was written.
local function no_rest(root)
  assert.equal("", sh('find "$1" -name "*.vmctl-*"', root))
end

describe("vmctl.config.push through commands", function()
  it("makes all of it, and changes nothing the second time", with_root(function(root)
    if not has_memory then return pending "no /dev/shm in memory" end
    local set = {
      files = { ["/etc/motd"] = "hello\n" }, secrets = { API_KEY = "s3cret" }, ssh_keys = { own = KEY }, config = "a = 1\n",
    }
    local report = assert(push(host, set, { root = root }))
    assert.is_true(report.changed)
    assert.same({ "file /etc/motd true exec", "ssh_key own true exec", "secret API_KEY true exec", "config jcard.toml true exec" },
      changes(report))
    local own = core.fs.identity()
    assert.equal(("644 %d\nhello"):format(own), look(root .. "/etc/motd"))
    assert.equal(("600 %d\n%s"):format(own, KEY), look(root .. "/home/own/.ssh/authorized_keys"))
    assert.equal(("600 %d\ns3cret"):format(own), look(root .. "/run/stereos/secrets/API_KEY"))
    assert.equal(("644 %d\na = 1"):format(own), look(root .. "/etc/stereos/jcard.toml"))
    assert.equal("700", sh('stat -c %a "$1"/run/stereos/secrets', root))
    local before = sh('cd "$1" && find . -type f -exec stat -c "%n %i" {} + | sort', root)
    report = assert(push(host, set, { root = root }))
    assert.is_false(report.changed)
    assert.same({ "file /etc/motd false exec", "ssh_key own false exec", "secret API_KEY false exec",
      "config jcard.toml false exec" }, changes(report))
    assert.equal(before, sh('cd "$1" && find . -type f -exec stat -c "%n %i" {} + | sort', root))
    no_rest(root)
  end))

  it("writes any bytes, from memory or from a file here", with_root(function(root)
    local bytes = {}
    for i = 0, 255 do bytes[i + 1] = string.char(i) end
    local all = table.concat(bytes):rep(2000)
    write(root .. "/source", all)
    assert(push(host, { files = { { path = "/a/b/one", content = all }, { path = "/two", source = root .. "/source" },
      ["/empty"] = "" } }, { root = root }))
    for _, path in ipairs { "/a/b/one", "/two" } do assert.equal(all, host:read_file(root .. path)) end
    assert.equal("", host:read_file(root .. "/empty"))
    assert.equal("755", sh('stat -c %a "$1"', root .. "/a/b"))
  end))

  it("sees a change of content, mode and owner alone", with_root(function(root)
    local function pushed(file)
      file.path = "/f"
      return assert(push(host, { files = { file } }, { root = root })).changed
    end
    assert.is_true(pushed { content = "a" })
    assert.is_false(pushed { content = "a" })
    assert.is_true(pushed { content = "b" })
    assert.is_true(pushed { content = "b", mode = 416 })
    assert.is_false(pushed { content = "b", mode = 416 })
    assert.is_true(pushed { content = "c" })
    assert.equal("640", sh('stat -c %a "$1"/f', root)) -- kept
    if not is_root then return end
    assert.is_true(pushed { content = "c", owner = ("%d:%d"):format(JOE, JOE) })
    assert.is_false(pushed { content = "c", owner = tostring(JOE) })
    assert.is_true(pushed { content = "d" })
    assert.equal("640 " .. JOE, sh('stat -c "%a %u" "$1"/f', root)) -- kept as well
  end))

  it("puts a file in a link's place, not through it", with_root(function(root)
    write(root .. "/victim", "safe")
    sh('ln -s victim "$1"/link', root)
    assert(push(host, { files = { ["/link"] = "new" } }, { root = root }))
    assert.equal("safe", host:read_file(root .. "/victim"))
    assert.equal("regular file", sh('stat -c %F "$1"/link', root))
  end))

  it("names the step that failed, and leaves nothing half done", with_root(function(root)
    sh('mkdir -p "$1"/folder', root)
    local nothing, err, code, report = push(host, { files = { ["/a"] = "1", ["/folder"] = "2" }, config = "x = 1" }, { root = root })
    assert.is_nil(nothing)
    assert.equal(("push configuration to host: file /folder: %s/folder is not a regular file"):format(root), err)
    assert.equal("EREMOTE", code)
    assert.same({ "file /a true exec" }, changes(report))
    assert.same({ kind = "file", name = "/folder", message = err:match "/folder: (.*)", code = "EREMOTE" }, report.failed)
    assert.matches("^configuration of host: failed\n  file /a: changed %(exec, %d+ ms%)\n  file /folder: failed: ", tostring(report))
    assert.is_nil(lfs.attributes(root .. "/etc/stereos"))
    no_rest(root)
  end))

  it("refuses a source that is a FIFO, and waits for nobody at its other end", with_root(function(root)
    assert(os.execute(("mkfifo %s/fifo"):format(root)))
    local _, err, code = push(host, { files = { ["/f"] = { source = root .. "/fifo" } } }, { root = root })
    assert.equal("EINVAL", code)
    assert.is_truthy(err:find("fifo: not a regular file", 1, true))
  end))

  it("does not take half a source for the whole", with_root(function(root)
    write(root .. "/source", "12345")
    write(root .. "/f", "old")
    local client = setmetatable({}, { __index = host })
    function client.run(_, command) -- between the check and the reading
      if command.stdin then write(root .. "/source", "123") end
      return host:run(command)
    end
    local _, err = push(client, { files = { ["/f"] = { source = root .. "/source" } } }, { root = root })
    assert.matches("only 3 of 5 bytes came", err)
    assert.equal("old", host:read_file(root .. "/f"))
    no_rest(root)
  end))

  it("gives a user his keys as himself", with_root(function(root)
    if not is_root then return pending "needs root" end
    assert(push(host, { ssh_keys = { joe = { KEY, OTHER_KEY } } }, { root = root }))
    assert.equal(("600 %d\n%s\n%s"):format(JOE, KEY, OTHER_KEY), look(root .. "/home/joe/.ssh/authorized_keys"))
    assert.equal("700 " .. JOE, sh('stat -c "%a %u" "$1"/home/joe/.ssh', root))
    assert.is_true(assert(push(host, { ssh_keys = { joe = KEY } }, { root = root })).changed)
    assert.equal(("600 %d\n%s"):format(JOE, KEY), look(root .. "/home/joe/.ssh/authorized_keys"))
    sh('chmod 755 "$1"/home/joe/.ssh', root)
    assert.is_true(assert(push(host, { ssh_keys = { joe = KEY } }, { root = root })).changed)
    assert.equal("700", sh('stat -c %a "$1"/home/joe/.ssh', root))
  end))

  it("follows no links to the keys", with_root(function(root)
    sh('mkdir "$1"/elsewhere; ln -s ../../elsewhere "$1"/home/own/.ssh', root)
    local _, err = push(host, { ssh_keys = { own = KEY } }, { root = root })
    assert.matches("ssh_key own: .*/home/own/.ssh is a link$", err)
    assert.equal("", sh('ls "$1"/elsewhere', root))
    sh('rm "$1"/home/own/.ssh; mkdir -m 700 "$1"/home/own/.ssh; ln -s /etc/passwd "$1"/home/own/.ssh/authorized_keys', root)
    _, err = push(host, { ssh_keys = { own = KEY } }, { root = root })
    assert.matches("authorized_keys is a link$", err)
  end))

  it("knows users by name alone, and their homes", with_root(function(root)
    assert.matches("ssh_key nobody_here: there is no user 'nobody_here'$",
      (select(2, push(host, { ssh_keys = { nobody_here = KEY } }, { root = root }))))
    assert.matches("ssh_key odd: ", (select(2, push(host, { ssh_keys = { odd = KEY } }, { root = root }))))
    assert.is_nil(lfs.attributes(root .. "/nowhere"))
  end))

  it("refuses to put secrets on a disk", run(function()
    local root = support.tmpdir()
    if sh('stat -f -c %T "$1"', root) == "tmpfs" then return pending "the temporary folder is in memory" end
    local tools = support.tmpdir()
    write(tools .. "/mount", "#!/bin/sh\necho not today >&2; exit 1\n")
    sh('chmod 755 "$1"/mount', tools)
    local client = setmetatable({}, { __index = host })
    function client.run(_, command)
      command.env = { PATH = tools .. ":" .. os.getenv "PATH" }
      return host:run(command)
    end
    local _, err, code = push(client, { secrets = { TOKEN = "hush-hush" } }, { root = root })
    assert.matches("secret TOKEN: .*/run/stereos/secrets is on a disk %(%w+%), and no memory file system could be mounted there: "
      .. "not today$", err)
    assert.equal("EREMOTE", code)
    assert.equal("", sh('find "$1" -type f', root))
  end, LIMIT))

  it("puts no content on a command line", with_root(function(root)
    if not has_memory then return pending "no /dev/shm in memory" end
    local seen = {}
    local client = setmetatable({}, { __index = host })
    function client.run(_, command)
      for _, word in ipairs(command) do seen[#seen + 1] = word end
      for name, value in pairs(command.env or {}) do seen[#seen + 1] = name .. value end
      return host:run(command)
    end
    assert(push(client, { secrets = { A = "hush-hush" }, files = { ["/f"] = "private" }, config = "b = 1" }, { root = root }))
    local words = table.concat(seen, "\n")
    for _, content in ipairs { "hush-hush", "private", "b = 1" } do assert.is_nil(words:find(content, 1, true)) end
  end))

  it("reads what is mounted, and does not go by links", with_root(function(root)
    sh('ln -s /etc "$1"/data', root)
    local mount = { tag = "share0", guest_path = "/data/x", fs_type = "9p" }
    local _, err = push(host, { mounts = { mount } }, { root = root })
    assert.matches("mount /data/x: .*/data leads to /etc: nothing is mounted by way of links$", err)
    local client = setmetatable({}, { __index = host })
    local mounts, asked = "", nil
    function client.run(_, command)
      if command[3]:find("mountinfo", 1, true) then return { exit_code = 0, stdout = mounts, stderr = "" } end
      if not command[3]:find("mount -t", 1, true) then return host:run(command) end
      asked = { table.unpack(command, 5) }
      return { exit_code = 0, stdout = "", stderr = "" }
    end
    mount.guest_path, mount.read_only = "/mnt//a b/", true
    assert.is_true(assert(push(client, { mounts = { mount } }, { root = root })).changed)
    assert.same({ root .. "/mnt/a b", "9p", "ro,nosuid,nodev,trans=virtio,version=9p2000.L", "share0" }, asked)
    asked, mounts = nil, ("40 1 0:9 / %s/mnt/a\\040b ro,nosuid - 9p share0 ro,trans=virtio\n"):format(root)
    assert.is_false(assert(push(client, { mounts = { mount } }, { root = root })).changed)
    mount.tag = "other"
    local code
    _, err, code = push(client, { mounts = { mount } }, { root = root })
    assert.matches("mount /mnt/a b: 'share0' %(9p, read%-only%) is mounted there$", err)
    assert.equal("EBUSY", code)
    assert.is_nil(asked)
  end))

  it("compares with dry_run, and changes nothing", with_root(function(root)
    local set = { files = { ["/x/y"] = { content = "new\n", mode = 416 }, ["/x/z"] = "same\n" }, config = "a = 1\n" }
    local function would(which)
      local report = assert(push(vmctl.host, set, { root = root, dry_run = true }))
      assert.is_true(report.planned)
      local list = {}
      for _, step in ipairs(report.steps) do list[#list + 1] = step.changed end
      assert.same(which, list)
      assert.equal(report.changed, list[1] or list[2] or list[3])
      return tostring(report)
    end
    assert.matches("file /x/y: would change", (would { true, true, true }))
    assert.is_nil(lfs.attributes(root .. "/x"))
    assert(push(vmctl.host, set, { root = root }))
    assert.matches("file /x/y: as it is", (would { false, false, false }))
    assert(os.execute(("chmod 644 '%s/x/y'"):format(root)))
    set.files["/x/z"] = "other\n"
    would { true, true, false }
  end))

  it("works on the agent program", with_root(function(root)
    if not has_memory then return pending "no /dev/shm in memory" end
    agent.program(function(client)
      local set = { files = { ["/x/y"] = ("z"):rep(300000) }, secrets = { A = "hush-hush" } }
      assert.is_true(assert(push(client, set, { root = root })).changed)
      assert.is_false(assert(push(client, set, { root = root })).changed)
      assert.equal(300000, lfs.attributes(root .. "/x/y", "size"))
    end)
  end))

  it("works on the reference's agents; where commands have no input, secrets are refused", with_root(function(root)
    if not has_memory then return pending "no /dev/shm in memory" end
    reference.serve("0.2", function(address, far)
      local client = assert(vmctl.exec.client(address))
      local set = { files = { ["/f"] = "text\n" }, secrets = { A = "hush-hush" } }
      assert.is_true(assert(push(client, set, { root = root })).changed)
      assert.is_false(assert(push(client, set, { root = root })).changed)
      local encoded = core.base64_encode "hush-hush"
      for _, message in ipairs(far.seen) do
        local text = tostring(message[2] or message.payload)
        assert.is_nil(text:find("command", 1, true) and (text:find("hush%-hush") or text:find(encoded, 1, true)))
      end
    end)
    reference.serve("0.1.9", function(address)
      local client = assert(vmctl.exec.client(address))
      assert.is_true(assert(push(client, { files = { ["/g"] = "text\n" }, ssh_keys = { own = KEY } }, { root = root })).changed)
      assert.equal("text\n", host:read_file(root .. "/g"))
      local _, err, code = push(client, { secrets = { B = "hush-hush" } }, { root = root })
      assert.equal("ENOTSUP", code)
      assert.matches("secret B: this agent gives commands no input", err)
    end)
  end))

  it("ends with its time", with_root(function(root)
    local client = setmetatable({}, { __index = host })
    function client.run(_, command)
      return host:run { "sleep", "60", timeout = command.timeout }
    end
    local _, err, code = push(client, { files = { ["/f"] = "x" } }, { root = root, timeout = 0.2 })
    assert.equal("ETIMEDOUT", code)
    assert.matches("^push configuration to host: file /f: ", err)
  end))
end)
