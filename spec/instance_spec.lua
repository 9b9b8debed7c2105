-- vmctl.instance: what an instance is made of, as it is written down for a process that is started elsewhere.
-- Also in asan, debian13, i386: it starts no guest, though its support files can.
local assert = require "luassert"
local core = require "vmctl.core"
local instances = require "spec.support.instances"
local json = require "vmctl.json"
local support = require "spec.support"
local task = require "vmctl.base.task"
local vmctl = require "vmctl"

local instance = vmctl.instance

local function spec_of(user, name)
  return assert(json.decode(assert(core.fs.read(("%s/vmctl/instances/%s/spec.json"):format(user.env.XDG_DATA_HOME, name), 1 << 16))))
end

describe("vmctl.instance", function()
  it("writes down its options with absolute paths, whatever the folder of who starts it", support.run(function()
    local user = instances.user()
    assert(core.fs.replace(user.folder .. "/disk", ("\0"):rep(1 << 20)))
    local created = vmctl.host:run { core.fs.real "bin/vmctl", "create", "web", "--root", "disk:disk#2", "--share", "sub:/src:ro", "-p",
      "8080:80", "--memory", "1G", "--init", "/bin/sh -x", "--kernel", "k", env = user.env, cwd = user.folder, check = true }
    assert.equal("web is created; vmctl start web boots it\n", assert(created).stdout)
    local spec = spec_of(user, "web")
    assert.same({ "disk:" .. user.folder .. "/disk#2", "disk:disk#2" }, { spec.root.what, spec.root.from })
    assert.same({ shares = { { host = user.folder .. "/sub", guest = "/src", read_only = true } }, ports = { "8080:80" }, memory = "1G",
      init = { "/bin/sh", "-x" }, kernel = user.folder .. "/k", network = "user" }, spec.options)
    user:done("create", "small", "--size", "64M")
    assert.same({ from = "empty, 64M", size = "64M" }, spec_of(user, "small").root)
    assert.same({ small = "created", web = "created" }, user:states())
  end, 60))

  it("is created once and removed once when several do it at a time", support.run(function()
    local user = instances.user()
    for _, words in ipairs { { "an instance 'web' is there already (vmctl rm web removes it)", "create", "web", "--size", "64M" },
      { "there is no instance 'web'", "rm", "web" } } do
      local said = {}
      task.all({ 1, 2, 3, 4 }, function(n) said[n] = instances.sentence(user:vmctl(table.unpack(words, 2))) end)
      table.sort(said)
      local lost = "vmctl: " .. words[1]
      assert.same({ "", lost, lost, lost }, said)
    end
    assert.same({}, user:left())
  end, 60))

  it("raises for what is not of instances, and refuses what cannot keep anything", support.run(function()
    for name, value in pairs { nics = {}, fds = {}, initrd = "i", name = "n", on = "ssh:a" } do
      local ok, err = pcall(instance.create, "web", { root = { size = "64M" }, [name] = value })
      assert.same({ false, true }, { ok, err:find(("instance.create: the option '%s' is not of instances"):format(name), 1, true) ~= nil })
    end
    local user = instances.user()
    assert(core.fs.mkdir(user.folder .. "/src"))
    assert(core.fs.replace(user.folder .. "/src/a.c", "int main"))
    local root = ("dir:%s/src"):format(user.folder)
    user:refused(("root %s: it is no root file system: no file in it is a program, and so nothing could run (its top: a.c)"):format(root),
      "create", "web", "--root", root)
    for _, words in ipairs { {}, { "--root", "dir:/none" }, { "--root", "nothing" }, { "--size", "64M", "--writes", "through" } } do
      local failed = user:document("create", "--json", "web", table.unpack(words))
      assert.is_truthy(failed.error.message ~= "" and (failed.error.code == "EINVAL" or failed.error.code == "ENOENT"))
    end
    for _, name in ipairs { "a/b", "", ".a", "host", ("a"):rep(41), "a b" } do
      assert.equal("EINVAL", user:document("create", "--json", "--size", "64M", "--", name).error.code, name)
    end
    assert.same({}, user:left())
    for _, keep in ipairs { { "discard" }, { "keep", "/file" } } do
      assert.equal("EINVAL", support.code(instance.create("web", { root = { size = "64M", keep = keep[2] }, writes = keep[1] })))
    end
  end, 60))
end)
