-- inject_ssh_key in a guest: every line is checked, and a home full of traps is not stepped into.
local assert = require "luassert"
local core = require "vmctl.core"
local guest = require "spec.support.guest_root"
local keys = require "vmctl.guest.keys"
local support = require "spec.support"

local code, fs, run = support.code, core.fs, support.run
local done, refused = guest.assert_done, guest.assert_refused

local TYPES = {
  "ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
  "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
}

local function blob(kind)
  return core.base64_encode((">s4s4"):pack(kind, ("k"):rep(32)))
end

local function key(kind, comment)
  return kind .. " " .. blob(kind) .. (comment and " " .. comment or "")
end

local KEY = key("ssh-ed25519", "bob@example.org")

local function inject(handlers, text, user)
  return handlers.inject_ssh_key { user = user or "bob", public_key = text or KEY }
end

describe("the check of keys", function()
  it("takes each known type, with a comment or without", function()
    for _, kind in ipairs(TYPES) do
      assert.equal(key(kind) .. "\n", keys.check(key(kind)))
      assert.equal(key(kind, "a b c") .. "\n", keys.check(key(kind, "a b c") .. "\n"))
    end
  end)

  it("takes several keys, comments and empty lines", function()
    local text = "# first\n" .. KEY .. "\n\n  \n" .. key "ssh-rsa" .. "\n# last\n"
    assert.equal(text, keys.check(text))
  end)

  it("refuses what is no key, in whatever line", function()
    local wrong = {
      "ssh-dss " .. blob "ssh-dss", "ssh-ed25519", "ssh-ed25519 ", "ssh-ed25519 ?", "ssh-ed25519 AAAA",
      "ssh-ed25519\t" .. blob "ssh-ed25519", 'command="sh" ' .. KEY, "no-pty " .. KEY, " " .. KEY,
      "ssh-ed25519 " .. blob "ssh-rsa", "ssh-rsa " .. blob "ssh-ed25519", KEY .. "\r", KEY .. "\27[2J", KEY .. "\0",
      "ssh-ed25519 " .. core.base64_encode((">s4"):pack "ssh-ed25519"),
      "ssh-ed25519 " .. core.base64_encode "\255\255\255\255x",
      "# \7", "-----BEGIN OPENSSH PRIVATE KEY-----",
    }
    for _, line in ipairs(wrong) do
      assert.equal("EINVAL", code(keys.check(line)), line)
      local _, err, why = keys.check(KEY .. "\n\n" .. line .. "\n")
      assert.equal("EINVAL", why)
      assert.matches("^line 3 ", err)
    end
  end)

  it("refuses a text without any key: it would lock the user out", function()
    for _, text in ipairs { "", "\n", "# only this\n" } do assert.equal("EINVAL", code(keys.check(text))) end
  end)
end)

describe("inject_ssh_key", function()
  it("replaces the user's file, with owners and modes as sshd wants them", run(function()
    local handlers, _, root = guest.handlers()
    done(true, inject(handlers))
    local folder = fs.stat(root .. "/home/bob/.ssh")
    local file = fs.stat(root .. "/home/bob/.ssh/authorized_keys")
    assert.same({ 448, guest.UID, guest.GID }, { folder.mode, folder.uid, folder.gid })
    assert.same({ 384, guest.UID, guest.GID }, { file.mode, file.uid, file.gid })
    assert.equal(KEY .. "\n", guest.content(root .. "/home/bob/.ssh/authorized_keys"))
    done(false, inject(handlers, KEY .. "\n"))
    done(true, inject(handlers, key "ssh-rsa"))
    assert.equal(key "ssh-rsa" .. "\n", guest.content(root .. "/home/bob/.ssh/authorized_keys"))
    assert.same({ "authorized_keys" }, fs.list(root .. "/home/bob/.ssh"))
    assert(fs.chmod(root .. "/home/bob/.ssh/authorized_keys", 420))
    done(true, inject(handlers, key "ssh-rsa"))
  end))

  it("repairs the mode of an old .ssh folder, and leaves what is in it", run(function()
    local handlers, _, root = guest.handlers()
    assert(fs.mkdir(root .. "/home/bob/.ssh"))
    assert(fs.chown(root .. "/home/bob/.ssh", guest.UID, guest.GID))
    assert(fs.replace(root .. "/home/bob/.ssh/id", "x"))
    done(true, inject(handlers))
    assert.equal(448, fs.stat(root .. "/home/bob/.ssh").mode)
    assert.equal("x", guest.content(root .. "/home/bob/.ssh/id"))
    done(false, inject(handlers))
    assert(fs.chmod(root .. "/home/bob/.ssh", 509))
    done(true, inject(handlers)) -- the folder alone
    assert.equal(448, fs.stat(root .. "/home/bob/.ssh").mode)
  end))

  it("finds a home at the top", run(function()
    local handlers, _, root = guest.handlers()
    done(true, inject(handlers, KEY, "top"))
    assert.equal(KEY .. "\n", guest.content(root .. "/.ssh/authorized_keys"))
  end))

  it("follows a link above the home, which is root's", run(function()
    local handlers, _, root = guest.handlers()
    assert(fs.rename(root .. "/home", root .. "/persist"))
    assert(fs.symlink("persist", root .. "/home"))
    done(true, inject(handlers))
    assert.equal(KEY .. "\n", guest.content(root .. "/persist/bob/.ssh/authorized_keys"))
  end))

  it("refuses users that are not there, are numbers, or have no home", run(function()
    local handlers, _, root = guest.handlers()
    for _, user in ipairs { "nobody-here", tostring(guest.UID), "0" } do
      refused("ENOENT", "no user", inject(handlers, KEY, user))
    end
    for _, user in ipairs { "", "bob:bob", "../bob", "bo\nb" } do refused("EINVAL", "name", inject(handlers, KEY, user)) end
    refused("ENOENT", "/home/nohome", inject(handlers, KEY, "nohome"))
    for _, user in ipairs { "odd", "up" } do refused("EINVAL", "home", inject(handlers, KEY, user)) end
    refused("EINVAL", "line 1", inject(handlers, "nonsense"))
    assert.same({}, fs.list(root .. "/home/bob"))
  end))

  it("does not follow a .ssh that is a link", run(function()
    local handlers, _, root = guest.handlers()
    assert(fs.mkdir(root .. "/root"))
    assert(fs.symlink(root .. "/root", root .. "/home/bob/.ssh"))
    refused("ENOTDIR", ".ssh", inject(handlers))
    assert.same({}, fs.list(root .. "/root"))
  end))

  it("does not follow a home that is a link", run(function()
    local handlers, _, root = guest.handlers()
    assert(fs.mkdir(root .. "/root"))
    assert(fs.remove(root .. "/home/bob"))
    assert(fs.symlink("../root", root .. "/home/bob"))
    refused("ENOTDIR", "/home/bob", inject(handlers))
    assert.same({}, fs.list(root .. "/root"))
  end))

  it("puts its file in the place of a link or a second name, and leaves those alone; a FIFO stays", run(function()
    local handlers, _, root = guest.handlers()
    local path = root .. "/home/bob/.ssh/authorized_keys"
    done(true, inject(handlers))
    local precious = root .. "/etc/shadow"
    assert(fs.replace(precious, KEY .. "\n", 384))
    for _, trap in ipairs { "ln -s", "ln" } do
      assert(os.remove(path))
      assert(os.execute(("%s %s %s"):format(trap, precious, path)))
      done(true, inject(handlers))
      local file = fs.stat(path, true)
      assert.same({ "file", guest.UID }, { file.type, file.uid })
      assert.same(fs.identity(), fs.stat(precious).uid)
      assert.equal(KEY .. "\n", guest.content(precious))
    end
    assert(os.remove(path))
    assert(os.execute("mkfifo " .. path))
    refused("EEXIST", "no regular file", inject(handlers))
    assert.equal("fifo", fs.stat(path, true).type)
  end))

  it("fails where a folder or a file is in the way", run(function()
    local handlers, _, root = guest.handlers()
    assert(fs.mkdir(root .. "/home/bob/.ssh"))
    assert(fs.mkdir(root .. "/home/bob/.ssh/authorized_keys"))
    refused("EISDIR", "authorized_keys", inject(handlers))
    assert.same({ "authorized_keys" }, fs.list(root .. "/home/bob/.ssh"))
    assert(fs.remove(root .. "/home/bob/.ssh/authorized_keys"))
    assert(fs.remove(root .. "/home/bob/.ssh"))
    assert(fs.replace(root .. "/home/bob/.ssh", ""))
    refused("ENOTDIR", ".ssh", inject(handlers))
  end))

  it("gives a folder of a third user to its own, as the reference", fs.identity() == 0 and run(function()
    local handlers, _, root = guest.handlers()
    for _, owner in ipairs { { 4711, 4711 }, { guest.UID, 4711 }, { 0, 0 } } do
      fs.mkdir(root .. "/home/bob/.ssh")
      assert(fs.chown(root .. "/home/bob/.ssh", owner[1], owner[2]))
      done(true, inject(handlers))
      local folder = fs.stat(root .. "/home/bob/.ssh")
      assert.same({ 448, guest.UID, guest.GID }, { folder.mode, folder.uid, folder.gid })
    end
  end) or function() pending "only root can make folders of others" end)
end)
