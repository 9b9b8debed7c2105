-- Guests with folders of this machine, and with a network of their own. Takes about 30 seconds.
local assert = require "luassert"
local core = require "vmctl.core"
local guest = require "spec.support.guest"
local roots = require "spec.support.roots"
local shares = require "vmctl.machine.shares"
local support = require "spec.support"
local vmctl = require "vmctl"

local BOOT = 60
local OWNER = 1234 -- of the folder, where this is root

describe("a guest", function()
  local folder, image

  local function run(body)
    return support.run(function()
      folder = support.tmpdir()
      assert(os.execute(("chmod 755 '%s'; mkdir '%s/tree' '%s/shared' '%s/fixed'"):format(folder, folder, folder, folder)))
      image = roots.erofs(roots.folder(folder .. "/tree"), folder .. "/image.erofs")
      assert(core.fs.replace(folder .. "/shared/file", "of the host\n"))
      assert(core.fs.replace(folder .. "/fixed/file", "fixed\n"))
      if core.fs.identity() == 0 then assert(os.execute(("chown -R %d:%d '%s/shared'"):format(OWNER, OWNER, folder))) end
      body()
    end, 2 * BOOT)
  end

  local function boot(options)
    options.root = "erofs:" .. image
    local vm = assert(roots.launch(folder, options))
    local ready, err = vm:wait_ready(BOOT)
    if ready then return vm end
    vm:close()
    error(err, 2)
  end

  local function say(vm, command) return assert(vm:run { "sh", "-c", command }).stdout end

  local function refused(code, part, options)
    options.root = options.root or "erofs:" .. image
    if options.root == "none" then options.root = nil end
    local vm, err, got = roots.launch(folder, options)
    assert.is_nil(vm)
    assert.equal(code, got, err)
    assert.truthy(err:find(part, 1, true), err)
  end

  for _, machine in ipairs { "microvm", "q35" } do
    it(("of the machine %s writes to a shared folder as its owner, and to no folder that is read-only"):format(machine), run(function()
      local vm <close> = boot { machine = machine, shares = {
        { host = folder .. "/shared", guest = "/a place/shared" }, { host = folder .. "/fixed", guest = "/fixed", read_only = true },
      } }
      assert.equal("of the host\nfixed\n", say(vm, "cat '/a place/shared/file' /fixed/file"))
      say(vm, "echo new > '/a place/shared/new'; busybox mknod '/a place/shared/device' c 1 3")
      local owner = core.fs.stat(folder .. "/shared").uid
      assert.equal(owner, assert(core.fs.stat(folder .. "/shared/new")).uid)
      assert.is_nil(core.fs.stat(folder .. "/shared/device"))
      -- Not even a mount of its own changes what is read-only.
      assert.equal("no\nno\n", say(vm, [[
        echo x > /fixed/x || echo no
        busybox mkdir /mine && busybox mount -t virtiofs share2 /mine && echo x > /mine/x || echo no]]))
      assert.is_nil(core.fs.stat(folder .. "/fixed/x"))
      assert(vm:shutdown())
    end))
  end

  it("has the extended attributes of a share where they are asked for: user.*, and capabilities that mean nothing here", run(function()
    local shared, program = folder .. "/shared", folder .. "/tree/bin/xattr"
    assert(os.execute(("cc -static -O1 -o '%s' spec/support/xattr.c"):format(program)))
    roots.erofs(folder .. "/tree", image)
    local function here(words)
      local command = words:gsub("%f[%a]xattr", program)
      return assert(vmctl.host:run { "sh", "-c", ("cd '%s'; %s"):format(shared, command) }).stdout
    end
    here "xattr file user.host one; xattr file security.capability cap"
    local vm <close> = boot { shares = { { host = shared, guest = "/s", xattrs = true }, { host = shared, guest = "/plain" },
      { host = folder .. "/fixed", guest = "/fixed", read_only = true, xattrs = true } } }
    assert.equal("user.host\none\n61\n95\n", say(vm, "cd /s; for n in '' user.host security.capability trusted.a; do xattr file $n; done"))
    assert.equal("95\n95\n95\n95\n", say(vm,
      "cd /s; xattr file security.selinux a; xattr file trusted.a a; xattr file system.posix_acl_access a; xattr /plain/file user.a a"))
    assert.equal("30\n", say(vm, "xattr /fixed/file user.a a"))
    say(vm, "cd /s; echo x >new; xattr new user.guest two; xattr new security.capability cap")
    assert.equal("user.guest\nsecurity.capability\n", say(vm, "xattr /s/new"))
    assert.equal("two\nuser.guest\nuser.virtiofs.security.capability\n61\n",
      here "xattr new user.guest; xattr new; xattr new security.capability")
    say(vm, "echo more >>/s/new")
    assert.equal("user.guest\n", here "xattr new") -- a file that is written loses its capability
    assert(vm:shutdown())
  end))

  -- An ordinary user who has supplementary groups, as most have. Debian's kernel for clouds has no 9p, its full one has.
  it("is served by QEMU itself, by 9p, where QEMU's virtiofsd cannot serve its user", run(function()
    local other = core.fs.identity() == 0
    if other then assert(os.execute(("mkdir -m 777 '%s/cache'"):format(folder))) end
    local full = guest.root .. "build/kernel-full"
    local has_9p = core.fs.stat(full .. "/version") ~= nil
    local script = [[
      local vmctl = require "vmctl"
      local function launch()
        return vmctl.machine.launch {
          root = "erofs:FOLDER/image.erofs", kernel = KERNEL, modules_dir = MODULES, agent = AGENT, cache_dir = "FOLDER/cache",
          shares = { { host = "FOLDER/shared", guest = "/s" }, { host = "FOLDER/fixed", guest = "/f", read_only = true } },
        }
      end
      local vm <close>, err, code = launch()
      if not vm then io.write(code, " ", err, "\n") return end
      assert(vm:wait_ready(60))
      local result = assert(vm:run { "sh", "-c", "grep -c 9p /proc/mounts; cat /s/file; echo new > /s/new; echo x > /f/x || echo no" })
      io.write(result.stdout)
      assert(vm:shutdown())]]
    script = script:gsub("FOLDER", folder):gsub("%u%u%u+", {
      KERNEL = ("%q"):format(has_9p and full .. "/vmlinuz" or guest.kernel),
      MODULES = ("%q"):format(has_9p and full .. "/modules" or guest.modules_dir()), AGENT = ("%q"):format(guest.agent),
    })
    local result = assert(vmctl.host:run { "lua5.4", "-e", script, timeout = 2 * BOOT, user = other and OWNER .. ":" .. OWNER or nil,
      env = { LUA_PATH = package.path, LUA_CPATH = package.cpath, VMCTL_VIRTIOFSD = "/usr/lib/qemu/virtiofsd" } })
    if not has_9p then
      assert.truthy(result.stdout:find("ENOTSUP root: our kernel lacks modules that this guest needs: 9p, 9pnet_virtio (", 1, true),
        result.stdout .. result.stderr)
      return
    end
    assert.equal("2\nof the host\nno\n", result.stdout, result.stderr)
    assert.equal(other and OWNER or core.fs.identity(), core.fs.stat(folder .. "/shared/new").uid)
  end))

  it("is reached by the ports of its network, from which there is no way out", run(function()
    local outside <close> = assert(vmctl.listen "tcp:127.0.0.1:0")
    local free <close> = assert(vmctl.listen "tcp:127.0.0.1:0")
    local port = free:address().port
    free:close()
    local vm <close> = boot { network = "user", ports = { port .. ":80" } }
    assert.equal(1, #vm.macs)
    assert.truthy(say(vm, "busybox ip addr show dev eth0"):find("inet 10.0.2.15/24", 1, true))
    local _ <close> = assert(vm:start { "busybox", "nc", "-ll", "-p", "80", "-e", "/bin/busybox", "echo", "from the guest" })
    assert(vmctl.ready.wait(vmctl.ready.port(vm:_client(), 80), BOOT))
    local stream <close> = assert(vmctl.dial("tcp:127.0.0.1:" .. port))
    assert.equal("from the guest", stream:read_line(100, BOOT))
    local tried = assert(vm:run { "busybox", "nc", "-w", "2", "10.0.2.2", tostring(outside:address().port) })
    assert.not_equal(0, tried.exit_code)
    refused("EADDRINUSE", ("port %d of this machine"):format(outside:address().port),
      { network = "user", ports = { outside:address().port .. ":80" } })
    assert(vm:shutdown())
  end))

  it("is refused shares and ports that cannot be", run(function()
    local function share(host, inside, read_only) return { { host = host, guest = inside, read_only = read_only } } end
    refused("ENOENT", "no/such", { shares = share(folder .. "/no/such", "/a") })
    refused("ENOTDIR", "and no folder", { shares = share(folder .. "/shared/file", "/a") })
    refused("EINVAL", "an absolute path", { shares = share(folder, "a") })
    refused("EINVAL", "a path without '..'", { shares = share(folder, "/a/../b") })
    refused("EINVAL", "below /run the guest's init", { shares = share(folder, "/run/a") })
    assert(core.fs.mkdir(folder .. "/with, comma"))
    refused("EINVAL", "has a comma", { shares = share(folder .. "/with, comma", "/a", true) })
    refused("EINVAL", "shares without a root", { root = "none", shares = share(folder, "/a") })
    if core.fs.identity() == 0 then refused("EPERM", "setuid programs of root", { shares = share(folder .. "/fixed", "/a") }) end
    assert.equal("ENOENT", support.code(shares.program { folder .. "/no/such" }))
    refused("EINVAL", "ports lead into a network", { ports = { "1:2" } })
    for _, text in ipairs { "80", "0:80", "80:0", "65536:80", "80:80:80", "a:b" } do
      refused("EINVAL", ("port '%s'"):format(text), { network = "user", ports = { text } })
    end
    refused("EINVAL", "named twice", { network = "user", ports = { "45999:80", "45999:81" } })
    assert.has_error(function() return roots.launch(folder, { root = "erofs:" .. image, shares = { { host = folder } } }) end)
    assert.has_error(function() return roots.launch(folder, { network = "world" }) end)
  end))
end)
