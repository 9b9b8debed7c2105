-- A guest sees the files of its image: they are read back in a guest by a program of the specs' own, line by line.
-- Takes about 45 seconds.
local assert = require "luassert"
local cli = require "spec.support.cli"
local core = require "vmctl.core"
local guest = require "spec.support.guest"
local layers = require "spec.support.layers"
local roots = require "spec.support.roots"
local support = require "spec.support"

local BOOT = 60

local function bytes_of(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function hex(text) return core.sha256(text):hex() end

-- As the lister writes names and values.
local function plain(text)
  return (text:gsub("[^!-$&-<>-~]", function(c) return ("%%%02x"):format(c:byte()) end))
end

-- The line that an entry must give. more: links, first, xattrs in the order of their names.
local function line(path, kind, mode, uid, gid, time, what, more)
  more = more or {}
  local words = { plain(path), kind, ("%o"):format(mode), uid, gid, time }
  if kind ~= "d" then
    words[#words + 1] = more.links or 1
    words[#words + 1] = plain(more.first or path)
  end
  if kind == "f" then what = #what .. ":" .. hex(what) end
  if kind == "l" then what = plain(what) end
  words[#words + 1] = what
  for _, each in ipairs(more) do words[#words + 1] = each[1] .. "=" .. plain(each[2]) end
  return table.concat(words, " ")
end

local ZERO = "0.000000000"
local CAPABILITY = ("<I4I4I4I4I4"):pack(0x02000001, 1 << 13, 0, 0, 0)
local ACL = ("<I4"):pack(2) .. ("<I2I2I4"):pack(1, 6, 0xffffffff) .. ("<I2I2I4"):pack(2, 4, 1000) .. ("<I2I2I4"):pack(4, 4, 0xffffffff)
  .. ("<I2I2I4"):pack(16, 4, 0xffffffff) .. ("<I2I2I4"):pack(32, 0, 0xffffffff)
local LONG, DEEP = ("n"):rep(255), ("deep/"):rep(150) .. "end"
local TARGET = ("../t"):rep(1000)
local BIG, SAME = ("v"):rep(3000), ("same"):rep(50)

describe("an image in its guest", function()
  local folder

  local function run(body, limit)
    return support.run(function()
      folder = support.tmpdir()
      body()
    end, limit)
  end

  local function boot(options)
    local vm = assert(roots.launch(folder, options))
    local ready, err = vm:wait_ready(BOOT)
    if not ready then
      vm:close()
      error(err, 2)
    end
    return vm
  end

  -- The lister's lines about a guest's root, by path.
  local function list(vm)
    local result = assert(vm:run { "/lister", "/", "/dev", "/proc", "/sys", "/run", check = true, max_output = 16 << 20 })
    local found, count = {}, 0
    for each in result.stdout:gmatch "[^\n]+" do
      found[each:match "^%S+"] = each
      count = count + 1
    end
    return found, count
  end

  local function check(vm, wanted)
    local found = list(vm)
    for _, each in ipairs(wanted) do
      local path = each:match "^%S+"
      assert.equal(each, found[path])
      found[path] = nil
    end
    assert.same({}, found)
  end

  local function base()
    local entries = { { path = "./", mode = 489, mtime = "1234567890.000000001" } }
    for i, name in ipairs { "dev/", "proc/", "sys/", "run/" } do entries[i + 2] = { path = name } end -- else stage 1 makes them
    entries[#entries + 1] = { path = "tmp/", mode = 1023 }
    entries[2] = { path = "lister", content = bytes_of(layers.lister(folder)), mode = 493 }
    return entries
  end

  local function base_lines(entries)
    return { line("/", "d", 489, 0, 0, "1234567890.000000001"), line("/lister", "f", 493, 0, 0, ZERO, entries[2].content),
      line("/tmp", "d", 1023, 0, 0, ZERO) }
  end

  it("has its owners, modes, times, links, attributes, devices and names", run(function()
    local entries = base()
    local wanted = base_lines(entries)
    local function add(entry, ...)
      entries[#entries + 1] = entry
      for _, each in ipairs { ... } do wanted[#wanted + 1] = each end
    end
    add({ path = "1950", content = "a", mtime = "-631152000.25" }, line("/1950", "f", 420, 0, 0, "-631152001.750000000", "a"))
    add({ path = "1969", content = "", mtime = "-0.000000001" }, line("/1969", "f", 420, 0, 0, "-1.999999999", ""))
    add({ path = "2200", content = "b", mtime = "7258118400.123456789" }, line("/2200", "f", 420, 0, 0, "7258118400.123456789", "b"))
    add({ path = "far", link = "nowhere", mtime = "99999999999" }, line("/far", "l", 511, 0, 0, "99999999999.000000000", "nowhere"))
    add({ path = "owned", content = "c", mode = 2541, uid = 4000000000, gid = 70000 },
      line("/owned", "f", 2541, 4000000000, 70000, ZERO, "c"))
    add({ path = "can", content = "d", mode = 493, xattrs = { ["security.capability"] = CAPABILITY, ["user.a"] = "x\0y",
      ["trusted.t"] = "" } },
      line("/can", "f", 493, 0, 0, ZERO, "d", { { "security.capability", CAPABILITY }, { "trusted.t", "" }, { "user.a", "x\0y" } }))
    for i = 1, 2 do
      add({ path = "big" .. i, content = "e", xattrs = { ["user.big"] = BIG, ["user.same"] = SAME } },
        line("/big" .. i, "f", 420, 0, 0, ZERO, "e", { { "user.big", BIG }, { "user.same", SAME } }))
    end
    add({ path = "acl", content = "f", mode = 416, xattrs = { ["system.posix_acl_access"] = ACL } },
      line("/acl", "f", 416, 0, 0, ZERO, "f", { { "system.posix_acl_access", ACL } }))
    add({ path = "acls", mode = 488, xattrs = { ["system.posix_acl_default"] = ACL, ["user.f"] = "1" } },
      line("/acls", "d", 488, 0, 0, ZERO, nil, { { "system.posix_acl_default", ACL }, { "user.f", "1" } }))
    add({ path = "null", type = "char", major = 1, minor = 3, mode = 438 }, line("/null", "c", 438, 0, 0, ZERO, "1,3"))
    add({ path = "blk", type = "block", major = 4095, minor = 1048575, mode = 384 }, line("/blk", "b", 384, 0, 0, ZERO, "4095,1048575"))
    add({ path = "pipe", type = "fifo" }, line("/pipe", "p", 420, 0, 0, ZERO))
    add({ path = "one", content = "three names" }, line("/one", "f", 420, 0, 0, ZERO, "three names", { links = 3, first = "/acls/two" }))
    add({ path = "acls/two", type = "hard", link = "one" }, line("/acls/two", "f", 420, 0, 0, ZERO, "three names", { links = 3 }))
    add({ path = "three", type = "hard", link = "acls/two" },
      line("/three", "f", 420, 0, 0, ZERO, "three names", { links = 3, first = "/acls/two" }))
    add({ path = "linked", type = "hard", link = "far" },
      line("/linked", "l", 511, 0, 0, "99999999999.000000000", "nowhere", { links = 2, first = "/far" }))
    for i, each in ipairs(wanted) do
      if each:find "^/far " then wanted[i] = line("/far", "l", 511, 0, 0, "99999999999.000000000", "nowhere", { links = 2 }) end
    end
    for _, name in ipairs { "sp ace", "new\nline", "tab\t", "\xff\xfe", "a=b%c", "-rf", "\u{e4}", LONG } do
      add({ path = name, content = name }, line("/" .. name, "f", 420, 0, 0, ZERO, name))
    end
    add({ path = DEEP, content = "end" }, line("/" .. DEEP, "f", 420, 0, 0, ZERO, "end"))
    for i = 1, 150 do wanted[#wanted + 1] = line("/" .. ("deep/"):rep(i):sub(1, -2), "d", 493, 0, 0, ZERO) end
    add({ path = "longest", link = TARGET }, line("/longest", "l", 511, 0, 0, ZERO, TARGET))
    for _, size in ipairs { 4031, 4032, 4033, 4095, 4096, 4097, 1 << 20, (1 << 20) + 1 } do
      local content = ("0123456"):rep(size // 7 + 1):sub(1, size)
      add({ path = "size" .. size, content = content }, line("/size" .. size, "f", 420, 0, 0, ZERO, content))
    end
    add({ path = "many/" }, line("/many", "d", 493, 0, 0, ZERO))
    add({ path = "many/0000", content = "m" }, line("/many/0000", "f", 420, 0, 0, ZERO, "m", { links = 1000 }))
    for i = 1, 999 do
      local path = ("many/%04d"):format(i)
      add({ path = path, type = "hard", link = "many/0000" },
        line("/" .. path, "f", 420, 0, 0, ZERO, "m", { links = 1000, first = "/many/0000" }))
    end
    local vm <close> = boot { root = layers.layout(folder, { entries }) }
    check(vm, wanted)
  end, 2 * BOOT))

  it("has its layers laid onto each other, whatever packs them, with holes read as zeros", run(function()
    local entries = base()
    local wanted = base_lines(entries)
    for _, each in ipairs {
      { path = "usr/lib/" }, { path = "usr/lib/a", content = "low" }, { path = "lib", link = "usr/lib" }, { path = "abs",
        link = "/usr/lib" },
      { path = "opq/", mode = 448 }, { path = "opq/low/" }, { path = "opq/low/x", content = "x" }, { path = "gone", content = "g" },
      { path = "d/" }, { path = "d/gone/" }, { path = "d/gone/x", content = "y" }, { path = "d/stay", content = "z" },
      { path = "file", content = "becomes a folder" }, { path = "folder/" }, { path = "folder/x", content = "becomes a file" },
      { path = "l1", content = "linked" }, { path = "l2", type = "hard", link = "l1" }, { path = "l3", type = "hard", link = "l1" },
    } do entries[#entries + 1] = each end
    entries.pack = "gzip"
    layers.run(folder, [[mkdir sparse; truncate -s 50M sparse/hole; printf end >>sparse/hole
      printf begin | dd of=sparse/hole conv=notrunc status=none; touch -d @5 sparse/hole; chmod 600 sparse/hole
      pack() { tar -C sparse --sparse --format=$1 --owner=0 --group=0 --numeric-owner -cf $2.tar $2; }
      pack gnu hole; mv sparse/hole sparse/pax; pack posix pax]])
    local hole = "begin" .. ("\0"):rep((50 << 20) - 5) .. "end"
    local root = layers.layout(folder, {
      entries,
      { { path = "lib/b", content = "up" }, { path = "abs/c", content = "up" }, { path = "opq/new", content = "n" },
        { path = "opq/.wh..wh..opq", content = "" }, { path = "d/", mode = 511, uid = 7, mtime = 9, xattrs = { ["user.d"] = "1" } },
        { path = "d/.wh.gone", content = "" }, { path = ".wh.gone", content = "" }, { path = "gone/back", content = "b" },
        { path = ".wh.never", content = "" }, { path = ".wh..wh.plnk", content = "" }, pack = "zstd" },
      { { path = "file/" }, { path = "file/in", content = "in" }, { path = "folder", content = "f" },
        { path = "l3", content = "own" }, { path = "low", type = "hard", link = "usr/lib/a" },
        { path = "twice", content = "1" }, { path = "twice", content = "2", mode = 384 }, pack = "xz" },
      { bytes = bytes_of(folder .. "/hole.tar"), pack = "bzip2" },
      { bytes = bytes_of(folder .. "/pax.tar") },
    })
    for _, each in ipairs {
      line("/usr", "d", 493, 0, 0, ZERO), line("/usr/lib", "d", 493, 0, 0, ZERO), line("/lib", "l", 511, 0, 0, ZERO, "usr/lib"),
      line("/abs", "l", 511, 0, 0, ZERO, "/usr/lib"), line("/usr/lib/b", "f", 420, 0, 0, ZERO, "up"),
      line("/usr/lib/c", "f", 420, 0, 0, ZERO, "up"), line("/opq", "d", 448, 0, 0, ZERO), line("/opq/new", "f", 420, 0, 0, ZERO, "n"),
      line("/d", "d", 511, 7, 0, "9.000000000", nil, { { "user.d", "1" } }), line("/d/stay", "f", 420, 0, 0, ZERO, "z"),
      line("/gone", "d", 493, 0, 0, ZERO), line("/gone/back", "f", 420, 0, 0, ZERO, "b"), line("/file", "d", 493, 0, 0, ZERO),
      line("/file/in", "f", 420, 0, 0, ZERO, "in"), line("/folder", "f", 420, 0, 0, ZERO, "f"),
      line("/l1", "f", 420, 0, 0, ZERO, "linked", { links = 2 }), line("/l2", "f", 420, 0, 0, ZERO, "linked", { links = 2, first = "/l1" }),
      line("/l3", "f", 420, 0, 0, ZERO, "own"), line("/low", "f", 420, 0, 0, ZERO, "low", { links = 2 }),
      line("/usr/lib/a", "f", 420, 0, 0, ZERO, "low", { links = 2, first = "/low" }), line("/twice", "f", 384, 0, 0, ZERO, "2"),
      line("/hole", "f", 384, 0, 0, "5.000000000", hole), line("/pax", "f", 384, 0, 0, "5.000000000", hole),
    } do wanted[#wanted + 1] = each end
    local vm <close> = boot { root = root }
    check(vm, wanted)
  end, 2 * BOOT))

  -- A program alone, as images of one program are: no folders but its own.
  local function single(config)
    local busybox = assert(io.open "/bin/busybox" or io.open "/usr/bin/busybox")
    local bytes = busybox:read "a"
    busybox:close()
    return layers.layout(folder, { { { path = "bin/busybox", content = bytes, mode = 493 }, { path = "bin/sh", link = "busybox" },
      { path = "etc/passwd", content = "tool:x:7:8::/home/tool:/bin/sh\n" } } }, config)
  end

  it("gives commands their environment, user, folder and program, where they name none", run(function()
    local root = single { Env = { "A=image", "B=b=c" }, User = "tool", WorkingDir = "/work/in here", Cmd = { "x", "y z" },
      Entrypoint = { "/bin/sh", "-c", 'echo "$A,$B,$HOME,$0,$1"; pwd; busybox id -u; busybox id -g' } }
    local vm <close> = boot { root = root }
    assert.equal("image,b=c,/home/tool,x,y z\n/work/in here\n7\n8\n", assert(vm:run { check = true }).stdout)
    assert.equal("mine\n/\n0\n", assert(vm:run { "/bin/sh", "-c", "echo $A; pwd; busybox id -u", env = { A = "mine" }, cwd = "/",
      user = "0", check = true }).stdout)
    assert.equal("755 /\n1777 /tmp\n755 /work\n755 /work/in here\n",
      assert(vm:run("busybox stat -c '%a %n' / /tmp /work '/work/in here'")).stdout)
  end, BOOT))

  it("runs its own program at the shell, behind a -- with nothing after it", run(function()
    local root = single { Env = { "A=image" }, Entrypoint = { "/bin/sh", "-c", 'echo "$A"; exit 3' } }
    local env = { XDG_CACHE_HOME = folder .. "/cache", VMCTL_KERNEL = guest.kernel, VMCTL_MODULES = guest.modules_dir(),
      VMCTL_AGENT = guest.agent }
    local result = cli.run { "run", "--root", root, "--", env = env, timeout = BOOT }
    assert.same({ "image\n", 3 }, { result.stdout, result.exit_code }, result.stderr)
    local vm <close> = boot { root = single {} }
    local none, err, code = vm:run {}
    assert.same({ nil, "EINVAL" }, { none, code })
    assert.equal("no program is named, and the guest's root names none of its own", err)
  end, 2 * BOOT))

  it("whose user it does not know says so with each command", run(function()
    local vm <close> = boot { root = { single { User = "nobody-here" }, read_only = true } } -- its /proc and the like are laid over it
    local result = assert(vm:run "true")
    assert.is_truthy(tostring(result.error):find("unknown user 'nobody-here'", 1, true), result.error)
    assert.equal(0, assert(vm:run { "/bin/sh", "-c", "true", user = "0" }).exit_code)
  end, BOOT))

  it("is larger than the guest's memory", run(function()
    layers.run(folder, "mkdir -p tree/bin && cp \"$(command -v busybox)\" tree/bin/ && head -c 300M /dev/urandom >tree/big")
    local sum = layers.run(folder, "md5sum <tree/big"):match "%x+" -- SHA-256 of so much takes an emulated guest half a minute
    local vm <close> = boot { root = "dir:" .. folder .. "/tree", memory = "256M" }
    assert.equal(sum, assert(vm:run { "/bin/busybox", "md5sum", "/big", check = true, timeout = BOOT }).stdout:match "%x+")
  end, 3 * BOOT))
end)
