-- Takes about 10 seconds.
local assert = require "luassert"
local core = require "vmctl.core"
local doctor = require "vmctl.doctor"
local lfs = require "lfs"
local support = require "spec.support"

local run = support.run

local LIMIT = 30 -- seconds: QEMU is asked three or four times

local function by_name(findings)
  local map = {}
  for _, finding in ipairs(findings) do map[finding.name] = finding end
  return map
end

local function shell(command)
  local pipe <close> = assert(io.popen(command .. " 2>/dev/null", "r"))
  return (pipe:read "a":gsub("%s+$", ""))
end

local function can_open(path)
  local file = io.open(path, "r+b")
  if file then file:close() end
  return file ~= nil
end

-- A folder with a program that prints what it is told to.
local function folder_with(program, script)
  local dir = support.tmpdir()
  local path = dir .. "/" .. program
  local file <close> = assert(io.open(path, "w"))
  assert(file:write("#!/bin/sh\n", script, "\n"))
  assert(core.fs.chmod(path, tonumber("755", 8)))
  return dir, path
end

local native = shell "uname -m"
local QEMU = native == "aarch64" and "qemu-system-aarch64" or "qemu-system-x86_64"

describe("vmctl.doctor.check", function()
  it("says of each thing whether it works, what was seen, and what would help", run(function()
    local findings = doctor.check()
    assert.is_true(#findings >= 15)
    local names = {}
    for _, finding in ipairs(findings) do
      assert.is_nil(names[finding.name], finding.name)
      names[finding.name] = true
      assert.is_true(finding.ok == true or finding.ok == false or finding.ok == "partial")
      assert.is_true(#finding.detail > 0 and not finding.detail:find "[%c]")
      assert.equal("boolean", type(finding.optional))
      if finding.ok == true then assert.is_nil(finding.advice) end
    end
  end, LIMIT))

  it("sees what is there by other means as well", run(function()
    local seen = by_name(doctor.check())
    assert.equal(can_open "/dev/vhost-vsock", seen["vhost-vsock"].ok)
    assert.equal(core.landlock_abi() ~= nil, seen.Landlock.ok)
    assert.equal(shell "ls /usr/share/OVMF/OVMF_CODE*.fd /usr/share/edk2/*/OVMF_CODE*.fd" ~= "", seen.OVMF.ok)
    assert.equal(shell "command -v passt" ~= "", seen.passt.ok)
    assert.equal(require "vmctl.machine.own_user".id() ~= nil, seen["a user for each QEMU"].ok)
    assert.equal(core.try_kvm "/dev/kvm" == true, seen.KVM.ok ~= false)
    if native == "x86_64" and core.try_kvm "/dev/kvm" then
      local flags = shell "grep -c -w -E 'vmx|svm' /proc/cpuinfo" ~= "0"
      assert.equal(flags or "partial", seen.KVM.ok)
    end
    assert.equal(shell "grep -c '^AF_VSOCK ' /proc/net/protocols" == "1", seen.AF_VSOCK.ok ~= false)
    local cid = core.local_cid()
    assert.equal(cid ~= nil, seen.AF_VSOCK.ok == true)
    if cid and cid ~= 0xffffffff then assert.truthy(seen.AF_VSOCK.detail:find(("CID is %d"):format(cid), 1, true)) end
    assert.equal(lfs.attributes "/dev/virtio-ports" ~= nil, seen["virtio-serial ports here"].ok)
    for _, program in ipairs { "qemu-img", "go" } do
      assert.equal(shell("command -v " .. program) ~= "", seen[program].ok, program)
    end
    assert.truthy(seen["open files"].detail:find(shell "ulimit -S -n", 1, true))
    assert.equal(pcall(require, "vmctl.pb"), seen.protobuf.ok)
  end, LIMIT))

  it("asks the QEMU of this machine what it can do", run(function()
    local file = shell("command -v " .. QEMU)
    if file == "" then return end
    local seen = by_name(doctor.check())
    assert.is_true(seen[QEMU].ok)
    assert.truthy(seen[QEMU].detail:find(file .. ", version " .. shell(QEMU .. " --version"):match "version ([%d.]+)", 1, true))
    assert.equal(("\n" .. shell(QEMU .. " -netdev help") .. "\n"):find("\nstream\n", 1, true) ~= nil,
      seen["QEMU's stream netdev"].ok)
    assert.equal(shell(QEMU .. " -device help"):find("virtserialport", 1, true) ~= nil, seen["virtio-serial"].ok)
  end, LIMIT))

  it("finds nothing on an empty PATH, and says what to install", run(function()
    local empty = support.tmpdir()
    local seen = by_name(doctor.check { path = empty, build = empty })
    assert.is_false(seen[QEMU].ok)
    assert.truthy(seen[QEMU].advice:find("install qemu-system-", 1, true))
    assert.is_nil(seen["QEMU's stream netdev"])
    assert.is_false(seen["qemu-img"].ok)
    assert.equal("install qemu-utils", seen["qemu-img"].advice)
    for _, name in ipairs { "guest image", "agent" } do assert.is_false(seen[name].ok) end
    assert.is_not.equal(true, seen.kernel.ok)
  end, LIMIT))

  it("says what a user of a checkout, of an installation and of a rock is to do", run(function()
    local prefix = support.tmpdir()
    local build = prefix .. "/lib/lua/5.4"
    assert(core.fs.folders("/", build))
    local function advice()
      local seen = by_name(doctor.check { path = prefix, build = build })
      return { seen.kernel.advice:match "^%w+ [%w_]+", seen["guest image"].advice:match "^%S+",
        seen.agent.ok or seen.agent.advice:match "^%w+ %w+" }
    end
    assert.same({ "set VMCTL_KERNEL", "vmctl.machine.image.build", "make install" }, advice())
    assert(core.fs.folders("/", prefix .. "/bin"))
    for _, name in ipairs { "vmctl-build-image", "vmctl-agent" } do assert(core.fs.replace(prefix .. "/bin/" .. name, "", 493)) end
    assert.same({ "set VMCTL_KERNEL", "vmctl-build-image", true }, advice())
    assert(core.fs.folders("/", prefix .. "/lib/lua/tools"))
    assert(core.fs.replace(prefix .. "/lib/lua/tools/build-image.lua", ""))
    assert.same({ "make guest", "make", true }, advice())
  end, LIMIT))

  it("takes an old QEMU for what it is", run(function()
    local dir, path = folder_with(QEMU, [[
      case "$1" in
        --version) echo "QEMU emulator version 6.2.0 (Debian)";;
        -netdev) printf 'Available netdev backend types:\nsocket\nuser\n';;
        -accel) printf 'Accelerators supported in QEMU binary:\ntcg\n';;
        -device) echo 'name "e1000", bus PCI';;
      esac]])
    local seen = by_name(doctor.check { path = dir })
    assert.equal(path .. ", version 6.2.0, accelerators: tcg", seen[QEMU].detail)
    assert.is_false(seen["QEMU's stream netdev"].ok)
    assert.is_false(seen["QEMU's PNG pictures"].ok)
    assert.is_false(seen["virtio-serial"].ok)
    assert.is_false(seen["QEMU's virtiofs"].ok)
    assert.is_true(seen["QEMU's user networking"].ok)
  end, LIMIT))

  it("tries buildah, which may be there and lack what it needs", run(function()
    local works = os.execute 'c=$(buildah from scratch 2>/dev/null) && buildah rm "$c" >/dev/null 2>&1'
    assert.equal(works == true, by_name(doctor.check()).buildah.ok)
    local dir, path = folder_with("buildah", [[echo 'Error: could not find "netavark" in one of [/usr/lib/podman]' >&2; exit 125]])
    local seen = by_name(doctor.check { path = dir }).buildah
    assert.same({ false, path .. ' does not work: Error: could not find "netavark" in one of [/usr/lib/podman]', "install netavark" },
      { seen.ok, seen.detail, seen.advice })
    dir = folder_with("buildah", "exec yes flood")
    assert.is_false(by_name(doctor.check { path = dir }).buildah.ok)
    assert.equal("install buildah", by_name(doctor.check { path = support.tmpdir() }).buildah.advice)
  end, LIMIT))

  it("is not held up by a program that floods, and passes on nothing that a terminal obeys", run(function()
    local dir = folder_with(QEMU, "exec yes flood")
    assert.is_false(by_name(doctor.check { path = dir })[QEMU].ok)
    dir = folder_with(QEMU, "printf '\\033[2J version 7.2 \\007'; exit 1")
    assert.is_nil(by_name(doctor.check { path = dir })[QEMU].detail:find "%c")
  end, LIMIT))

  it("finds what make has built where it is told to look", run(function()
    local build = support.tmpdir()
    assert(lfs.mkdir(build .. "/kernel"))
    for _, name in ipairs { "kernel/vmlinuz", "guest.img", "vmctl-agent" } do
      assert(io.open(build .. "/" .. name, "w")):close()
    end
    local seen = by_name(doctor.check { path = build, build = build })
    if not os.getenv "VMCTL_KERNEL" then assert.equal(build .. "/kernel/vmlinuz", seen.kernel.detail) end
    if not os.getenv "VMCTL_INITRD" then assert.equal(build .. "/guest.img", seen["guest image"].detail) end
    assert.same({ true, build .. "/vmctl-agent" }, { seen.agent.ok, seen.agent.detail })
  end, LIMIT))

  it("raises for options that it does not have", function()
    assert.has_error(function() doctor.check { paths = "x" } end)
  end)
end)

describe("vmctl.doctor.report", function()
  local function report(opts)
    local parts = {}
    local out = { write = function(_, ...) parts[#parts + 1] = table.concat { ... } end }
    local ok, err, code, lacking = doctor.report(out, opts)
    return table.concat(parts), ok, err, code, lacking
  end

  it("has a line for each thing, and advice below what lacks something", run(function()
    local empty = support.tmpdir()
    local text, ok, err, code, lacking = report { path = empty, build = empty }
    for _, finding in ipairs(doctor.check { path = empty, build = empty }) do
      assert.truthy(text:find(finding.name, 1, true))
      if finding.advice then assert.truthy(text:find("-> " .. finding.advice, 1, true)) end
    end
    assert.is_nil(ok)
    assert.equal("ENOENT", code)
    assert.truthy(err:find(QEMU, 1, true))
    assert.equal(QEMU, lacking[1].name)
    for _, each in ipairs(lacking) do assert.is_false(each.optional) end
  end, LIMIT))
end)
