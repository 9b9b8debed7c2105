-- Every vector of docs/wire/cc-ipc.md#golden-vectors, field by field, both ways, and cut at every byte.
local cc = require "vmctl.cc"
local ends = require "spec.support.cc"
local support = require "spec.support"
local vectors = require "spec.support.vectors"
local vmctl = require "vmctl"

local all = vectors.load "cc-ipc"

local function is_frame(vector)
  local first, second = vector.fields[1], vector.fields[2]
  return first and first.name == "hdr.type" and second and second.value == #vector.bytes - 6
end

local function lacks(_, err, code)
  return err == "unexpected EOF" and code == "EPROTO"
end

local function decode(vector)
  local d = cc.decoder(vector.bytes)
  for _, field in ipairs(vector.fields) do
    if field.type == "error" then
      assert.is_true(lacks(ends.read(d, field.of)))
      assert.is_true(d:failed())
      return
    end
    assert.same(ends.value(field), (ends.read(d, field.type)), field.name)
  end
  assert.equal(0, d:remaining())
  assert.is_false(d:failed())
end

local function encode(vector)
  local e = cc.encoder()
  for _, field in ipairs(vector.fields) do ends.write(e, field) end
  return e:bytes()
end

-- A payload that is cut fails at the field which is cut, and at every one after it.
local function decode_cut(vector, cut)
  local d, lost = cc.decoder(vector.bytes:sub(1, cut)), false
  for _, field in ipairs(vector.fields) do
    local kind = field.type == "error" and field.of or field.type
    local value, err, code = ends.read(d, kind)
    if lost or value == nil then
      assert.is_true(lacks(value, err, code))
      lost = true
    end
  end
  assert.is_true(lost)
  assert.is_true(d:failed())
end

describe("cc's vectors", function()
  it("are as many as the document says, with one at least for each request and each answer", function()
    assert.equal(196, #all)
    for name, number in pairs(cc.types) do
      if number < 0xff00 then
        local found = { req = 0, resp = 0 }
        for _, vector in ipairs(all) do
          local way = vector.name:match(("^msg%%.%04x%%..*%%.(%%a+)$"):format(number))
          if way then found[way] = found[way] + 1 end
        end
        assert.is_true(found.req > 0 and found.resp > 0, name)
      end
    end
  end)

  for _, vector in ipairs(all) do
    if #vector.fields > 0 then
      it("are decoded: " .. vector.name, function() decode(vector) end)

      it("fail where they are cut: " .. vector.name, function()
        for cut = 0, #vector.bytes - 1 do decode_cut(vector, cut) end
      end)
    end

    if #vector.fields > 0 and not vector.name:find "decode%-only$" then
      it("are encoded: " .. vector.name, function() assert.equal(vector.bytes, encode(vector)) end)
    end
  end

  it("are frames to a stream, wherever the bytes are cut", support.run(function()
    local near, far = support.pair { format = cc.format }
    local count = 0
    for _, vector in ipairs(all) do
      if is_frame(vector) then
        count = count + 1
        local kind, payload = ends.frame(vector)
        for cut = 1, #vector.bytes do
          assert(near:write(vector.bytes:sub(1, cut)))
          local reading = vmctl.spawn(far.read_frame, far, 1)
          vmctl.sleep(0)
          if cut < #vector.bytes then assert(near:write(vector.bytes:sub(cut + 1))) end
          assert.same({ kind, payload }, { reading:join() })
        end
        assert(far:write_frame(kind, payload))
        assert.equal(vector.bytes, near:read_exact(#vector.bytes, 1))
      end
    end
    assert.is_true(count > 130)
    near:close()
    far:close()
  end, 20))

  it("are read one after the other when they come in one piece", support.run(function()
    local near, far = support.pair { format = cc.format }
    assert(near:write(all["stream.two-frames"].bytes))
    near:close()
    local first, second = far:read_frame(30), far:read_frame(30)
    assert.is_true(first ~= nil and second ~= nil)
    assert.equal("EOF", support.code(far:read_frame(30)))
    far:close()
  end))

  it("of the largest header is refused before anything is allocated for it", support.run(function()
    local near, far = support.pair { format = cc.format }
    assert(near:write(all["header.max"].bytes))
    local before = collectgarbage "count"
    local _, err, code, frame = far:read_frame(30)
    assert.same({ "ETOOBIG", 0xffff, 0xffffffff }, { code, frame.type, frame.size })
    assert.truthy(err:find("67108864", 1, true))
    assert.is_true(collectgarbage "count" - before < 1024)
    near:close()
    far:close()
  end))
end)

-- The structures as wholes, in the words of the codec.
local MOUNTS = {
  { tag = "src", host_path = "/home/dev/src", writable = false }, { tag = "out", host_path = "/home/dev/out", writable = true },
}

local structures = {
  { "struct.MountConfig", "mount_config", { tag = "data", host_path = "/srv/data", writable = true } },
  { "struct.MountConfig.empty-host-path", "mount_config", { tag = "scratch", host_path = "", writable = false } },
  { "struct.FileInfo.regular", "file_info",
    { name = "hosts", size = 158, mode = 420, mod_time = 1770700000, is_dir = false, is_symlink = false } },
  { "struct.FileInfo.dir", "file_info",
    { name = "etc", size = 4096, mode = 0x800001ed, mod_time = 1770700001, is_dir = true, is_symlink = false } },
  { "struct.FileInfo.symlink", "file_info",
    { name = "mtab", size = 19, mode = 0x080001ff, mod_time = 1770700002, is_dir = false, is_symlink = true } },
  { "struct.FileInfo.chardev-before-epoch", "file_info",
    { name = "null", size = 0, mode = 0x042001b6, mod_time = -1, is_dir = false, is_symlink = false } },
  { "struct.DirEntry", "dir_entry", { name = "bin", is_dir = true, mode = 0x80000000 } },
  { "struct.InstanceOptions.zero", "instance_options",
    { memory_mb = 0, cpus = 0, timeout_ns = 0, user = "", enable_dmesg = false, mounts = {} } },
  { "struct.InstanceOptions.two-mounts", "instance_options",
    { memory_mb = 512, cpus = 2, timeout_ns = 30500000000, user = "1000:1000", enable_dmesg = true, mounts = MOUNTS } },
  { "struct.InstanceOptions.timeout-truncation", "instance_options",
    { memory_mb = 0, cpus = 1, timeout_ns = 1004999999, user = "", enable_dmesg = false, mounts = {} } },
  { "struct.InstanceOptions.negative-cpus", "instance_options",
    { memory_mb = 0, cpus = -1, timeout_ns = 0, user = "", enable_dmesg = false, mounts = {} } },
  { "struct.SnapshotOptions", "snapshot_options", { excludes = { "/proc/*", "/tmp/**" }, cache_dir = "/var/cache/cc" } },
  { "struct.SnapshotOptions.empty", "snapshot_options", { excludes = {}, cache_dir = "" } },
  { "struct.DockerfileOptions.no-args", "dockerfile_options",
    { dockerfile = "FROM alpine\nRUN true\n", context_dir = "", cache_dir = "/var/cache/cc" } },
  { "struct.DockerfileOptions.one-arg", "dockerfile_options",
    { dockerfile = "FROM alpine\nRUN true\n", context_dir = "/srv/ctx", cache_dir = "/var/cache/cc",
      build_args = { VERSION = "3.20" } } },
  { "error.body.io", "error", { code = 7, message = "open /nope: no such file or directory", op = "open", path = "/nope" } },
}

describe("cc's structures", function()
  it("are all that the vectors have", function()
    local count = 0
    for _, vector in ipairs(all) do
      if vector.name:find "^struct" then count = count + 1 end
    end
    assert.equal(count, #structures - 1)
  end)

  for _, case in ipairs(structures) do
    local name, method, value = table.unpack(case)
    it("are decoded and encoded: " .. name, function()
      local d = cc.decoder(all[name].bytes)
      assert.same(value, d[method](d))
      assert.equal(0, d:remaining())
      local e = cc.encoder()
      assert.equal(all[name].bytes, e[method](e, value):bytes())
    end)

    it("fail wherever they are cut: " .. name, function()
      for cut = 0, #all[name].bytes - 1 do
        local d = cc.decoder(all[name].bytes:sub(1, cut))
        assert.is_true(lacks(d[method](d)), cut)
        assert.is_true(lacks(d:uint8()), cut)
      end
    end)
  end

  it("of the error that is none end after the code", function()
    local d = cc.decoder(all["error.body.none.decode-only"].bytes .. "rest")
    assert.equal(0, d:error().code)
    assert.equal(4, d:remaining())
    assert.equal("\0", cc.encoder():error({ code = 0, message = "not sent" }):bytes())
  end)

  it("are the answer to a directory's listing", function()
    local _, payload = ends.frame(all["msg.020e.FsReadDir.resp"])
    local d = cc.decoder(payload, 2)
    local entries = {
      { name = "bin", is_dir = true, mode = 0x80000000 }, { name = "init", is_dir = false, mode = 0 },
    }
    assert.same(entries, d:dir_entries())
    assert.equal(payload, cc.response():success():dir_entries(entries):build())
  end)
end)
