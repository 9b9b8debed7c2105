-- Instances as a person lives with them, in a terminal and side by side, with guests.
-- Takes about 45 seconds.
local assert = require "luassert"
local cli = require "spec.support.cli"
local core = require "vmctl.core"
local foreign_locks = require "vmctl.machine.foreign_locks"
local instances = require "spec.support.instances"
local options = require "vmctl.base.options"
local layers = require "spec.support.layers"
local process = require "vmctl.process"
local roots = require "spec.support.roots"
local support = require "spec.support"
local task = require "vmctl.base.task"

local LIMIT = 300

local function run(fn) return support.run(fn, LIMIT) end

local function user_with_image()
  local user = instances.user()
  assert(core.fs.mkdir(user.folder .. "/little"))
  roots.folder(user.folder .. "/little")
  user:done("image", "import", user.folder .. "/little")
  user:done("create", "web", "--root", "image:little", "--init", "agent", "--memory", "160")
  return user
end

describe("an instance", function()
  it("is created, started, used, stopped and removed by a person, and keeps its disk", run(function()
    if not os.execute "command -v tmux >/dev/null" then return pending "tmux is not installed" end
    local user = user_with_image()
    user:done("rm", "web")
    local terminal <close> = cli.terminal(user.folder, user.env) -- luacheck: ignore
    local function types(words, expected, limit)
      terminal:type("clear; " .. words, "Enter") -- what it says begins on the first line
      return terminal:wait(expected, limit or 100)
    end
    types("vmctl() { bin/vmctl \"$@\"; }; vmctl ps", "^there are no instances %(vmctl create makes one%)\n")
    types("vmctl create web --root image:little --init agent", "^web is created; vmctl start web boots it\n")
    types("vmctl start web", "^web is ready after %d+%.%d s; vmctl shell web, vmctl exec web %-%- COMMAND\n")
    types("vmctl ps", "^NAME +STATE +CREATED +ROOT\nweb +running [^\n]* image:little\n")
    types("vmctl shell web; echo le''ft", "\n/ #")
    types("echo con''tent > /root/file; cat /root/file", "^content\n")
    types("exit", "left\n")
    types("vmctl stop web", "^web\n")
    types("vmctl exec web true", "^vmctl: the instance 'web' does not run %(vmctl start web starts it%)\n")
    types("vmctl start web", "^web is ready after")
    types("vmctl exec web -- cat /root/file", "^content\n")
    types("vmctl rm web", "^vmctl: the instance 'web' runs %(vmctl stop web ends it, vmctl rm %-%-force both%)\n")
    types("vmctl rm -f web; vmctl ps", "^web\nthere are no instances")
    assert.same({}, user:left())
  end))

  it("is reached by its name as any guest: listed, copied to, its console read; and its name is taken", run(function()
    local user = user_with_image()
    user:refused("no guest called 'wbe' runs here (vmctl list shows which do) (did you mean 'web'?)", "exec", "wbe", "true")
    user:refused("there is no instance 'wbe' (did you mean 'web'?)", "start", "wbe")
    local started = user:document("start", "--json", "web").started[1]
    assert.equal("web", started.name)
    assert.same({ { name = "web", pid = started.pid, folder = started.folder } }, user:document("list", "--json").guests)
    assert.equal("web\n", user:done("ps", "--names"))
    user:done("cp", "--no-verify", user.folder .. "/little/etc/os-release", "web:/root/there")
    assert.equal("ID=little\n", user:done("exec", "web", "cat", "/root/there"))
    assert.matches("vmctl%-agent: ready", user:done("logs", "web"))
    user:refused("the instance 'web' runs already", "start", "web")
    user:refused("an instance 'web' is there already (vmctl rm web removes it)", "create", "web", "--root", "image:little")
    user:refused("an instance is called 'web': vmctl start web starts it", "run", "--name", "web", "--", "true")
    assert.equal("ID=little\n", user:lua 'io.write(assert(require("vmctl").instance.open "web"):read_file "/root/there")')
    local memory = user:done("exec", "web", "cat", "/proc/meminfo"):match "MemTotal: +(%d+) kB"
    assert.is_true(tonumber(memory) < 160 << 10, memory)
    user:done("exec", "web", "sync")
    assert.same({ "web" }, user:document("stop", "--json", "web").stopped)
    user:refused("the instance 'web' does not run", "stop", "web")
    assert.same({ web = "stopped" }, user:states())
    assert.same({ "web" }, user:document("rm", "--json", "web").removed)
  end))

  it("is started once, goes on when its starter is killed, and can be stopped while it boots", run(function()
    local user = user_with_image()
    do
      local starter <close> = assert(process.spawn { cli.PROGRAM, "start", "web", env = user.env, stdout = "null", stderr = "null" })
      support.eventually(function() return user:states().web == "starting" end)
      user:refused("the instance 'web' is being started already", "start", "web")
      starter:kill "KILL"
    end
    support.eventually(function() return user:states().web == "running" end)
    user:done("stop", "web")
    local ready = 0
    task.all({ 1, 2, 3 }, function(n)
      if n == 3 then
        support.eventually(function() return user:states().web == "starting" end)
        return user:done("stop", "web")
      end
      if user:vmctl("start", "web").exit_code == 0 then ready = ready + 1 end -- its agent may have answered before it powered off
    end)
    assert.is_true(ready <= 1)
    assert.same({ web = "stopped" }, user:states())
    user:done("rm", "web")
  end))
end)

describe("an instance on a disk", function()
  it("keeps what it writes beside the disk, and does not start while another process writes that", run(function()
    local user = user_with_image()
    local disk = roots.disk(user.folder .. "/little", user.folder .. "/disk")
    local before = assert(core.fs.stat(disk)).changed
    user:done("create", "d", "--root", "disk:" .. disk, "--init", "agent")
    do
      local writer <close> = assert(core.fs.open(disk, true))
      assert(writer:lock(true)) -- as a guest's QEMU holds it
      local busy = ("root: %s: another guest writes it (vmctl list shows which run)"):format(disk)
      user:refused(busy, "create", "e", "--root", "disk:" .. disk)
      user:refused("start d: " .. busy, "start", "d")
      assert.same({ d = "failed", web = "created" }, user:states())
    end
    do
      local foreign <close> = assert(process.spawn { "qemu-io", "-f", "raw", disk, stdin = "pipe", stdout = "null" }) -- luacheck: ignore
      support.eventually(function() return foreign_locks.find(disk) end, "qemu-io's lock")
      local busy = ("root: %s: another process writes it"):format(disk)
      user:refused(busy, "create", "e", "--root", "disk:" .. disk)
      user:refused("start d: " .. busy, "start", "d")
    end
    support.eventually(function() return not foreign_locks.find(disk, true) end, "the end of qemu-io")
    user:done("start", "d")
    user:done("exec", "d", "--", "sh", "-c", "echo content > /root/file; sync")
    user:done("stop", "d")
    assert.equal(before, assert(core.fs.stat(disk)).changed)
    user:done("start", "d")
    assert.equal("content\n", user:done("exec", "d", "--", "cat", "/root/file"))
    user:done("rm", "-f", "d")
    user:refused(("root: stat %s/none: No such file or directory"):format(user.folder), "create", "e", "--root",
      ("disk:%s/none"):format(user.folder))
    assert.same({ "web" }, user:left())
  end))
end)

describe("vmctl run --root docker://", function()
  it("runs the image's command, or another one, in a guest; an instance keeps the image that the registry had", run(function()
    if not os.execute "command -v skopeo >/dev/null && command -v docker-registry >/dev/null" then
      return pending "no skopeo, or no docker-registry"
    end
    local user = instances.user()
    assert(core.fs.mkdir(user.folder .. "/little"))
    roots.folder(user.folder .. "/little")
    local layer = layers.run(user.folder, "tar -C little --owner=0 --group=0 --numeric-owner -cf - .")
    layers.layout(user.folder, { { bytes = layer } }, { Env = { "GREETING=hello" } })
    local server <close>, host = layers.registry(user.folder) -- luacheck: ignore
    local name = "docker://" .. host .. "/some/little:1"
    layers.run(user.folder, ("skopeo copy -q --dest-tls-verify=false oci:oci:t %s"):format(name))
    assert.equal("ID=little\nhello\n", user:done("run", "--root", name, "--", "sh", "-c", "cat /etc/os-release; echo $GREETING"))
    user:done("create", "web", "--root", name)
    local digest = user:document("ps", "--json").instances[1].digest
    assert.equal(digest, user:document("image", "ls", "--json").images[1].digest)
    user:refused(("the image '%s' is used by the instance web"):format(digest:sub(1, 19)), "image", "rm", digest)
    user:done("rm", "web")
  end))
end)

describe("instances of two users", function()
  it("have the same names and do not see each other", run(function()
    if core.fs.identity() ~= 0 then return pending "only root can start programs of two users" end
    local users = { user_with_image(), user_with_image() }
    local one, two = table.unpack(users)
    local id = 61000
    assert(require("vmctl").host:run { "chown", "-R", ("%d:%d"):format(id, id), two.folder, check = true })
    two.before = { "setpriv", ("--reuid=%d"):format(id), ("--regid=%d"):format(id), "--clear-groups" }
    two.env = options.merge(two.env, { HOME = two.folder })
    task.all(users, function(user) user:done("start", "web") end)
    for n, user in ipairs(users) do
      user:done("exec", "web", "--", "sh", "-c", ("echo %d > /root/file"):format(n))
      assert.equal(1, #user:document("ps", "--json").instances)
    end
    for n, user in ipairs(users) do assert.equal(n .. "\n", user:done("exec", "web", "cat", "/root/file")) end
    local stranger = options.merge(two.env, { XDG_DATA_HOME = one.env.XDG_DATA_HOME, XDG_RUNTIME_DIR = one.env.XDG_RUNTIME_DIR })
    local own = two.env
    two.env = stranger
    assert.equal(125, two:vmctl("start", "web").exit_code)
    assert.equal(125, two:vmctl("exec", "web", "true").exit_code)
    two.env = own
    two:done("rm", "-f", "web")
    assert.same({ web = "running" }, one:states())
    one:done("rm", "-f", "web")
  end))
end)

describe("the folder of instances", function()
  it("is this user's alone: one that others may enter, and a link, are refused", run(function()
    local user = instances.user()
    local base = user.env.XDG_DATA_HOME
    assert(core.fs.mkdir(base, 448))
    assert(core.fs.mkdir(base .. "/vmctl", 493))
    local sentence = ("%s/vmctl: not a folder that is this user's alone (mode 0700)"):format(base)
    user:refused(sentence, "create", "web", "--size", "64M")
    user:refused(sentence, "image", "ls")
    assert(core.fs.remove(base .. "/vmctl"))
    assert(core.fs.mkdir(user.folder .. "/elsewhere", 448))
    assert(core.fs.symlink(user.folder .. "/elsewhere", base .. "/vmctl"))
    user:refused(sentence, "create", "web", "--size", "64M")
    user:refused(sentence, "rm", "web")
    assert.same({}, core.fs.list(user.folder .. "/elsewhere"))
  end))
end)
