-- A snapshot of a guest's files, and a guest made of it: what one has, the other has. Two boots.
local assert = require "luassert"
local cc_helper = require "spec.support.cc_helper"
local cc_image = require "spec.support.cc_image"
local guest = require "spec.support.guest"
local layers = require "spec.support.layers"
local support = require "spec.support"

local LIMIT = 240 -- seconds, on a busy machine under emulation
local CAPABILITY = ("<I4I4I4I4I4"):pack(0x02000001, 1 << 13, 0, 0, 0)
local ACL = ("<I4"):pack(2) .. ("<I2I2I4"):pack(1, 6, 0xffffffff) .. ("<I2I2I4"):pack(2, 4, 1000) .. ("<I2I2I4"):pack(4, 4, 0xffffffff)
  .. ("<I2I2I4"):pack(16, 4, 0xffffffff) .. ("<I2I2I4"):pack(32, 0, 0xffffffff)
local AMONG = { dev = true, proc = true, sys = true, run = true, tmp = true, mnt = true, [".vmctl"] = true } -- made by the boot itself

local function options(cache)
  return { kernel = guest.kernel, agent = guest.agent, modules_dir = guest.modules_dir(), cache_dir = cache }
end

local function image(folder)
  local entries = {
    { path = "./", mode = 457, uid = 3, gid = 4 }, { path = "bin/" },
    { path = "bin/lister", content = assert(io.open(layers.lister(folder), "rb")):read "a", mode = 493 },
    { path = "bin/busybox", content = cc_image.busybox(), mode = 2541, xattrs = { ["security.capability"] = CAPABILITY } },
    { path = "bin/sh", type = "hard", link = "bin/busybox" },
    { path = "d/", mode = 1533, uid = 7, gid = 8, mtime = "-1.25", xattrs = { ["user.d"] = "x\0y\n", ["system.posix_acl_default"] = ACL } },
    { path = "d/one", content = "three names", mtime = "1700000000.000000001", xattrs = { ["user.b%"] = "", ["trusted.t"] = "t",
      ["system.posix_acl_access"] = ACL } },
    { path = "a", type = "hard", link = "d/one" }, { path = "z", type = "hard", link = "a" },
    { path = "far", link = "no where", mtime = "99999999999.5" }, { path = "near", type = "hard", link = "far" },
    { path = "null", type = "char", major = 1, minor = 3, mode = 438 }, { path = "null2", type = "hard", link = "null" },
    { path = "disk", type = "block", major = 4095, minor = 1048575, mode = 384 }, { path = "pipe", type = "fifo", uid = 4000000000 },
    { path = "empty/" },
  }
  for _, name in ipairs { "sp ace", "new\nline", "\xff\xfe", "a=b%c", "-rf", ("n"):rep(255), ("deep/"):rep(50) .. "end" } do
    entries[#entries + 1] = { path = name, content = name }
  end
  return layers.layout(folder, { entries }):match "^oci:(.*)$"
end

local function list(call)
  local told = call("CMD_OUTPUT", call("CMD_NEW", "/bin/lister", { "/", "/dev", "/proc", "/sys", "/run", "/.vmctl" }):uint64()):bytes()
  local found = {}
  for line in told:gmatch "[^\n]+" do
    local name = line:match "^/([^/ ]*)"
    if not AMONG[name] then found[#found + 1] = name == "" and line:match "^(%S+ %S+ %S+ %S+ %S+)" or line end
  end
  return found
end

local function shell(call, script)
  local code = call("CMD_RUN", call("CMD_NEW", "/bin/sh", { "-ec", script }):uint64()):int32()
  assert.equal(0, code, script)
end

-- Makes files in a guest, beside those that it was made of.
local MAKE = [[b=/bin/busybox
$b mkdir /new; cd /new; $b echo own >own; $b ln own own2; $b mkdir in; $b ln own in/own3; $b chown 9:10 own; $b chmod 4711 own
$b touch -d @1234 in; $b mknod tty c 5 0; $b mkfifo fifo; $b ln -s /a/b soft
$b truncate -s 64M hole; $b echo end >>hole]]

describe("a snapshot of a guest", function()
  it("has owners, modes, times, links of both kinds, attributes, devices, holes and names as the guest has them", support.run(function()
    local folder, cache = support.tmpdir(), support.tmpdir()
    local before, key
    cc_helper.serve(options(cache), function(call, client)
      assert(cc_helper.new_instance(client, 1, image(folder), { memory_mb = 512 }))
      shell(call, MAKE)
      before = list(call)
      local s = assert(call("FS_SNAPSHOT", { excludes = { "/tmp/**" }, cache_dir = cache })):uint64()
      key = call("SNAPSHOT_CACHE_KEY", s):string()
      assert(call "INSTANCE_CLOSE")
    end)
    local told = table.concat(before, "\n")
    for _, part in ipairs { "/bin/sh f 4755 0 0 0.000000000 2 /bin/busybox ", " security.capability=", "user.d=x%00y%0a",
      "user.b%=", "trusted.t=t", "/new/own f 4711 9 10 ", "/null2 c 666 0 0 0.000000000 2 /null 1,3", " system.posix_acl_access=" } do
      assert.truthy(told:find(part, 1, true), part)
    end
    local kept = layers.run(cache, "find blobs -type f -size +32M")
    assert.equal("", kept) -- of a file with holes the parts
    cc_helper.serve(options(cache), function(call, client)
      assert(cc_helper.new_instance(client, 1, ("%s/%s"):format(cache, key), { memory_mb = 512 }))
      local after = list(call)
      for i, line in ipairs(before) do assert.equal(line, after[i]) end
      assert.equal(#before, #after)
      assert(call "INSTANCE_CLOSE")
    end)
  end, LIMIT))
end)
