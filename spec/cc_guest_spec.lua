-- A helper whose instance is a real guest, made from an image; one boot for all 63 requests, one for what was kept of it.
-- Takes about 40 seconds.
local assert = require "luassert"
local core = require "vmctl.core"
local cc_image = require "spec.support.cc_image"
local guest = require "spec.support.guest"
local layers = require "spec.support.layers"
local support = require "spec.support"
local cc_helper = require "spec.support.cc_helper"
local vmctl = require "vmctl"

local LIMIT = 120 -- seconds, on a busy machine under emulation

local function options(cache)
  return { kernel = guest.kernel, agent = guest.agent, modules_dir = guest.modules_dir(), cache_dir = cache }
end

-- A peer inside the guest: says ping, wants pong, goes.
local function reach(port, ok)
  local script = ("(printf ping; sleep 1) | nc 127.0.0.1 %d"):format(port)
  ok("CMD_START", ok("CMD_NEW", "sh", { "-c", script }):uint64())
end

describe("a cc helper with guests", function()
  it("answers each of the 63 requests, and starts a guest from what it has kept", support.run(function()
    local cache = support.tmpdir()
    local archive = cc_image.docker(support.tmpdir(), {
      { ["etc/passwd"] = "root:x:0:0:root:/root:/bin/sh\n", ["bin/busybox"] = cc_image.busybox() },
      { ["bin/sh"] = { link = "busybox" }, ["bin/echo"] = { link = "busybox" }, ["bin/sleep"] = { link = "busybox" },
        ["bin/nc"] = { link = "busybox" } },
    }, { Entrypoint = { "/bin/echo", "from" }, Cmd = { "the image" }, Env = { "COLOUR=blue" }, WorkingDir = "/work/dir" })
    local key
    local printed, first = {}, options(cache)
    function first.on_output(bytes) printed[#printed + 1] = bytes end
    local written = support.tmpdir()
    if core.fs.identity() == 0 then assert(core.fs.chown(written, 1000, 1000)) end -- a writable folder of root's is not shared
    cc_helper.serve(first, function(_, client)
      key = cc_helper.check_all(client, { source = 0, path = archive, cache = cache, reach = reach,
        entrypoint = "from the image\n" })
    end)
    assert.equal("out\nerr\n", table.concat(printed))
    cc_helper.serve(options(cache), function(call, client)
      assert(cc_helper.new_instance(client, 1, ("%s/%s"):format(cache, key), {
        user = "7:8", mounts = { { tag = "share", host_path = cache }, { tag = "empty" },
          { tag = "work", host_path = written, writable = true } } }))
      assert(call("FS_WRITE_FILE", "/mnt/work/out", "to the host", 420))
      assert.equal("to the host", assert(core.fs.read(written .. "/out", 100)))
      assert.is_nil(core.fs.stat(cache .. "/x"))
      assert(call("FS_WRITE_FILE", "/mnt/share/x", "to the copy", 420))
      assert.is_nil(core.fs.stat(cache .. "/x"))
      assert.equal("hello", call("FS_READ_FILE", "/d/b"):string())
      assert.is_nil(call("FS_STAT", "/new"))
      assert(call("FS_STAT", ("/mnt/share/%s/manifest"):format(key)))
      assert(call("FS_WRITE_FILE", "/mnt/empty/file", "x", 420))
      local c = call("CMD_NEW", "busybox", { "id", "-u" }):uint64()
      assert.equal("blue", call("CMD_GET_ENV", c, "COLOUR"):string())
      assert.equal("7\n", call("CMD_OUTPUT", c):bytes())
      assert.equal("/work/dir\n", call("CMD_OUTPUT", call("CMD_NEW", "busybox", { "pwd" }):uint64()):bytes())
      local s = call("FS_SNAPSHOT", { excludes = {}, cache_dir = cache }):uint64()
      local parent = call("SNAPSHOT_PARENT", s):uint64()
      assert.equal(key, call("SNAPSHOT_CACHE_KEY", parent):string())
      assert(call "INSTANCE_CLOSE")
    end)
  end, LIMIT))

  it("does not let clients wait for each other, carries a large file, and says when the guest has gone", support.run(function()
    local root = support.tmpdir()
    assert(core.fs.mkdir(root .. "/bin"))
    assert(core.fs.replace(root .. "/bin/busybox", cc_image.busybox(), 493))
    assert(core.fs.symlink("busybox", root .. "/bin/sh"))
    cc_helper.serve(options(support.tmpdir()), function(call, client, connect)
      assert(cc_helper.new_instance(client, 1, root, { memory_mb = 512 }))
      local other = cc_helper.caller((connect()))
      local c = call("CMD_NEW", "busybox", { "sleep", "600" }):uint64()
      assert(call("CMD_START", c))
      local waiting = vmctl.spawn(function() return call("CMD_WAIT", c) end)
      local f = other("FS_CREATE", "/big"):uint64()
      local sent, got, block = core.sha256(), core.sha256(), ("guest---"):rep(1 << 17)
      for i = 1, 64 do
        local piece = string.pack(">I8", i) .. block:sub(9)
        sent:update(piece)
        assert(other("FILE_WRITE", f, piece))
      end
      assert(other("FILE_SEEK", f, 0, 0))
      repeat
        local piece = other("FILE_READ", f, 1 << 20):bytes()
        got:update(piece)
      until piece == ""
      assert.equal(sent:hex(), got:hex())
      assert(other("CMD_KILL", c))
      assert.equal(137, waiting:join(30):int32())
      local power = other("CMD_NEW", "busybox", { "poweroff", "-f" }):uint64()
      other("CMD_RUN", power)
      call "INSTANCE_WAIT"
      local _, code = call("FS_STAT", "/")
      assert.equal(3, code)
    end)
  end, LIMIT))

  it("is made of layers that zstd has packed, sets the size of its console, and switches its network off and on", support.run(function()
    local folder = support.tmpdir()
    layers.layout(folder, { { { path = "bin/busybox", content = cc_image.busybox(), mode = 493 }, pack = "zstd" },
      { { path = "bin/sh", link = "busybox" }, pack = "xz" } })
    local opts = options(support.tmpdir())
    opts.launch = { nics = { { netdev = "user,restrict=on" } } } -- its gateway answers, and nothing behind it
    local printed = ""
    function opts.on_output(bytes) printed = printed .. bytes end
    cc_helper.serve(opts, function(call, client)
      assert(cc_helper.new_instance(client, 1, folder .. "/oci"))
      local function say(script) return call("CMD_OUTPUT", call("CMD_NEW", "busybox", { "sh", "-c", script }):uint64()):bytes() end
      local function reaches()
        return say 'n=0; while [ $n -lt 20 ]; do busybox ping -c 1 -W 1 10.0.2.2 >/dev/null && break; n=$((n + 1)); done; echo $n' ~= "20\n"
      end
      assert(call("INSTANCE_SET_CONSOLE", 100, 40))
      assert.equal("40 100\n", say "busybox stty size </dev/console")
      assert.equal("nameserver 10.0.2.3\n", say "busybox cat /etc/resolv.conf")
      assert.is_true(reaches())
      assert(call("INSTANCE_SET_NETWORK", false))
      assert.equal("1", say "busybox ping -c 3 -W 1 10.0.2.2 >/dev/null; echo -n $?")
      assert(call("INSTANCE_SET_NETWORK", true))
      assert.is_true(reaches())
      assert(call("INSTANCE_EXEC", "busybox", { "sh", "-c", "echo first; busybox head -c 3000000 /dev/zero; busybox sleep 100 &" }))
      assert.same({ "first\n", 3000006 }, { printed:sub(1, 6), #printed })
    end)
  end, LIMIT))

  it("does not begin with a user that the image does not know", support.run(function()
    local archive = cc_image.docker(support.tmpdir(), { { ["bin/busybox"] = cc_image.busybox() } }, { User = "nobody-here" })
    cc_helper.serve(options(support.tmpdir()), function(_, client)
      local _, _, message = cc_helper.new_instance(client, 0, archive)
      assert.matches("commands are to run as 'nobody%-here': unknown user", message)
    end)
  end, LIMIT))

  it("says what lacks when there is no kernel and no hypervisor, and leaves nothing behind", support.run(function()
    local root = support.tmpdir()
    local opts = options(support.tmpdir())
    opts.launch = { qemu = "no-such-qemu" }
    cc_helper.serve(opts, function(_, client)
      local _, code, message = cc_helper.new_instance(client, 1, root)
      assert.equal(6, code, message)
      assert.matches("no%-such%-qemu", message)
      _, code, message = cc_helper.new_instance(client, 2, "alpine:3.20")
      assert.equal(7, code)
      assert.matches("alpine_3%.20%.tar.*not pulled", message)
      _, code = cc_helper.new_instance(client, 0, root .. "/none.tar")
      assert.equal(7, code)
    end)
  end))
end)
