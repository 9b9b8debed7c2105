-- QEMU's command line, made from the options of machine.launch: nothing is booted.
local assert = require "luassert"
local qemu = require "vmctl.machine.qemu"
local support = require "spec.support"

local run, code = support.run, support.code

local function kernel()
  local path = support.tmpdir() .. "/vmlinuz"
  assert(io.open(path, "w")):close()
  return path
end

local function described(options)
  local all = { kernel = kernel(), arch = "x86_64", accel = "tcg", machine = "q35" }
  for name, value in pairs(options or {}) do all[name] = value end
  return assert(qemu.describe(all))
end

local function command(options, channel)
  return qemu.command(described(options), channel or {})
end

-- The value behind each occurrence of an option.
local function values(argv, option)
  local list = {}
  for i = 1, #argv - 1 do
    if argv[i] == option then list[#list + 1] = argv[i + 1] end
  end
  return list
end

local function has(list, text)
  for _, value in ipairs(list) do
    if value:find(text, 1, true) then return true end
  end
  return false
end

describe("QEMU's command line", function()
  it("has a machine, a kernel, a console and no network by itself", run(function()
    local argv = command()
    assert.equal("qemu-system-x86_64", argv[1])
    assert.same({ "q35" }, values(argv, "-M"))
    assert.same({ "tcg,tb-size=128" }, values(argv, "-accel"))
    assert.same({ "256M" }, values(argv, "-m"))
    assert.same({ "1" }, values(argv, "-smp"))
    assert.same({ "none" }, values(argv, "-nic"))
    assert.same({ "none" }, values(argv, "-display"))
    assert.is_truthy(values(argv, "-kernel")[1]:find "/vmlinuz$")
    assert.is_truthy(values(argv, "-append")[1]:find("console=ttyS0", 1, true))
    assert.same({}, values(argv, "-initrd"))
    assert.is_true(has(argv, "-no-reboot"))
    assert.is_true(has(argv, "-no-user-config"))
  end))

  it("takes sizes as numbers of MiB and as QEMU has them", run(function()
    assert.same({ "512M" }, values(command { memory = 512 }, "-m"))
    assert.same({ "1G" }, values(command { memory = "1G" }, "-m"))
    assert.same({ "4" }, values(command { cpus = 4 }, "-smp"))
  end))

  it("puts what the user gives behind its own, as it is", run(function()
    local argv = command { append = "quiet 'x y'", args = { "-device", "pvpanic", "--", "-x" }, initrd = "/etc/passwd",
      qemu = "/opt/my qemu" }
    assert.equal("/opt/my qemu", argv[1])
    assert.is_truthy(values(argv, "-append")[1]:find " quiet 'x y'$")
    assert.same({ "/etc/passwd" }, values(argv, "-initrd"))
    assert.same({ "-device", "pvpanic", "--", "-x" }, table.move(argv, #argv - 3, #argv, 1, {}))
  end))

  it("has the channel's arguments, once", run(function()
    local argv = command(nil, { "-chardev", "socket,id=mux,fd=0" })
    assert.is_true(has(values(argv, "-chardev"), "socket,id=mux,fd=0"))
    assert.equal(3, #values(argv, "-chardev")) -- with the console's and the monitor's
  end))

  it("keeps a machine that reboots", run(function()
    assert.is_false(has(command { reboot = true }, "-no-reboot"))
  end))

  it("names devices as the machine's bus has them", run(function()
    assert.is_true(has(command { machine = "q35" }, "virtio-rng-pci"))
    assert.is_true(has(command { machine = "microvm" }, "virtio-rng-device"))
  end))

  it("asks for the host's processor under KVM alone, and for an emulated one that does not copy bytes one by one", run(function()
    assert.same({ "max,-erms,-fsrm" }, values(command { accel = "tcg" }, "-cpu"))
    assert.same({ "host" }, values(command { accel = "kvm" }, "-cpu"))
  end))

  it("has a card for each of `nics`, with an address of its own, and commas of paths doubled", run(function()
    local spec = described { nics = { { listen = "unix:/run/a,b" }, { connect = "tcp:127.0.0.1:7000", mac = "02:00:00:00:00:01" },
      { netdev = "user" }, { connect = "tcp:127.0.0.1:7001", backend = "socket" } } }
    local argv = qemu.command(spec, {})
    local netdevs, devices = values(argv, "-netdev"), values(argv, "-device")
    assert.equal(4, #netdevs)
    assert.is_truthy(netdevs[1]:find("server=on,addr.type=unix,addr.path=/run/a,,b", 1, true))
    assert.is_truthy(netdevs[2]:find("server=off,addr.type=inet,addr.host=127.0.0.1,addr.port=7000", 1, true))
    assert.is_truthy(netdevs[3]:find "^user,id=")
    assert.is_truthy(netdevs[4]:find "^socket,id=[^,]+,connect=127.0.0.1:7001")
    assert.is_true(has(devices, "mac=02:00:00:00:00:01"))
    local seen = {}
    for _, device in ipairs(devices) do
      local mac = device:match "mac=([%x:]+)"
      if mac then
        assert.is_nil(seen[mac])
        seen[mac] = true
      end
    end
  end))

  it("has a screen when one is asked for", run(function()
    assert.is_true(has(command { display = true }, "VGA"))
    assert.is_true(has(command { display = true, machine = "microvm" }, "virtio-gpu-device"))
    assert.is_true(has(command { display = "virtio" }, "virtio-gpu-pci"))
    assert.is_false(has(command(), "VGA"))
  end))

  it("is that of the guest's architecture", run(function()
    local argv = command { arch = "aarch64", machine = "virt" }
    assert.equal("qemu-system-aarch64", argv[1])
    assert.is_truthy(values(argv, "-append")[1]:find("console=ttyAMA0", 1, true))
  end))

  it("is refused for options that fit nothing", run(function()
    local path = kernel()
    local function refused(options)
      options.kernel = options.kernel or path
      return code(qemu.describe(options))
    end
    assert.equal("ENOENT", refused { kernel = "/no/such/kernel" })
    assert.equal("EACCES", refused { kernel = "/tmp" })
    assert.equal("ENOENT", refused { initrd = "/no/such/image" })
    assert.is_truthy(refused { arch = "pdp11" })
    assert.equal("EINVAL", refused { arch = "x86_64", machine = "virt" })
    assert.equal("EINVAL", refused { nics = { {} } })
    assert.equal("EINVAL", refused { nics = { { listen = "vsock:3:1" } } })
    assert.equal("EINVAL", refused { nics = { { listen = "unix:/a", backend = "socket" } } })
    assert.equal("EINVAL", refused { arch = "x86_64", machine = "microvm", display = "std" })
  end))
end)
