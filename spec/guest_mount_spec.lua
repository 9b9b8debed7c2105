-- mount, secrets and shutdown for real: a guest with folders of this machine. Which kinds can be had depends on the kernel
-- (Debian's cloud kernel has virtiofs and no 9p: KERNEL=path MODULES=path of another) and on this machine (virtiofsd).
-- Takes about 30 seconds.
local assert = require "luassert"
local core = require "vmctl.core"
local guest = require "spec.support.guest"
local lfs = require "lfs"
local platform = require "vmctl.machine.platform"
local process = require "vmctl.process"
local stereos = require "vmctl.stereos"
local support = require "spec.support"
local template = require "spec.support.template"

local LIMIT = 90 -- seconds, under emulation
local DAEMONS = { "/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd" }

local function find_daemon()
  for _, path in ipairs(DAEMONS) do
    if lfs.attributes(path) then return path end
  end
end

-- A virtio device as the machine that guests get here has it.
local function device(name)
  local arch = assert(platform.get())
  return name .. platform.machine(arch, (platform.accel(arch))).suffix
end

-- A folder of this machine with a file in it.
local function make_folder()
  local folder = support.tmpdir()
  assert(core.fs.chmod(folder, 511))
  assert(core.fs.replace(folder .. "/file", "from the host"))
  return folder
end

-- Checks of any share. `folder` is shared as "share0".
local function check_share(vm, folder, kind)
  local client = assert(stereos.connect(vm:address(1024)))
  local function mount(path, tag, read_only)
    return client:mount { tag = tag, guest_path = path, fs_type = kind, read_only = read_only }
  end
  assert.same({ true, true }, { mount("/mnt/share", "share0", false) })
  assert.same({ true, false }, { mount("/mnt/share", "share0", false) })
  assert.equal("from the host", assert(vm:run { "cat", "/mnt/share/file" }).stdout)
  assert.equal(0, assert(vm:run { "sh", "-c", "echo guest > /mnt/share/new" }).exit_code)
  assert.equal("guest\n", assert(io.open(folder .. "/new")):read "a")
  local _, _, _, ack = mount("/mnt/share", "other", false)
  assert.equal("EBUSY", ack.code)
  _, _, _, ack = mount("/mnt/none", "other", false)
  assert.is_true(ack.code == "ENOENT" or ack.code == "EINVAL", ack.code)
  assert.matches("the host shares nothing with this tag", ack.error)
  return client, mount
end

local function check_read_only(vm, mount)
  assert.same({ true, true }, { mount("/mnt/ro", "share1", true) })
  assert.same({ true, false }, { mount("/mnt/ro", "share1", true) })
  assert.equal("from the host", assert(vm:run { "cat", "/mnt/ro/file" }).stdout)
  local tried = assert(vm:run { "sh", "-c", "echo x > /mnt/ro/file" })
  assert.is_true(tried.exit_code ~= 0)
  assert.matches("Read%-only file system", tried.stderr)
end

-- The guest powers itself off: QEMU ends well by itself.
local function check_end(vm, client)
  assert.is_true(client:shutdown "all seen")
  assert.same({ exit_code = 0 }, vm:wait(LIMIT))
  client:close()
end

describe("mount in a guest", function()
  local plain -- a guest without a share
  local filesystems = ""

  lazy_setup(function()
    plain = template.start { name = "plain" }
    filesystems = assert(plain:run { "cat", "/proc/filesystems" }).stdout
  end)

  lazy_teardown(function()
    if plain then plain:close() end
  end)

  local function knows(name)
    return filesystems:find("\t" .. name .. "\n", 1, true) ~= nil
  end

  it("mounts a 9p share of QEMU's", support.run(function()
    if not knows "9p" then return pending "this kernel has no 9p" end
    local folder, args = make_folder(), {}
    for i = 0, 1 do
      for _, word in ipairs {
        "-fsdev", ("local,id=f%d,path=%s,security_model=none"):format(i, folder),
        "-device", ("%s,fsdev=f%d,mount_tag=share%d"):format(device "virtio-9p", i, i),
      } do args[#args + 1] = word end
    end
    local vm <close> = guest.boot { name = "ninep", args = args }
    local client, mount = check_share(vm, folder, "9p")
    check_read_only(vm, mount)
    check_end(vm, client)
  end, LIMIT))

  -- Its sandbox lets it make no system call but its own: a sanitizer's library, which the specs may run under, makes others.
  local function start_daemon(program, folder, socket)
    local child = assert(process.spawn { "env", "-u", "LD_PRELOAD", program, "--socket-path=" .. socket, "-o", "source=" .. folder, "-o",
      "sandbox=chroot", stdin = "null", stdout = "null", stderr = "null", death_signal = "KILL" })
    support.eventually(function() return core.fs.stat(socket) end, "virtiofsd makes no socket")
    return child
  end

  local function share_by_daemon(args, folder, tag)
    local socket = support.tmpdir() .. "/fs"
    for _, word in ipairs { "-chardev", ("socket,id=%s,path=%s"):format(tag, socket), "-device",
      ("%s,chardev=%s,tag=%s"):format(device "vhost-user-fs", tag, tag) } do args[#args + 1] = word end
    return start_daemon(find_daemon(), folder, socket)
  end

  it("mounts a virtiofs share", support.run(function()
    if not knows "virtiofs" or not find_daemon() or core.fs.identity() ~= 0 then
      return pending "no virtiofs in this kernel, or no virtiofsd here, or not root"
    end
    local folder = make_folder()
    local args = { "-global", "virtio-mmio.force-legacy=false", "-object", "memory-backend-memfd,id=mem,size=256M,share=on",
      "-machine", "memory-backend=mem" }
    local one <close> = share_by_daemon(args, folder, "share0")
    local two <close> = share_by_daemon(args, folder, "share1")
    local vm <close> = guest.boot { name = "virtiofs", memory = "256M", args = args }
    local client, mount = check_share(vm, folder, "virtiofs")
    check_read_only(vm, mount)
    check_end(vm, client)
    assert(one:wait(LIMIT)) -- it goes with its guest
    assert(two:wait(LIMIT))
  end, LIMIT))

  it("goes on when a share's daemon stands still, and ends", support.run(function()
    if not knows "virtiofs" or not find_daemon() or core.fs.identity() ~= 0 then
      return pending "no virtiofs in this kernel, or no virtiofsd here, or not root"
    end
    local args = { "-global", "virtio-mmio.force-legacy=false", "-object", "memory-backend-memfd,id=mem,size=256M,share=on",
      "-machine", "memory-backend=mem" }
    local daemon <close> = share_by_daemon(args, make_folder(), "share0")
    local vm <close> = guest.boot { name = "hung", memory = "256M", args = args }
    local client = assert(stereos.connect(vm:address(1024)))
    assert(client:mount { tag = "share0", guest_path = "/mnt/share", fs_type = "virtiofs", read_only = false })
    assert(daemon:kill "STOP")
    local _, _, code = vm:read_file("/mnt/share/file", { timeout = 2 })
    assert.equal("ETIMEDOUT", code)
    assert(client:ping())
    assert.equal("yes\n", assert(vm:run { "echo", "yes" }).stdout)
    assert.equal("root", assert(vm:read_file "/etc/passwd"):match "^%w+")
    assert.is_true(client:shutdown "its share is gone")
    assert(vm:wait_console("what was to be written takes too long", { timeout = LIMIT }))
    assert(daemon:kill "CONT") -- QEMU itself waits for it when the guest has cut its power
    assert.same({ exit_code = 0 }, vm:wait(LIMIT))
    client:close()
  end, LIMIT))

  it("says so when the kernel has no such file system, and keeps secrets in memory", support.run(function()
    local client = assert(stereos.connect(plain:address(1024)))
    if not knows "9p" then
      local _, err, _, ack = client:mount { tag = "a", guest_path = "/mnt/a", fs_type = "9p" }
      assert.matches("this kernel has no 9p$", err)
      assert.equal("ENODEV", ack.code)
    end
    assert.same({ true, true }, { client:inject_secret("TOKEN", "s3cret") })
    local script = "cd /run/stereos/secrets && stat -f -c %T . && stat -c '%n %a %u' TOKEN && cat TOKEN"
    assert.equal("tmpfs\nTOKEN 600 0\ns3cret", assert(plain:run { "sh", "-c", script }).stdout)
    check_end(plain, client)
  end, LIMIT))
end)
