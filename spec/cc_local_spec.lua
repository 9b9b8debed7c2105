-- A helper whose instance is a folder of this machine.
local assert = require "luassert"
local cc = require "vmctl.cc"
local core = require "vmctl.core"
local ends = require "spec.support.cc"
local support = require "spec.support"
local cc_helper = require "spec.support.cc_helper"
local vmctl = require "vmctl"

-- Runs fn(call, client, connect, root) with an instance.
local function with_folder(fn, options)
  local root = support.tmpdir()
  local all = { root = root }
  for name, value in pairs(options or {}) do all[name] = value end
  cc_helper.serve(all, function(call, client, connect)
    assert(cc_helper.new_instance(client, 1, ""))
    fn(call, client, connect, root)
  end)
end

local function reach(port)
  vmctl.spawn(function()
    local s <close> = assert(vmctl.dial(("tcp:127.0.0.1:%d"):format(port)))
    assert(s:write "ping")
    assert.equal("pong", s:read_exact(4))
  end)
end

describe("a cc helper on a folder", function()
  it("answers each of the 63 requests", support.run(function()
    local root, cache = support.tmpdir(), support.tmpdir()
    local printed = {}
    cc_helper.serve({ root = root, on_output = function(bytes) printed[#printed + 1] = bytes end }, function(_, client)
      cc_helper.check_all(client, { source = 1, path = "", cache = cache, reach = reach, local_network = true })
    end)
    assert.equal("out\nerr\n", table.concat(printed))
  end, 20))

  it("hands on what its only program prints as it comes, more than an answer can carry", support.run(function()
    local root = support.tmpdir()
    local first, bytes, most = nil, 0, cc.MAX + (1 << 20)
    local function on_output(data)
      if not first then assert(core.fs.replace(root .. "/heard", "")) end -- for which the program waits
      first, bytes = first or data, bytes + #data
    end
    cc_helper.serve({ root = root, on_output = on_output }, function(call, client)
      assert(cc_helper.new_instance(client, 1, ""))
      local script = "echo first; while ! test -e heard; do :; done; head -c %d /dev/zero; sleep 4 & exit 3"
      local _, _, message = call("INSTANCE_EXEC", "sh", { "-c", script:format(most) })
      assert.equal("exec sh: exit status 3", message)
      assert.same({ "first\n", most + 6 }, { first, bytes })
    end)
  end, 60))

  it("does not wait for a program whose output nobody wants any more", support.run(function()
    local folder = support.tmpdir()
    local workspace = { environment = { "PATH=" .. os.getenv "PATH" }, work_dir = "/", folder = function() return folder end }
    local cmd = require("vmctl.cc.backend.command").new(workspace, "sh", { "-c", "exec cat /dev/zero" })
    assert(cmd:start("pipe", "stdout"))
    assert.not_equal(0, assert(cmd:pass_output(function() return false end))) -- SIGPIPE ends it
    cmd:close()
  end, 30))

  it("takes what is written in one request of any size, in pieces, as the reference does", support.run(function()
    local root = support.tmpdir()
    local served <close> = assert(require("vmctl.cc_helper").new { root = root })
    local server <close> = assert(cc.server(nil, served:handler(), { max_payload = 1 << 16 }))
    local near, far = support.pair()
    local serving = vmctl.spawn(server.converse, server, far)
    local peer = ends.peer(near)
    local function ask(kind, format, ...)
      local payload = (">" .. format):pack(...)
      local writing = vmctl.spawn(function() assert(near:write_frame(cc.types[kind], payload)) end)
      local answer, body = peer:recv(30)
      writing:join()
      return answer == cc.types.RESPONSE and body or nil, body
    end
    local client = cc.client(near)
    assert(cc_helper.new_instance(client, 1, ""))
    local bytes = {}
    for i = 1, 1 << 18 do bytes[i] = ("%08x"):format(i * 2654435761 & 0xffffffff) end
    local data = table.concat(bytes) .. "end"
    local function content() return assert(io.open(root .. "/new")):read "a" end
    assert.equal("\0", ask("FS_WRITE_FILE", "s4s4I4", "/new", data, 416))
    assert.is_true(content() == data)
    assert.equal(416, core.fs.stat(root .. "/new").mode)
    assert.equal("\0", ask("FS_WRITE_FILE", "s4s4I4", "/new", data:sub(5), 511)) -- an old one keeps its mode
    assert.is_true(content() == data:sub(5))
    assert.equal(416, core.fs.stat(root .. "/new").mode)
    local opened = assert(ask("FS_OPEN_FILE", "s4i4I4", "/new", 2, 0))
    assert.equal((">I1I4"):pack(0, #data), ask("FILE_WRITE", "I8s4", (">I8"):unpack(opened, 2), data))
    assert.is_true(content() == data)
    for _, each in ipairs { { "FS_WRITE_FILE", "s4s4I4", "/no/folder", data, 420 }, { "FILE_WRITE", "I8s4", 4711, data },
      { "CONN_WRITE", "I8s4", 4711, data }, { "FS_WRITE_FILE", "s4s4", "/cut", data }, { "FS_OPEN", "s4", data } } do
      assert.is_nil((ask(table.unpack(each))), each[1])
      assert(ask("FS_STAT", "s4", "/new"))
    end
    assert.is_nil(core.fs.stat(root .. "/cut"))
    client:close()
    assert(serving:join(30))
  end, 20))

  it("lets no path and no link lead out of the folder", support.run(function()
    with_folder(function(call, _, _, root)
      assert(core.fs.symlink("/etc", root .. "/absolute"))
      assert(core.fs.symlink("../../../../../etc", root .. "/relative"))
      for _, path in ipairs { "/absolute/passwd", "/relative/passwd", "/../../../../etc/passwd" } do
        local _, code = call("FS_READ_FILE", path)
        assert.equal(7, code, path)
        _, code = call("FS_WRITE_FILE", path, "x", 420)
        assert.equal(7, code, path)
      end
      assert(call("FS_SYMLINK", "/etc/vmctl-must-not-be", "/dangling"))
      assert.is_nil(call("FS_WRITE_FILE", "/dangling", "x", 420))
      assert.is_nil(core.fs.stat "/etc/vmctl-must-not-be")
      assert(call("FS_REMOVE_ALL", "/absolute"))
      assert.truthy(core.fs.stat "/etc/passwd")
      local _, code = call("FS_REMOVE_ALL", "/")
      assert.equal(7, code)
    end)
  end))

  it("gives files exactly the mode that was asked for", support.run(function()
    with_folder(function(call)
      assert(call("FS_WRITE_FILE", "/f", "", 511))
      assert.equal(511, call("FS_STAT", "/f"):file_info().mode)
      assert(call("FS_MKDIR", "/d", 511))
      assert.equal(0x80000000 | 511, call("FS_STAT", "/d"):file_info().mode)
      for i, flags in ipairs { 0x40 | 1, 0x40 | 0x80 | 1, 0x40 | 0x200 | 2 } do -- O_CREAT, with O_EXCL, with O_TRUNC
        assert(call("FS_OPEN_FILE", "/o" .. i, flags, 511))
        assert.equal(511, call("FS_STAT", "/o" .. i):file_info().mode)
        assert.equal(flags & 0x80 == 0, call("FS_OPEN_FILE", "/o" .. i, flags, 384) ~= nil) -- O_EXCL: it is there
        assert.equal(511, call("FS_STAT", "/o" .. i):file_info().mode)
      end
    end)
  end))

  it("names what is in the way of a folder", support.run(function()
    with_folder(function(call)
      assert(call("FS_WRITE_FILE", "/f", "", 420))
      assert.same({ 7, "mkdir /f: not a directory", "mkdir", "/f" }, { select(2, call("FS_MKDIR_ALL", "/f/a/b", 493)) })
      local cmd = call("CMD_NEW", "true", {}):uint64()
      assert(call("CMD_SET_DIR", cmd, "/f/a"))
      assert.same({ 7, "chdir /f: not a directory", "chdir", "/f" }, { select(2, call("CMD_START", cmd)) })
      cmd = call("CMD_NEW", "true", {}):uint64()
      assert(call("CMD_SET_DIR", cmd, "/none/here"))
      assert.same({ 7, "chdir /none: no such file or directory", "chdir", "/none" }, { select(2, call("CMD_START", cmd)) })
    end)
  end))

  it("refuses paths and arguments with a NUL byte before the system sees them", support.run(function()
    with_folder(function(call)
      local _, code = call("FS_STAT", "/a\0b")
      assert.equal(2, code)
      _, code = call("CMD_NEW", "sh", { "a\0b" })
      assert.equal(2, code)
    end)
  end))

  it("knows no handle under another kind", support.run(function()
    with_folder(function(call)
      local f = call("FS_CREATE", "/f"):uint64()
      local c = call("CMD_NEW", "true", {}):uint64()
      for _, request in ipairs { { "CMD_WAIT", f }, { "LISTENER_ADDR", f }, { "CONN_READ", f, 1 }, { "SNAPSHOT_CLOSE", f },
        { "FILE_READ", c, 1 }, { "FILE_CLOSE", 0 }, { "FILE_STAT", -1 } } do
        local _, code, message = call(table.unpack(request))
        assert.equal(1, code)
        assert.matches("^invalid %a+ handle$", message)
      end
      assert(call("FILE_STAT", f))
    end)
  end))

  it("has a limit of handles of a kind, and gives no number twice", support.run(function()
    with_folder(function(call)
      local first = call("FS_CREATE", "/f"):uint64()
      local second = call("FS_OPEN", "/f"):uint64()
      local _, code = call("FS_OPEN", "/f")
      assert.equal(2, code)
      assert(call("FILE_CLOSE", first))
      assert.equal(second + 1, call("FS_OPEN", "/f"):uint64())
    end, { most_handles = 2 })
  end))

  it("drops all handles with the instance, and kills what runs", support.run(function()
    with_folder(function(call, client)
      local f = call("FS_CREATE", "/f"):uint64()
      local c = call("CMD_NEW", "sleep", { "60" }):uint64()
      assert(call("CMD_START", c))
      assert(call "INSTANCE_CLOSE")
      assert(cc_helper.new_instance(client, 0, "ignored"))
      assert.is_nil(call("FILE_STAT", f))
      assert.is_nil(call("CMD_WAIT", c))
    end)
  end))

  it("lets a freed command go on, and ends it with the instance", support.run(function()
    with_folder(function(call, _, _, root)
      local c = call("CMD_NEW", "sh", { "-c", "sleep 0.1; echo done > done; sleep 60" }):uint64()
      assert(call("CMD_START", c))
      assert(call("CMD_FREE", c))
      support.eventually(function() return core.fs.stat(root .. "/done") end)
    end)
  end))

  it("serves two clients: one that waits does not hold up the other, which can end the wait", support.run(function()
    with_folder(function(call, _, connect)
      local other = cc_helper.caller((connect()))
      local c = call("CMD_NEW", "sleep", { "60" }):uint64()
      assert(call("CMD_START", c))
      local waiting = vmctl.spawn(function() return call("CMD_WAIT", c):int32() end)
      support.settle()
      assert(other("FS_STAT", "/"))
      assert(other("CMD_KILL", c))
      assert.equal(137, waiting:join(30))
      local stay = vmctl.spawn(function() return call "INSTANCE_WAIT" end)
      support.settle()
      assert(other "INSTANCE_CLOSE")
      assert.truthy(stay:join(30))
    end)
  end))

  it("keeps its time: an instance is over when its time-out is", support.run(function()
    local root = support.tmpdir()
    cc_helper.serve({ root = root }, function(call, client)
      assert(cc_helper.new_instance(client, 1, "", { timeout = 0.05 }))
      local _, code = call "INSTANCE_WAIT"
      assert.equal(5, code)
      assert.is_false(call("INSTANCE_IS_RUNNING"):bool())
    end)
  end))

  it("refuses unknown sources and requests, and short ones before it looks for the instance", support.run(function()
    local root = support.tmpdir()
    cc_helper.serve({ root = root }, function(_, client)
      local _, code, message = cc_helper.new_instance(client, 9, "")
      assert.same({ 2, "unknown source type: 9" }, { code, message })
      for kind in pairs(cc.names) do
        local _, _, _, said = client:call(kind, "\0")
        assert.is_true(said == nil or said.code == 1 or said.code == 99, cc.names[kind])
      end
    end)
  end))

  it("survives random bytes in every request", support.run(function()
    math.randomseed(63)
    with_folder(function(call, client)
      assert(call("FS_CREATE", "/f"))
      for kind, name in pairs(cc.names) do
        for _ = 1, name:find "EXEC" and 0 or 20 do
          local bytes = {}
          for i = 1, math.random(0, 40) do bytes[i] = string.char(math.random(0, 3) == 0 and math.random(0, 255) or 0) end
          if not cc.may_block[kind] then client:call(kind, table.concat(bytes)) end
        end
      end
      assert(cc_helper.new_instance(client, 1, "") or true)
      assert(call("FS_STAT", "/"))
    end)
  end, 20))

  it("stays up when a client goes away in the middle of a write", support.run(function()
    with_folder(function(call, _, connect)
      local f = call("FS_CREATE", "/f"):uint64()
      local _, raw = connect()
      assert(raw:write(string.pack(">I2I4I8I4", cc.types.FILE_WRITE, 12 + 1000, f, 1000) .. "half"))
      raw:close()
      assert(call("FILE_WRITE", f, "whole"))
      assert.equal("whole", call("FS_READ_FILE", "/f"):string())
    end)
  end))

  -- 256 MiB; under ASan, where each byte of a checksum takes ten times as long, less.
  it("takes and gives a large file with the same checksum", support.run(function()
    local pieces = os.getenv "VMCTL_ASAN" and 64 or 256
    with_folder(function(call)
      local f = call("FS_CREATE", "/big"):uint64()
      local sent, got = core.sha256(), core.sha256()
      local block = ("0123456789abcdef"):rep(65536)
      for i = 1, pieces do
        local piece = string.pack(">I8", i) .. block:sub(9)
        sent:update(piece)
        assert(call("FILE_WRITE", f, piece))
      end
      assert.equal(0, call("FILE_SEEK", f, 0, 0):int64())
      repeat
        local piece = call("FILE_READ", f, 1 << 20):bytes()
        got:update(piece)
      until piece == ""
      assert.equal(pieces << 20, call("FILE_STAT", f):file_info().size)
      assert.equal(sent:hex(), got:hex())
      local _, code = call("FS_READ_FILE", "/big")
      assert.equal(7, code)
    end)
  end, 300))
end)

describe("core.fs.root", function()
  it("does what its methods say, and says ECLOSED once it is closed", support.run(function()
    local root = assert(core.fs.root(support.tmpdir()))
    assert(root:mkdir("/d", 493))
    local f = assert(root:open("/d/f", "+cx", 384))
    assert(f:write "abc")
    assert.equal("bc", f:read(9, 1))
    assert(f:chmod(420))
    assert.equal(420, f:stat().mode)
    f:close()
    assert.equal("ECLOSED", select(3, f:read(1)))
    assert.equal("EEXIST", select(3, root:open("/d/f", "wcx")))
    assert.equal("EINVAL", select(3, root:remove "/d/.."))
    assert.equal("ENOENT", select(3, root:readlink "/none"))
    assert.equal("EINVAL", select(3, root:readlink "/d/f"))
    assert.same({ { "f" }, { "file" } }, { root:list "/d" })
    assert(root:remove_all "/d")
    assert.equal("EINVAL", select(3, root:stat "a\0b"))
    assert.has_error(function() root:open("/d", "q") end)
    root:close()
    assert.equal("ECLOSED", select(3, root:stat "/"))
  end))
end)
