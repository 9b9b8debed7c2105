-- A path with a NUL byte named the file whose name ends there: stat "/tmp\0x" was that of /tmp, and so were hosts, devices and filters.
local assert = require "luassert"
local core = require "vmctl.core"
local named_paths = require "vmctl.machine.named_paths"
local support = require "spec.support"

local code, run = support.code, support.run

-- Arguments of each function that takes paths, hosts or names. F is a folder that has `file`, `folder` and `link`; from the argument
-- `bytes` on a string is content. The other functions are named below: each function of a table is in one of the two lists.
local FS = {
  chmod = { "F/file", 384 }, chown = { "F/file", -1, -1 }, filesystem = { "F" }, folders = { "F", "new" }, list = { "F" },
  listen = { "F/new" }, mkdir = { "F/new" }, mount = { "none", "F/none", "tmpfs", nil, "size=1" }, open = { "F/file" },
  private = { "F/file" }, read = { "F/file", 9 }, real = { "F" }, remove = { "F/file" }, rename = { "F/file", "F/new" },
  replace = { "F/file", "new", bytes = 2 }, replace_in = { "F", "folder", "file", "new", bytes = 4 }, root = { "F" }, stat = { "F" },
  resize_terminal = { "F/file", 1, 1 }, symlink = { "target", "F/new" }, temporary = { "F/new" }, unmount = { "F/none" },
  unnamed = { "F" }, watch = { "F" },
}
local FS_NONE = "identity reseed sync"
local ROOT = {
  chmod = { "file", 384 }, chown = { "file", -1, -1 }, chtimes = { "file", 1, 1 }, link = { "file", "new" }, list = { "/" },
  mkdir = { "new" }, open = { "file" }, readlink = { "link" }, real = { "file" }, remove = { "file" }, remove_all = { "folder" },
  rename = { "file", "new" }, set_xattr = { "file", "user.a", "x", bytes = 3 }, stat = { "file" }, symlink = { "target", "new" },
  xattrs = { "file" },
}
local ROOT_NONE = "close near"
local CORE = {
  append_log = { "F/file" }, lock_file = { "F/new" }, open_path = { "F/none" }, open_vhost_vsock = { "F/file", 3 }, pcap_check = { "tcp" },
  resolve = { "127.0.0.1" }, rootfs_build = { "F/new", 1, 0 }, try_kvm = { "F/file" },
  landlock_allow = { 0, "F" },
}
-- Those that take none, or whose tables are tried below; a label is only shown.
local CORE_NONE = "base64_decode base64_encode calls connect deadline drain duplex environ forked format format_of hybrid_connect " ..
  "hybrid_ok in_task isatty landlock landlock_abi limit listen listener local_cid merge now open open_standard_fds pair process " ..
  "process_stream queue relay requests scope send_fd set_address set_unix_time sha256 signals sleep spawn spawn_here standard_input " ..
  "switch terminal_raw terminal_size trace turn unix_time virtual work work_later wrap yield"
local SWITCH = { add = { "new" }, attach_tap = { 0, ("x"):rep(16) }, capture = { "F/new" } }
local SWITCH_NONE = "addresses age attach attach_datagrams attach_packets close counts detach fault fault_pair forget group inject " ..
  "longest memory mirror pair pass_on queue remove seed state tap wait_news"

local function folder_of_files()
  local folder = support.tmpdir()
  assert(core.fs.replace(folder .. "/file", "old"))
  assert(core.fs.mkdir(folder .. "/folder"))
  assert(core.fs.symlink("file", folder .. "/link"))
  return folder
end

local function listing(folder)
  local lines = {}
  for _, path in ipairs { folder, folder .. "/folder" } do
    for _, name in ipairs(core.fs.list(path)) do
      local found = core.fs.stat(path .. "/" .. name, true)
      lines[#lines + 1] = ("%s %s %d %d %d"):format(name, found.type, found.mode, found.size, found.links)
    end
  end
  table.sort(lines)
  return lines
end

local function close(value)
  if type(value) == "userdata" and value.close then value:close() end
end

local function placed(case, folder)
  local arguments = { n = 5 }
  for i, value in pairs(case) do
    if math.type(i) then arguments[i] = type(value) == "string" and value:gsub("^F", folder) or value end
  end
  return arguments
end

-- Each text of a case with a NUL byte behind it is refused, and changes nothing; without it, it is not EINVAL.
local function check(name, fn, case, object)
  local folder = folder_of_files()
  local self <close> = object and object(folder) or nil -- luacheck: ignore
  local before = listing(folder)
  local function call(arguments)
    if self then return fn(self, table.unpack(arguments, 1, arguments.n)) end
    return fn(table.unpack(arguments, 1, arguments.n))
  end
  local arguments, texts = placed(case, folder), 0
  for i = 1, arguments.n do
    local text = arguments[i]
    if type(text) == "string" and i < (case.bytes or math.huge) then
      arguments[i], texts = text .. "\0x", texts + 1
      local none, err, why = call(arguments)
      assert.same({ nil, "EINVAL" }, { none, why }, name)
      assert.truthy(err:find("\\0x: it has a NUL byte", 1, true), err)
      arguments[i] = text
    end
  end
  assert.is_true(texts > 0, name)
  assert.same(before, listing(folder), name)
  local good = table.pack(call(arguments))
  close(good[1])
  assert.not_equal("EINVAL", good[3], name)
end

local function describe_functions(functions, cases, none, object)
  local known = {}
  for name in none:gmatch "[%w_]+" do known[name] = true end
  local left = {}
  for name, value in pairs(functions) do
    if type(value) == "function" and not cases[name] and not known[name] then left[#left + 1] = name end
  end
  it("has no function of which nobody has said what it takes", function()
    assert.same({}, left)
    for name in pairs(known) do assert.is_function(functions[name], name) end
  end)
  for name, case in pairs(cases) do
    it("refuses a NUL byte in " .. name, run(function() check(name, functions[name], case, object) end))
  end
end

local function methods(class) return debug.getregistry()[class].__index end

describe("core.fs", function() describe_functions(core.fs, FS, FS_NONE) end)

describe("vmctl.Root", function()
  describe_functions(methods "vmctl.Root", ROOT, ROOT_NONE, function(folder) return assert(core.fs.root(folder)) end)
end)

describe("vmctl.Switch", function()
  describe_functions(methods "vmctl.Switch", SWITCH, SWITCH_NONE, function()
    local switch = core.switch(1)
    assert(switch:add "first")
    return switch
  end)
end)

describe("core", function()
  describe_functions(core, CORE, CORE_NONE)

  it("refuses it in addresses, and knows abstract ones by their length", run(function()
    local folder = folder_of_files()
    for _, call in ipairs { core.connect, core.listen } do
      for _, address in ipairs { { kind = "tcp", host = "127.0.0.1\0x", port = 0 }, { kind = "unix", path = folder .. "/new\0x" } } do
        local none, err, why = call(address)
        assert.same({ nil, "EINVAL" }, { none, why })
        assert.truthy(err:find("\\0x", 1, true), err)
      end
    end
    local name = "\0vmctl-spec\0" .. folder
    local listener <close> = assert(core.listen { kind = "unix", path = name })
    local stream <close> = assert(core.connect { kind = "unix", path = name })
    assert.equal("ECONNREFUSED", code(core.connect { kind = "unix", path = name:match "^%z[^%z]+" }))
    local file <close> = assert(core.fs.listen(name .. "2")) -- luacheck: ignore
    close(assert(core.connect { kind = "unix", path = name .. "2" }))
    assert(stream and listener)
  end))

  it("raises for it in what a process is started with", function()
    for where, table in pairs { argv = { argv = { "true", "a\0b" } }, file = { argv = { "true" }, file = "true\0x" },
      cwd = { argv = { "true" }, cwd = "/\0x" }, env = { argv = { "true" }, env = { A = "b\0c" } } } do
      for _, start in ipairs { core.process, core.process_stream } do
        assert.error_matches(function() start(table, "label") end, where .. ": a string with a NUL byte")
      end
    end
  end)
end)

describe("a qcow2 whose backing file's name has a NUL byte", function()
  it("is refused: QEMU would open the file whose name ends there", run(function()
    local folder = folder_of_files()
    local name = folder .. "/file\0x"
    local head = ("c4>I4I8I4"):pack("QFI\xfb", 2, 72, #name)
    assert(core.fs.replace(folder .. "/disk.qcow2", head .. ("\0"):rep(72 - #head) .. name))
    local none, err, why = named_paths.of { "file=" .. folder .. "/disk.qcow2" }
    assert.same({ nil, "EACCES" }, { none, why })
    assert.truthy(err:find("a header that is damaged", 1, true), err)
  end))
end)
