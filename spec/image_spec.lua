local cpio = require "vmctl.machine.cpio"
local image = require "vmctl.machine.image"
local platform = require "vmctl.machine.platform"

local folder                                    -- of this test's own, gone after it

local function shell(command, ...)
  local pipe = assert(io.popen(command:format(...), "r"))
  local output = pipe:read "a"
  assert(pipe:close(), command)
  return output
end

local function put(name, bytes)
  local path = folder .. "/" .. name
  shell("mkdir -p '%s'", path:match "^(.*)/")
  local file = assert(io.open(path, "wb"))
  file:write(bytes)
  file:close()
  return path
end

local function get(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read "a"
  file:close()
  return bytes
end

local function have(command)
  return os.execute(("command -v %s >/dev/null 2>&1"):format(command))
end

-- Reads an archive independently of the writer: path → { mode, size, body, inode … } and the order of the paths.
local function parse(bytes)
  local entries, order, at = {}, {}, 1
  repeat
    assert.equal("070701", bytes:sub(at, at + 5))
    assert.equal(1, at % 4)
    local field = {}
    for i = 1, 13 do field[i] = tonumber(bytes:sub(at + 8 * i - 2, at + 8 * i + 5), 16) end
    local name = bytes:sub(at + 110, at + 110 + field[12] - 2)
    local body = at + (110 + field[12] + 3) // 4 * 4
    entries[name] = { inode = field[1], mode = field[2], uid = field[3], gid = field[4], links = field[5],
      time = field[6], major = field[10], minor = field[11], body = bytes:sub(body, body + field[7] - 1) }
    order[#order + 1] = name
    at = body + (field[7] + 3) // 4 * 4
  until name == "TRAILER!!!"
  assert.equal(#bytes + 1, at)
  return entries, order
end

-- Type, then start and number of the program headers, then of the sections, the second of which holds the names.
local function elf_header(kind, programs_at, programs, sections_at, sections)
  return "\127ELF\2\1\1" .. ("\0"):rep(9) .. ("<I2I2I4I8I8I8I4I2I2I2I2I2I2"):pack(kind, 62, 1, 0, programs_at,
    sections_at, 0, 64, 56, programs, 64, sections, 1)
end

-- A kernel module as far as its dependencies go: an ELF file with nothing but a .modinfo section.
local function module(depends)
  local names = "\0.shstrtab\0.modinfo\0"
  local info = "license=GPL\0depends=" .. depends .. "\0name=x\0"
  local header = elf_header(1, 0, 0, 64 + #names + #info, 3)
  local function section(name, kind, offset, size)
    return ("<I4I4I8I8I8I8I4I4I8I8"):pack(name, kind, 0, 0, offset, size, 0, 0, 1, 0)
  end
  return header .. names .. info .. section(0, 0, 0, 0) .. section(1, 3, 64, #names) ..
    section(11, 1, 64 + #names, #info)
end

-- A program header table with one entry that names a dynamic linker, at the place where an ELF file has it.
local function dynamic_program()
  local header = elf_header(2, 64, 1, 0, 0)
  return header .. ("<I4I4I8I8I8I8I8I8"):pack(3, 4, 120, 0, 0, 13, 13, 1) .. "/lib/ld-x.so\0"
end

before_each(function()
  folder = shell("mktemp -d"):match "[^\n]+"
end)

after_each(function()
  shell("rm -rf '%s'", folder)
end)

describe("vmctl.Cpio", function()
  local function archive(fill)
    local parts = {}
    local writer = cpio.new(function(bytes) parts[#parts + 1] = bytes return true end)
    fill(writer)
    assert(writer:finish())
    return table.concat(parts)
  end

  local function example(writer)
    writer:directory "/"
    writer:directory("/etc", tonumber("750", 8))
    writer:file("/etc/motd", nil, "hello\n")
    writer:file("/etc/empty", tonumber("600", 8), "")
    writer:symlink("/sh", "/bin/busybox")
    writer:node("/null", tonumber("666", 8), "c", 1, 3)
  end

  it("writes folders, files, links and nodes with their modes, owned by root", function()
    local entries, order = parse(archive(example))
    assert.same({ ".", "etc", "etc/motd", "etc/empty", "sh", "null", "TRAILER!!!" }, order)
    assert.equal(tonumber("040755", 8), entries["."].mode)
    assert.equal(tonumber("040750", 8), entries.etc.mode)
    assert.equal(2, entries.etc.links)
    assert.equal(tonumber("100644", 8), entries["etc/motd"].mode)
    assert.equal("hello\n", entries["etc/motd"].body)
    assert.equal("", entries["etc/empty"].body)
    assert.equal(tonumber("120777", 8), entries.sh.mode)
    assert.equal("/bin/busybox", entries.sh.body)
    assert.equal(tonumber("020666", 8), entries.null.mode)
    assert.same({ 1, 3 }, { entries.null.major, entries.null.minor })
    for _, entry in pairs(entries) do assert.same({ 0, 0, 0 }, { entry.uid, entry.gid, entry.time }) end
  end)

  it("gives every entry an inode of its own and the trailer none", function()
    local entries, order = parse(archive(example))
    for i = 1, #order - 1 do assert.equal(i, entries[order[i]].inode) end
    assert.equal(0, entries["TRAILER!!!"].inode)
  end)

  it("pads names and bodies of every length", function()
    for length = 0, 9 do
      local name, body = ("n"):rep(length + 1), ("b"):rep(length)
      local entries = parse(archive(function(writer) writer:file(name, nil, body) end))
      assert.equal(body, entries[name].body)
    end
  end)

  it("copies an open file of many chunks", function()
    local body = ("0123456789abcde"):rep(20000)
    local handle = assert(io.open(put("big", body), "rb"))
    handle:read(100)
    local entries = parse(archive(function(writer) assert(writer:file("big", nil, handle)) end))
    handle:close()
    assert.is_true(body == entries.big.body)
  end)

  it("passes on a failed write", function()
    local writer = cpio.new(function() return nil, "disk full", "ENOSPC" end)
    assert.same({ nil, "disk full", "ENOSPC" }, { writer:file("a", nil, "b") })
  end)

  it("is read by cpio", function()
    if not have "cpio" then pending "no cpio here" return end
    local listing = shell("cpio -itv --quiet < '%s'", put("a.cpio", archive(example)))
    assert.matches("drwxr%-x%-%-%- +2 root +root .* etc\n", listing)
    assert.matches("%-rw%-r%-%-r%-%- +1 root +root +6 Jan +1 +1970 etc/motd\n", listing)
    assert.matches("lrwxrwxrwx .* sh %-> /bin/busybox\n", listing)
    assert.matches("crw%-rw%-rw%- .* 1, +3 .* null\n", listing)
  end)

  it("adds the folders on the way to an entry", function()
    local parts = {}
    assert(cpio.pack({ ["/a/b/c"] = { content = "x" }, ["/a/b-c"] = { content = "y" } },
      function(bytes) parts[#parts + 1] = bytes return true end))
    local _, order = parse(table.concat(parts))
    assert.same({ "a", "a/b", "a/b-c", "a/b/c", "TRAILER!!!" }, order)
  end)

  it("adds no folders on the way to an entry that is placed into those that are there", function()
    local parts = {}
    assert(cpio.pack({ ["/a/b/c"] = { content = "x", placed = true }, ["/d/e"] = { content = "y" } },
      function(bytes) parts[#parts + 1] = bytes return true end))
    local _, order = parse(table.concat(parts))
    assert.same({ "a/b/c", "d", "d/e", "TRAILER!!!" }, order)
  end)
end)

describe("vmctl.machine.image", function()
  local agent

  before_each(function()
    agent = put("agent", "#!/bin/sh\n")
  end)

  -- Fills in what these tests have in common, and reads the image back.
  local function build(options)
    options.output = options.output or folder .. "/guest.img"
    options.busybox = options.busybox or false
    if not options.init then options.agent = options.agent or agent end
    if options.compress == nil then options.compress = false end
    local path, message, code = image.build(options)
    if not path then return nil, message, code end
    return parse(get(path))
  end

  local function module_names(list)
    local names = {}
    for name in list:gmatch "/lib/modules/vmctl/%d+%-([%w_]+)%.ko\n" do names[#names + 1] = name end
    return table.concat(names, " ")
  end

  local function put_modules()
    put("modules/modules.builtin", "kernel/fs/ext4/ext4.ko\nkernel/drivers/virtio/virtio_mmio.ko\n")
    put("modules/kernel/virtio/virtio.ko", module "virtio_ring")
    put("modules/kernel/virtio/virtio_ring.ko", module "")
    put("modules/kernel/char/virtio_console.ko", module "virtio,virtio_ring")
    put("modules/kernel/char/virtio-rng.ko", module "virtio,virtio_ring")
    put("modules/kernel/vhost/vhost-vsock.ko", module "vhost,vsock")
    put("modules/kernel/vhost/vhost.ko", module "vhost_iotlb")
    put("modules/kernel/vhost/vhost_iotlb.ko", module "")
    put("modules/kernel/net/vsock.ko", module "")
    return folder .. "/modules"
  end

  it("has the agent as its first program", function()
    local entries = assert(build {})
    assert.equal("/sbin/vmctl-agent", entries.init.body)
    assert.equal("#!/bin/sh\n", entries["sbin/vmctl-agent"].body)
    assert.equal(tonumber("100755", 8), entries["sbin/vmctl-agent"].mode)
  end)

  it("has an init beside the agent when one is given", function()
    local entries = assert(build { agent = agent, init = put("init", "#!/bin/sh\nexec /sbin/vmctl-agent\n") })
    assert.equal("#!/bin/sh\nexec /sbin/vmctl-agent\n", entries.init.body)
    assert.equal("#!/bin/sh\n", entries["sbin/vmctl-agent"].body)
  end)

  it("has the folders, nodes and tables that programs expect", function()
    local entries = assert(build {})
    for _, name in ipairs { ".", "dev", "etc", "proc", "root", "run", "srv", "sys", "tmp" } do
      assert.equal(0x4000, entries[name].mode & 0xf000, name)
    end
    assert.equal(tonumber("041777", 8), entries.tmp.mode)
    assert.same({ 5, 1 }, { entries["dev/console"].major, entries["dev/console"].minor })
    assert.same({ 1, 3 }, { entries["dev/null"].major, entries["dev/null"].minor })
    assert.matches("^root:x:0:0:", entries["etc/passwd"].body)
    assert.matches("^root:x:0:", entries["etc/group"].body)
  end)

  it("takes files from strings and from this machine, links and folders", function()
    local tool = put("tool", "#!/bin/sh\necho hi\n")
    local entries = assert(build { files = {
      ["/etc/hostname"] = "guest\n",
      ["usr/local/bin/tool"] = { from = tool },
      ["/data"] = { from = put("data", "plain"), mode = tonumber("600", 8) },
      ["/link"] = { link = "data" },
      ["/empty"] = { folder = true, mode = tonumber("700", 8) },
    } })
    assert.equal("guest\n", entries["etc/hostname"].body)
    assert.equal("#!/bin/sh\necho hi\n", entries["usr/local/bin/tool"].body)
    assert.equal(tonumber("100755", 8), entries["usr/local/bin/tool"].mode)
    assert.equal(tonumber("040755", 8), entries["usr/local/bin"].mode)
    assert.equal(tonumber("100600", 8), entries.data.mode)
    assert.equal("data", entries.link.body)
    assert.equal(tonumber("040700", 8), entries.empty.mode)
  end)

  it("gives the same bytes for the same contents", function()
    local options = { agent = agent, busybox = false, modules_dir = put_modules() }
    options.output = folder .. "/one"
    local one = assert(image.build(options))
    options.output = folder .. "/two"
    local two = assert(image.build(options))
    assert.is_true(get(one) == get(two))
  end)

  it("is compressed unless told otherwise", function()
    local path = assert(image.build { output = folder .. "/it's.gz", agent = agent, busybox = false })
    assert.equal("\31\139", get(path):sub(1, 2))
    assert.is_table((parse(shell("gzip -dc < \"%s\"", path))).init)
  end)

  it("has busybox under the names of its applets", function()
    if not have "busybox" then pending "no busybox here" return end
    local entries, message = build { busybox = shell("command -v busybox"):match "[^\n]+" }
    if not entries and message:find "not static" then pending "busybox is not static here" return end
    assert.equal("/bin/busybox", assert(entries)["bin/sh"].body)
    for applet in shell("busybox --list-full"):gmatch "[^\n]+" do
      assert.equal(applet == "bin/busybox" and entries["bin/busybox"].body or "/bin/busybox", entries[applet].body, applet)
    end
    assert.equal(tonumber("100755", 8), entries["bin/busybox"].mode)
  end)

  it("lists the default modules that exist, each behind what it needs", function()
    local entries = assert(build { modules_dir = put_modules() })
    local list = entries["etc/vmctl/modules"].body
    assert.equal("virtio_ring virtio virtio_console vsock virtio_rng", module_names(list))
    local paths = {}
    for path in list:gmatch "[^\n]+" do paths[#paths + 1] = path end
    assert.equal(module "virtio,virtio_ring", entries[paths[3]:sub(2)].body)
  end)

  it("adds the modules asked for, and leaves out what the kernel has built in", function()
    local entries = assert(build { modules_dir = put_modules(), modules = { "vhost_vsock", "ext4", "virtio_mmio" } })
    assert.equal("virtio_ring virtio virtio_console vsock virtio_rng vhost_iotlb vhost vhost_vsock",
      module_names(entries["etc/vmctl/modules"].body))
  end)

  it("believes modules.dep where there is one", function()
    put_modules()
    local dir = folder .. "/modules"
    put("modules/modules.dep", "kernel/net/vsock.ko: kernel/vhost/vhost_iotlb.ko\nkernel/vhost/vhost_iotlb.ko:\n")
    local entries = assert(build { modules_dir = dir })
    assert.equal("vhost_iotlb vsock", module_names(entries["etc/vmctl/modules"].body))
  end)

  it("unpacks packed modules", function()
    put_modules()
    shell("gzip -n '%s/modules/kernel/net/vsock.ko'", folder)
    local entries = assert(build { modules_dir = folder .. "/modules" })
    assert.equal(module "", entries["lib/modules/vmctl/04-vsock.ko"].body)
  end)

  describe("fails with", function()
    local function code_of(...) return (select(3, ...)) end

    it("ENOENT for an agent, busybox, file or folder that is not there, ENOTDIR for one that is none", function()
      assert.equal("ENOENT", code_of(build { agent = folder .. "/none" }))
      assert.equal("ENOENT", code_of(build { busybox = folder .. "/none" }))
      assert.equal("ENOENT", code_of(build { files = { a = { from = folder .. "/none" } } }))
      assert.equal("ENOENT", code_of(build { modules_dir = folder .. "/none" }))
      assert.equal("ENOTDIR", code_of(build { modules_dir = agent }))
      assert.equal("ENOENT", code_of(build { output = folder .. "/none/guest.img" }))
    end)

    it("EISDIR for a folder in place of a program or a file", function()
      assert.equal("EISDIR", code_of(build { agent = folder }))
      assert.equal("EISDIR", code_of(build { files = { a = { from = folder } } }))
    end)

    it("ENOENT for an unknown module, naming it and who needs it", function()
      local dir = put_modules()
      local _, message, code = build { modules_dir = dir, modules = { "warp_drive" } }
      assert.equal("ENOENT", code)
      assert.matches("warp_drive", message, 1, true)
      put("modules/kernel/net/needy.ko", module "missing_one")
      _, message, code = build { modules_dir = dir, modules = { "needy" } }
      assert.equal("ENOENT", code)
      assert.matches("missing_one: .*needy", message)
    end)

    it("ENOEXEC for a module that is none", function()
      local dir = put_modules()
      for size = 0, #module "" - 64, 7 do         -- of the last section's header not everything is looked at
        put("modules/kernel/net/broken.ko", (module ""):sub(1, size))
        assert.equal("ENOEXEC", code_of(build { modules_dir = dir, modules = { "broken" } }))
      end
    end)

    it("ENOEXEC for a program that would need libraries, or is none", function()
      local _, message, code = build { agent = put("dynamic", dynamic_program()) }
      assert.equal("ENOEXEC", code)
      assert.matches("/lib/ld-x.so", message, 1, true)
      assert.equal("ENOEXEC", code_of(build { agent = put("cut", dynamic_program():sub(1, 100)) }))
      assert.equal("ENOEXEC", code_of(build { agent = put("text", "hello") }))
    end)

    it("the old image in place and nothing beside it", function()
      local old = put("out/guest.img", "old")
      assert.equal("ENOENT", code_of(build { output = old, files = { a = { from = folder .. "/none" } } }))
      assert.equal("old", get(old))
      assert.equal("guest.img\n", shell("ls -A '%s/out'", folder))
    end)
  end)

  it("raises for options that make no sense", function()
    local function refuses(options) assert.has_error(function() image.build(options) end) end
    refuses { agent = agent }
    refuses { output = "x" }
    refuses { output = "x", agent = agent, comprss = true }
    refuses { output = "x", agent = 1 }
    refuses { output = "x", agent = agent, modules = { "a" } }
    refuses { output = "x", agent = agent, files = { a = { content = "a", link = "b" } } }
    refuses { output = "x", agent = agent, files = { a = 1 } }
  end)
end)

describe("vmctl.machine.platform", function()
  local x86, arm = platform.platforms.x86_64, platform.platforms.aarch64

  local function places(cpuinfo, base_frequency)
    return { kvm = put("kvm", ""), try_kvm = function() return true end, cpuinfo = put("cpuinfo", cpuinfo), native = "x86_64",
      base_frequency = base_frequency and put("base", base_frequency) or folder .. "/none" }
  end

  it("takes KVM only where the processor shows that it virtualises", function()
    assert.equal("kvm", (platform.accel(x86, places "processor : 0\nflags\t\t: fpu svm sse\n")))
    assert.equal("kvm", (platform.accel(x86, places "processor : 0\nflags\t\t: fpu vmx\n")))
    local name, reason = platform.accel(x86, places "processor : 0\nflags\t\t: fpu vmx2 tsc\n")
    assert.equal("tcg", name)
    assert.matches("neither vmx nor svm", reason)
  end)

  it("says why there is no KVM", function()
    local name, reason = platform.accel(x86, { kvm = folder .. "/kvm", cpuinfo = "/proc/cpuinfo", native = "x86_64" })
    assert.equal("tcg", name)
    assert.matches("/kvm: No such file", reason)
    name, reason = platform.accel(x86, { kvm = "/dev/null", cpuinfo = "/proc/cpuinfo", native = "x86_64" })
    assert.equal("tcg", name)
    assert.matches("^ask /dev/null: ", reason)
    name, reason = platform.accel(arm, places "")
    assert.equal("tcg", name)
    assert.matches("aarch64", reason)
  end)

  it("tells the kernel of a microvm the clock's rate, and takes another machine where that is unknown", function()
    local known = places "processor : 0\ncpu MHz\t\t: 2596.150\nflags\t\t: tsc hypervisor\n"
    local machine = platform.machine(x86, "tcg", nil, known)
    assert.equal("microvm", machine.type)
    assert.matches("tsc_early_khz=2596150 tsc=reliable$", platform.kernel_args(x86, "tcg", machine, known))
    local unknown = places "processor : 0\ncpu MHz\t\t: 800.000\nflags\t\t: tsc\n"
    assert.equal("q35", platform.machine(x86, "tcg", nil, unknown).type)
    assert.equal("microvm", platform.machine(x86, "kvm", nil, unknown).type)
    assert.not_matches("tsc", platform.kernel_args(x86, "kvm", machine, known))
  end)

  it("tells an emulated kernel to leave its locks as they are", function()
    local machine = platform.machine(x86, "tcg", "q35")
    assert.matches(" noreplace%-smp ", platform.kernel_args(x86, "tcg", machine))
    assert.not_matches("noreplace", platform.kernel_args(x86, "kvm", machine))
    assert.not_matches("noreplace", platform.kernel_args(arm, "tcg", arm.machines.virt))
  end)

  it("finds the clock's rate on machines that scale their frequency", function()
    local flags = "flags\t\t: tsc\ncpu MHz\t\t: 800.000\n"
    assert.equal(2100000, platform.tsc_khz(places("\n" .. flags, "2100000\n")))
    assert.equal(2600000, platform.tsc_khz(places("\nmodel name\t: Xeon @ 2.60GHz\n" .. flags)))
    assert.is_nil(platform.tsc_khz(places("\nmodel name\t: Some 9000\n" .. flags)))
  end)

  it("knows no architecture but its own", function()
    assert.equal("ttyAMA0", platform.get("aarch64").console)
    assert.equal("ENOTSUP", select(3, platform.get "vax"))
    assert.is_nil(platform.machine(x86, "tcg", "pdp11"))
  end)
end)
