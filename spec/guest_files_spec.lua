-- set_config and inject_secret in a guest: where the files are, how they come there, and what is refused.
local assert = require "luassert"
local core = require "vmctl.core"
local guest = require "spec.support.guest_root"
local process = require "vmctl.process"
local support = require "spec.support"

local fs, run = core.fs, support.run
local done, refused = guest.assert_done, guest.assert_refused

describe("set_config", function()
  it("writes the file, readable for all, and makes its folder", run(function()
    local handlers, _, root = guest.handlers()
    done(true, handlers.set_config { content = "a = 1\n" })
    local path = root .. "/etc/stereos/jcard.toml"
    assert.equal("a = 1\n", guest.content(path))
    assert.equal(420, fs.stat(path).mode)
    assert.equal(493, fs.stat(root .. "/etc/stereos").mode)
    assert.same({ "jcard.toml" }, fs.list(root .. "/etc/stereos"))
  end))

  it("does not touch a file that is so already", run(function()
    local handlers, _, root = guest.handlers()
    done(true, handlers.set_config { content = "same" })
    local before = fs.stat(root .. "/etc/stereos/jcard.toml")
    done(false, handlers.set_config { content = "same" })
    assert.same(before, fs.stat(root .. "/etc/stereos/jcard.toml"))
    done(true, handlers.set_config { content = "sAme" })
    done(true, handlers.set_config { content = "" })
    assert(fs.chmod(root .. "/etc/stereos/jcard.toml", 384))
    done(true, handlers.set_config { content = "" })
    assert.equal(420, fs.stat(root .. "/etc/stereos/jcard.toml").mode)
  end))

  it("gives each reader the old file or the new one as a whole", run(function()
    local handlers, _, root = guest.handlers()
    done(true, handlers.set_config { content = "old" })
    local reader <close> = assert(io.open(root .. "/etc/stereos/jcard.toml"))
    done(true, handlers.set_config { content = "new" })
    assert.equal("old", reader:read "a")
    assert.equal("new", guest.content(root .. "/etc/stereos/jcard.toml"))
  end))

  it("puts a file in the place of a link, and leaves alone what that led to", run(function()
    local handlers, _, root = guest.handlers()
    assert(fs.mkdir(root .. "/etc/stereos"))
    assert(fs.replace(root .. "/elsewhere", "precious"))
    assert(fs.symlink(root .. "/elsewhere", root .. "/etc/stereos/jcard.toml"))
    done(true, handlers.set_config { content = "config" })
    assert.equal("precious", guest.content(root .. "/elsewhere"))
    assert.equal("file", fs.stat(root .. "/etc/stereos/jcard.toml", true).type)
  end))

  it("fails with the path where a folder is in the file's place, and leaves nothing", run(function()
    local handlers, _, root = guest.handlers { config_path = "/srv/config" }
    assert(fs.folders("/", root .. "/srv/config"))
    refused("EISDIR", "/srv/config", handlers.set_config { content = "config" })
    assert.same({ "config" }, fs.list(root .. "/srv"))
    assert(fs.replace(root .. "/file", ""))
    refused("ENOTDIR", "/file", guest.handlers { root = root, config_path = "/file/config" }.set_config { content = "" })
  end))

  it("keeps the old file whole on a full disk", run(function()
    local tried = guest.in_namespace(([[
      local core = require "vmctl.core"
      local guest = require "vmctl.guest.stereos"
      local root = assert(core.fs.real(%q))
      assert(core.fs.mount("tmpfs", root, "tmpfs", "nosuid,nodev", "size=64k"))
      local set_config = guest.handlers { root = root }.set_config
      assert(set_config { content = "old" })
      local ok, _, code = set_config { content = ("x"):rep(1 << 20) }
      assert(not ok and code == "ENOSPC", code)
      assert(io.open(root .. "/etc/stereos/jcard.toml"):read "a" == "old")
      assert(#core.fs.list(root .. "/etc/stereos") == 1)
      io.stderr:write "fine"
    ]]):format(support.tmpdir()))
    if not tried then pending "no mount namespaces here" end
  end))
end)

describe("inject_secret", function()
  local function inject(handlers, name, value, mode)
    return handlers.inject_secret { name = name, value = value or "v", mode = mode or 0 }
  end

  it("writes a file that only its owner may read, or as asked, whatever the umask", run(function()
    local handlers, _, root = guest.handlers()
    local folder = root .. "/run/stereos/secrets"
    done(true, inject(handlers, "TOKEN", "s3cret\n"))
    assert.equal("s3cret\n", guest.content(folder .. "/TOKEN"))
    assert.equal(384, fs.stat(folder .. "/TOKEN").mode)
    assert.equal(448, fs.stat(folder).mode)
    done(true, inject(handlers, "open", "", 438))
    assert.equal(438, fs.stat(folder .. "/open").mode)
    done(true, inject(handlers, "none", "", 256))
    assert.equal(256, fs.stat(folder .. "/none").mode)
  end))

  it("makes an old folder its owner's alone", run(function()
    local handlers, _, root = guest.handlers()
    local folder = root .. "/run/stereos/secrets"
    assert(fs.folders("/", folder))
    assert(fs.chmod(folder, 511))
    done(true, inject(handlers, "TOKEN"))
    assert.equal(448, fs.stat(folder).mode)
    assert.equal(493, fs.stat(root .. "/run/stereos").mode)
  end))

  it("says whether it changed the value or the mode", run(function()
    local handlers, _, root = guest.handlers()
    done(true, inject(handlers, "A", "1"))
    done(false, inject(handlers, "A", "1"))
    done(false, inject(handlers, "A", "1", 384))
    done(true, inject(handlers, "A", "1", 416))
    done(true, inject(handlers, "A", "2", 416))
    assert(fs.replace(root .. "/other", "2", 416))
    assert(os.remove(root .. "/run/stereos/secrets/A"))
    assert(fs.symlink(root .. "/other", root .. "/run/stereos/secrets/A"))
    done(true, inject(handlers, "A", "2", 416)) -- the same behind a link is not the same
    assert.same({ "A" }, fs.list(root .. "/run/stereos/secrets"))
  end))

  it("takes any name of a file", run(function()
    local handlers = guest.handlers()
    local names = { "a", "A_B", "with space", "ä", "a.b", "-", ("x"):rep(255) }
    for _, name in ipairs(names) do done(true, inject(handlers, name)) end
  end))

  it("refuses names that are none or lead elsewhere", run(function()
    local handlers, _, root = guest.handlers()
    local names = { "", ".", "..", "../a", "a/b", "/a", "a..b", ".hidden", "a\0b", "a\nb", "\127", ("x"):rep(256) }
    for _, name in ipairs(names) do refused("EINVAL", "name", inject(handlers, name)) end
    assert.is_nil(fs.stat(root .. "/run"))
  end))

  it("refuses modes that set more than permissions, with a hint for octal ones", run(function()
    local handlers = guest.handlers()
    refused("EINVAL", "octal 0600 is 384", inject(handlers, "a", "v", 600))
    refused("EINVAL", "octal 0644 is 420", inject(handlers, "a", "v", 644))
    refused("EINVAL", "over 0777", inject(handlers, "a", "v", 512))
    refused("EINVAL", "over 0777", inject(handlers, "a", "v", 2496))
    done(true, inject(handlers, "a", "v", 511))
  end))

  it("never has the value in a message", run(function()
    local handlers, _, root = guest.handlers()
    assert(fs.folders("/", root .. "/run/stereos/secrets/A"))
    local _, err = inject(handlers, "A", "s3cret")
    assert.matches("directory", err)
    assert.is_nil(err:find("s3cret", 1, true))
  end))

  it("keeps secrets in memory: mounts it where there is none", run(function()
    local tried = guest.in_namespace(([[
      local core = require "vmctl.core"
      local guest = require "vmctl.guest.stereos"
      local folder = assert(core.fs.real(%q)) .. "/secrets"
      local handlers = guest.handlers { secrets_dir = folder }
      for round = 1, 2 do
        local ok, result = handlers.inject_secret { name = "A", value = "1", mode = 0 }
        assert(ok and result.changed == (round == 1), result)
      end
      assert(core.fs.filesystem(folder) == "tmpfs" and core.fs.stat(folder).mode == 448)
      local _, mounts = io.open("/proc/self/mountinfo"):read "a":gsub("secrets rw,nosuid,nodev,noexec", "")
      assert(mounts == (core.fs.filesystem(folder:match "(.*)/") == "tmpfs" and 0 or 1), mounts)
      io.stderr:write "fine"
    ]]):format(support.tmpdir()))
    if not tried then pending "no mount namespaces here" end
  end))

  it("refuses where no memory can be mounted", fs.identity() == 0 and run(function()
    local folder = support.tmpdir()
    assert(fs.chmod(folder, 511))
    if fs.filesystem(folder) ~= "other" then return pending "the temporary folder is in memory" end
    assert(fs.replace(folder .. "/agent", guest.content "build/vmctl-agent", 493)) -- others may not see ours
    local child <close> = assert(process.spawn { "agent", "--lua", "-", folder .. "/secrets", file = folder .. "/agent",
      user = "65534", stdin = "pipe", stdout = "pipe", stderr = "inherit" })
    assert(child.stdin:write [[
      local handlers = require "vmctl.guest.stereos".handlers { secrets_dir = (...) }
      local _, err, code = handlers.inject_secret { name = "A", value = "1", mode = 0 }
      io.write(code, " ", err)
    ]])
    child.stdin:close()
    assert.matches("^EPERM .*secrets is not in memory, and can not be", child.stdout:read())
    assert.same({}, fs.list(folder .. "/secrets"))
    assert(child:wait(30))
  end) or function() pending "only root can be somebody else" end)
end)
