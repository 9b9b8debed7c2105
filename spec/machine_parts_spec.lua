-- Parts of building an image and of sharing a guest: pure functions, and files of this machine.
local assert = require "luassert"
local busybox = require "vmctl.machine.busybox"
local core = require "vmctl.core"
local elf = require "vmctl.machine.image.elf"
local home = require "vmctl.machine.share_home"
local modules = require "vmctl.machine.image.modules"
local share = require "vmctl.machine.share"
local stage1 = require "vmctl.machine.stage1"
local step = require "vmctl.machine.image.step"
local support = require "spec.support"

local code, run = support.code, support.run

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

describe("busybox.applets", function()
  it("places each name of the list that is in the program", function()
    local program = "\127ELF…\0[\0[[\0ash\0cat\0chroot\0init\0linuxrc\0wc\0\0more\0"
    assert.same({ "/usr/bin/[", "/usr/bin/[[", "/bin/ash", "/bin/cat", "/usr/sbin/chroot", "/sbin/init", "/linuxrc", "/usr/bin/wc" },
      busybox.applets(program))
  end)

  it("refuses a program without a list, or with one that is none", function()
    for _, program in ipairs { "", "\127ELF", "\0[\0[[\0", "\0[\0[[\0" .. ("x"):rep(40) .. "\0a\0" } do
      assert.equal("ENOEXEC", code(busybox.applets(program)))
    end
  end)

  it("takes no more names than there can be", function()
    local list = { "[", "[[" }
    for i = 1, 5000 do list[#list + 1] = ("a%04d"):format(i) end
    assert.equal(1024, #busybox.applets("\0" .. table.concat(list, "\0") .. "\0\0"))
  end)
end)

-- A 64-bit ELF file with one program header and two sections: the names of sections, and `.modinfo`.
local function elf_file(info, interpreter)
  local names = "\0.shstrtab\0.modinfo\0"
  local head, program, section = 64, 56, 64
  local at_names = head + program
  local at_info = at_names + #names
  local at_path = at_info + #info
  local at_sections = at_path + #interpreter + 1
  local header = "\127ELF\2\1\1" .. ("\0"):rep(9) .. ("<I2I2I4I8I8I8I4I2I2I2I2I2I2"):pack(1, 62, 1, 0, head, at_sections, 0, head,
    program, 1, section, 3, 1)
  local function section_header(name, offset, size) return ("<I4I4I8I8I8I8I4I4I8I8"):pack(name, 1, 0, 0, offset, size, 0, 0, 1, 0) end
  return header .. ("<I4I4I8I8I8I8I8I8"):pack(interpreter ~= "" and 3 or 1, 0, at_path, 0, 0, #interpreter + 1, 0, 0)
    .. names .. info .. interpreter .. "\0"
    .. section_header(0, 0, 0) .. section_header(1, at_names, #names) .. section_header(11, at_info, #info)
end

describe("elf", function()
  it("finds the program that has to be there to start this one", function()
    assert.equal("/lib64/ld.so", elf.interpreter(elf_file("", "/lib64/ld.so")))
    assert.is_nil(elf.interpreter(elf_file("", "")))
    assert.is_string(elf.interpreter(read "/bin/sh"))
  end)

  it("finds a section by its name", function()
    local file = elf_file("license=GPL\0depends=a,b\0", "")
    assert.equal("license=GPL\0depends=a,b\0", elf.section(file, ".modinfo"))
    assert.equal("\0.shstrtab\0.modinfo\0", elf.section(file, ".shstrtab"))
    assert.is_nil(elf.section(file, ".text"))
  end)

  it("raises for a file that is cut, and never takes what is behind it", function()
    local file = elf_file("license=GPL\0", "/lib64/ld.so")
    for n = 0, #file - 1 do
      local ok, section = pcall(elf.section, file:sub(1, n), ".modinfo")
      assert.is_true(not ok or section == nil or section == "license=GPL\0", n)
    end
  end)
end)

describe("the steps of an image", function()
  it("quote paths for the shell", function()
    assert.equal("'/a b'", step.quote "/a b")
    assert.equal("'./-x'", step.quote "-x")
    assert.equal([['/it'\''s']], step.quote "/it's")
  end)

  it("name the step, the path and the reason once, with a code", function()
    assert.same({ n = 3, nil, "image: read /x: No such file or directory", "ENOENT" },
      table.pack(step.fail("read", "/x", "/x: No such file or directory", 2)))
    assert.same({ n = 3, nil, "image: read /x: odd", "EIO" }, table.pack(step.fail("read", "/x", "odd", 99)))
    assert.same({ n = 3, nil, "image: read /x: odd", "ENOTSUP" }, table.pack(step.fail("read", "/x", "odd", "ENOTSUP")))
  end)

  it("have a command's output, or its last words", run(function()
    assert.equal("out\n", step.run("ask", "/x", "echo out"))
    assert.same({ n = 3, nil, "image: ask /x: the reason", "EIO" },
      table.pack(step.run("ask", "/x", "echo more; echo the reason >&2; exit 1")))
    assert.same({ n = 3, nil, "image: ask /x: exit status 3", "EIO" }, table.pack(step.run("ask", "/x", "exit 3")))
    assert.same({ n = 3, nil, "image: ask /x: signal KILL", "EIO" }, table.pack(step.run("ask", "/x", "kill -9 $$")))
  end))
end)

describe("modules.ordered", function()
  -- A folder of modules: name -> what it needs.
  local function folder(list, builtin)
    local dir, lines = support.tmpdir(), {}
    for name, needs in pairs(list) do
      write(("%s/%s.ko"):format(dir, name), elf_file("depends=" .. needs:gsub(" ", ",") .. "\0", ""))
      lines[#lines + 1] = ("%s.ko: %s\n"):format(name, needs:gsub("%S+", "%0.ko"))
    end
    write(dir .. "/modules.builtin", builtin or "")
    return dir, table.concat(lines)
  end

  local function names(...)
    local list = {}
    for i, module in ipairs(assert(modules.ordered(...))) do list[i] = module.name end
    return list
  end

  it("puts each behind what it needs, once, with modules.dep and without", run(function()
    local dir, dep = folder { a = "b c", b = "c", c = "", d = "a" }
    for _, text in ipairs { false, dep } do
      if text then write(dir .. "/modules.dep", text) end
      assert.same({ "c", "b", "a", "d" }, names(dir, { "a" }, { "d" }))
    end
  end))

  it("leaves out default ones that are not there, and what is built in", run(function()
    local dir = folder({ a = "b_c" }, "kernel/b-c.ko\n")
    assert.same({ "a" }, names(dir, { "no_such", "a" }, {}))
  end))

  it("ends with modules that need each other", run(function()
    assert.same({ "b", "a" }, names(folder { a = "b", b = "a" }, { "a" }, {}))
  end))

  it("fails for a wanted one that is not there, and says who needs it", run(function()
    local dir = folder { a = "z" }
    local _, message, why = modules.ordered(dir, {}, { "a" })
    assert.equal("ENOENT", why)
    assert.is_truthy(message:find("(needed by a)", 1, true))
    assert.equal("ENOTDIR", code(modules.ordered("/etc/passwd", {}, {})))
  end))
end)

describe("stage1.make", function()
  it("names the device of a module that is for one alone, unless the guest is said to have it", run(function()
    local dir = support.tmpdir()
    for _, name in ipairs { "virtio_blk", "virtio_console", "virtio_net", "virtio_pci" } do
      write(("%s/%s.ko"):format(dir, name), elf_file("depends=\0", ""))
    end
    write(dir .. "/agent", "an agent")
    local function lists(more)
      local path = assert(stage1.make { agent = dir .. "/agent", modules_dir = dir, set = "image", more = more, cache = dir .. "/cache" })
      local lines = {}
      for line in read(path):gmatch "/lib/modules/vmctl/(virtio_[^\n\0]*)\n" do lines[#lines + 1] = line end
      return lines
    end
    assert.same({ "virtio_pci.ko\t0", "virtio_console.ko", "virtio_net.ko\t1", "virtio_blk.ko" }, lists())
    assert.same({ "virtio_pci.ko\t0", "virtio_console.ko", "virtio_net.ko", "virtio_blk.ko" }, lists { "virtio_net" })
  end))
end)

describe("a guest that is shared", function()
  it("has a name that is one of a folder", function()
    for _, name in ipairs { "a", "web-1", "_x", "a.b", ("x"):rep(40) } do assert.is_true(home.is_name(name), name) end
    for _, name in ipairs { "", ".", "..", ".a", "-a", "a/b", "a b", ("x"):rep(41), "a\0" } do assert.is_false(home.is_name(name), name) end
    assert.equal("EINVAL", code(share.folder "../x"))
    assert.equal(home.path() .. "/web", share.folder "web")
  end)

  it("has a document whose shape is checked", function()
    assert.same({ name = "web", pid = 17 }, share.parse_info '{"name":"web","pid":17}')
    for _, text in ipairs { "", "{}", "[]", '{"name":"web"}', '{"name":1,"pid":2}', '{"name":"web","pid":"17"}', '{"name":"web",' } do
      assert.is_nil(share.parse_info(text), text)
    end
  end)

  it("has a folder that is its user's alone", run(function()
    local path = support.tmpdir() .. "/private"
    assert.is_true(home.make(path))
    assert.equal(448, core.fs.stat(path).mode & 511)
    assert(core.fs.chmod(path, 493))
    assert.equal("EACCES", code(home.check(path)))
    assert.equal("ENOENT", code(home.check(path .. "/none")))
    assert(core.fs.symlink("/", path .. "/link"))
    assert.equal("EACCES", code(home.check(path .. "/link")))
  end))
end)
