-- tools/deps on systems of all kinds: what is missing is named with the command that installs it.
local assert = require "luassert"
local core = require "vmctl.core"
local platform = require "vmctl.machine.platform"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 60
local TOOLS = { "sh", "dirname", "grep", "sed", "sort", "tr", "paste", "id", "cat", "head", "make", "find", "dpkg", "touch" }

-- A command with a PATH on which there is next to nothing, on a system of that name.
local function on_system(id, command)
  local folder = support.tmpdir()
  for _, tool in ipairs(TOOLS) do
    assert(vmctl.host:run { "sh", "-c", 'ln -s "$(command -v "$1")" "$2/"', "sh", tool, folder, check = true })
  end
  local file = assert(io.open(folder .. "/os-release", "w"))
  file:write("ID=", id, "\n")
  file:close()
  command.env = { PATH = folder, OS_RELEASE = folder .. "/os-release" }
  return assert(vmctl.host:run(command))
end

local function deps_on(id, groups) return on_system(id, { "tools/deps", table.unpack(groups) }) end

describe("make demo", function()
  it("stops with one sentence on a system whose packages it does not install", support.run(function()
    for id, words in pairs {
      fedora = "run: sudo dnf install busybox .* glibc%-static .* lua%-static .*libev as a static library.*LIBS=own",
      arch = "run: sudo pacman %-S busybox ",
      alpine = "run: sudo apk add busybox%-static ", ubuntu = "run: sudo apt install busybox%-static ",
      plan9 = "there is no package known here for: a C compiler, " } do
      local result = on_system(id, { "make", "-s", "demo" })
      assert.equal(2, result.exit_code)
      assert.equal("", result.stdout)
      local said, rest = result.stderr:match "^(deps: [^\n]*)\n(.*)$"
      assert.matches("^deps: this system lacks what vmctl needs; " .. words, said, nil, id)
      assert.matches("^make[%[%]%d]*: %*%*%* %[Makefile:%d+: demo%] Error 1\n$", rest)
    end
  end, LIMIT))
end)

describe("the table of packages in docs/start.md", function()
  it("is what tools/deps knows (make packages-table)", support.run(function()
    local made = assert(vmctl.host:run { "tools/deps", "--table", "build", "guest", check = true }).stdout
    local file <close> = assert(io.open "docs/start.md")
    assert.equal(made, file:read "a":match "<!%-%- packages:[^\n]*\n(.-)<!%-%- end of packages")
    for _, system in ipairs { "Debian 12 and 13, Ubuntu", "Fedora", "Arch", "Alpine" } do assert.matches("| " .. system, made) end
  end, LIMIT))
end)

describe("tools/deps", function()
  it("names the packages and the command of each distribution that it knows", support.run(function()
    for id, words in pairs { fedora = { "dnf install", "lua%-devel", "libev%-devel" }, arch = { "pacman %-S", " lua ", "libev" },
      alpine = { "apk add", "lua5%.4%-dev", "busybox%-static" }, ["opensuse-leap"] = { "zypper install", "lua54%-devel", "qemu%-x86" } } do
      local result = deps_on(id, { "build", "guest" })
      assert.equal(1, result.exit_code)
      for _, word in ipairs(words) do assert.matches(word, result.stderr) end
      assert.equal(1, select(2, result.stderr:gsub("\n", "\n")))
    end
  end, LIMIT))

  it("names what is needed on a system that it does not know", support.run(function()
    local result = deps_on("plan9", { "build" })
    assert.equal(1, result.exit_code)
    for _, word in ipairs { "a C compiler", "the headers of Lua 5%.4", "libev's headers" } do assert.matches(word, result.stderr) end
  end, LIMIT))

  it("is content, wherever it is, when all is there", support.run(function()
    local file = support.tmpdir() .. "/os-release"
    assert(vmctl.host:run { "sh", "-c", "echo ID=plan9 > " .. file, check = true })
    local result = assert(vmctl.host:run { "tools/deps", "build", "guest", "test", env = { OS_RELEASE = file } })
    assert.same({ 0, "", "" }, { result.exit_code, result.stdout, result.stderr })
  end, LIMIT))

  it("refuses a group that it does not know", support.run(function()
    local result = assert(vmctl.host:run { "tools/deps", "nonsense" })
    assert.equal(1, result.exit_code)
    assert.matches("unknown group 'nonsense'", result.stderr)
  end, LIMIT))
end)

describe("tools/fetch-sources", function()
  it("takes the sources that are there, where there is no apt", support.run(function()
    local folder = support.tmpdir()
    local function fetch()
      return on_system("fedora", { "sh", "-c", 'tools/fetch-sources "$1/sources" && cat "$1/sources/ready"', "sh", folder })
    end
    local none = fetch()
    assert.equal(1, none.exit_code)
    assert.equal("fetch-sources: no apt-get here: unpack the sources of Lua 5.4, libev, lua-cjson and protobuf-c to lua5.4, libev, "
      .. "lua-cjson and protobuf-c in " .. folder .. "/sources\n", none.stderr)
    assert(vmctl.host:run { "sh", "-ec", [[mkdir "$1/sources"; cd "$1/sources"; mkdir -p lua5.4/src libev lua-cjson protobuf-c/protobuf-c
      : >lua5.4/src/lua.h; : >libev/ev.c; : >lua-cjson/lua_cjson.c; : >protobuf-c/protobuf-c/protobuf-c.c]], "sh", folder,
      check = true })
    assert.same({ 0, "", "" }, { fetch().exit_code, fetch().stdout, fetch().stderr })
  end, LIMIT))
end)

describe("tools/fetch-kernel", function()
  it("takes the kernel that runs, and its modules, where there is no apt", support.run(function()
    local folder = support.tmpdir()
    local release = assert(vmctl.host:run { "uname", "-r", check = true }).stdout:match "%S+"
    for _, tool in ipairs { "sh", "dirname", "mkdir", "mktemp", "rm", "rmdir", "cp", "ln", "mv", "uname", "cat" } do
      assert(vmctl.host:run { "sh", "-c", 'mkdir -p "$2/bin"; ln -s "$(command -v "$1")" "$2/bin/"', "sh", tool, folder, check = true })
    end
    local function fetch()
      return assert(vmctl.host:run { "tools/fetch-kernel", folder .. "/out",
        env = { PATH = folder .. "/bin", BOOT = folder .. "/boot", LIB_MODULES = folder .. "/modules", KERNEL = "" } })
    end
    local none = fetch()
    assert.equal(1, none.exit_code)
    assert.equal("fetch-kernel: no apt-get here, and no file of the kernel that runs: set KERNEL=path (and MODULES=path of its modules)\n",
      none.stderr)
    assert(vmctl.host:run { "sh", "-ec", [[cd "$1"; mkdir -p boot "modules/$2/kernel"; echo kernel >"boot/vmlinuz-$2"]], "sh", folder,
      release, check = true })
    assert.same({ 0, "" }, { fetch().exit_code, fetch().stdout }) -- the second time there is nothing to do
    local seen = assert(vmctl.host:run { "sh", "-ec", [[cd "$1/out"; ls; cat vmlinuz version; readlink modules]], "sh", folder,
      check = true }).stdout
    assert.equal(("modules\nversion\nvmlinuz\nkernel\n%s\n%s/modules/%s\n"):format(release, folder, release), seen)
  end, LIMIT))
end)

-- A kernel of x86 that has these bytes as its payload.
local function kernel_with(payload, size)
  local head = ("\0"):rep(0x1f1) .. "\1" .. ("\0"):rep(16) .. "HdrS" .. ("\0"):rep(0x42) .. ("<I4I4"):pack(0, #payload + 4)
  return head .. ("\0"):rep(1024 - #head) .. payload .. ("<I4"):pack(size) .. "behind it"
end

describe("tools/unpacked-guest.lua", function()
  it("leaves a kernel packed that QEMU cannot start unpacked, and tries it once", support.run(function()
    local folder = support.tmpdir()
    local function unpacked(kernel)
      if kernel then assert(vmctl.host:write_file(folder .. "/vmlinuz", kernel)) end
      local result = assert(vmctl.host:run { "env", "-u", "VMCTL_GUEST", "lua5.4", "tools/unpacked-guest.lua", folder, folder .. "/vmlinuz",
        folder .. "/out", env = { LUA_PATH_5_4 = package.path, LUA_CPATH_5_4 = package.cpath }, timeout = LIMIT })
      assert.same({ 0, "" }, { result.exit_code, result.stdout }, result.stderr)
      assert.is_nil(core.fs.stat(folder .. "/out/vmlinuz"))
      return result.stderr
    end
    assert.equal("", unpacked "short")
    local own = platform.get()
    if not own or own.arch ~= "x86_64" or platform.accel(own) == "kvm" then return pending "guests are not emulated here" end
    local packed = assert(vmctl.host:run { "xz", "-c", stdin = "no kernel", check = true }).stdout
    assert.equal("", unpacked(kernel_with(packed, 10)))
    assert.matches("the packed kernel is taken: guest: not ready .*QEMU ended with exit code 1\n", unpacked(kernel_with(packed, 9)))
    assert.equal("", unpacked())
  end, LIMIT))
end)

describe("vmctl's parts", function()
  it("are refused with a sentence when they are not of one version", support.run(function()
    local program = [[
      package.loaded["vmctl.base.version"] = "9.9.9"
      print(select(2, pcall(require, "vmctl")))
    ]]
    local result = assert(vmctl.host:run { "lua5.4", "-e", program,
      env = { LUA_PATH = package.path, LUA_CPATH = package.cpath } })
    assert.matches("core%.so is of version %d+%.%d+%.%d+, the Lua files are of 9%.9%.9: install both from one place", result.stdout)
  end, LIMIT))
end)
