-- Images as one file: what `docker save` writes, today and of old, and archives of layouts. They are read where they stand, or
-- unpacked first.
-- Takes about 25 seconds.
-- Also in asan, i386: archives of others are unpacked by our C.
local assert = require "luassert"
local cc_image = require "spec.support.cc_image"
local core = require "vmctl.core"
local json = require "vmctl.json"
local layers = require "spec.support.layers"
local rootfs = require "vmctl.rootfs"
local support = require "spec.support"

local LIMIT = 60

local function image(spec, more)
  local opts = { cache = support.tmpdir(), arch = "amd64" }
  for name, value in pairs(more or {}) do opts[name] = value end
  return rootfs.image(spec, opts)
end

local function refused(code, words, spec)
  local made, err, got = image(spec)
  assert.is_nil(made)
  assert.equal(code, got, err)
  assert.is_truthy(err:find(words, 1, true), err)
end

describe("an image in an archive", function()
  it("is the same image as its layout, whatever packs its layers and however it was saved", support.run(function()
    local folder = support.tmpdir()
    local function layer(n, pack) return { { path = "f" .. n, content = ("content %d\n"):format(n):rep(3000) }, pack = pack } end
    local spec = layers.layout(folder, { layer(1, "gzip"), layer(2, "zstd"), layer(3, "xz"), layer(4, "bzip2"), layer(5) }, { User = "7" })
    layers.run(folder, "tar -C oci -cf oci.tar . && tar -C oci -cf plain.tar index.json oci-layout blobs")
    local one, two, three = image(spec), image("oci-archive:" .. folder .. "/oci.tar:t"), image("docker-archive:" .. folder .. "/plain.tar")
    assert.equal(one.digest, assert(two).digest)
    assert.equal(one.digest, assert(three).digest)
    assert.equal("7", two.config.user)
    layers.run(folder, ("cmp '%s' '%s'"):format(one.path, two.path))
  end, LIMIT))

  it("can be what docker saves: layers by the digests of its configuration, names of links for layers that are there twice",
    support.run(function()
    local path = cc_image.docker(support.tmpdir(), { { ["etc/a"] = "1" }, { ["etc/b"] = "2" } },
      { Env = { "A=b" }, Entrypoint = { "/run" }, WorkingDir = "/w" })
    local made = assert(image("docker-archive:" .. path))
    assert.same({ env = { A = "b" }, cwd = "/w", entrypoint = { "/run" }, cmd = {} }, made.config)
    local layer = cc_image.tar { a = "1" }
    local id = "sha256:" .. core.sha256(layer):hex()
    local function save(files, names, ids, tags)
      files["c.json"] = json.encode { rootfs = { diff_ids = ids } }
      files["manifest.json"] = json.encode { { Config = "c.json", Layers = names, RepoTags = tags } }
      local to = support.tmpdir() .. "/i.tar"
      assert(core.fs.replace(to, cc_image.tar(files)))
      return "docker-archive:" .. to
    end
    local twice = { ["a/layer.tar"] = layer, ["b/layer.tar"] = { link = "../a/layer.tar" } }
    local spec = save(twice, { "a/layer.tar", "b/layer.tar" }, { id, id }, { "host/name:3" })
    assert(image(spec .. ":3"))
    refused("ENOENT", "has no image '4'", spec .. ":4")
    refused("EPROTO", "unpacked, its digest is", save(twice, { "a/layer.tar" }, { "sha256:" .. ("0"):rep(64) }))
    refused("ENOENT", "layer 1 is missing", save(twice, { "c/layer.tar" }, { id }))
    refused("EPROTO", "layer 2 has no diff_id", save(twice, { "a/layer.tar", "b/layer.tar" }, { id }))
  end, LIMIT))

  it("is refused when it is none", support.run(function()
    local folder = support.tmpdir()
    for bytes, words in pairs {
      [""] = "ends without", text = "ends without", [cc_image.tar { a = "b" }] = "index.json", [("x"):rep(2048)] = "check sum",
      [cc_image.tar { ["manifest.json"] = "[1]" }] = "without a configuration", [cc_image.tar { ["manifest.json"] = "x" }] = "no JSON",
      [cc_image.tar { ["index.json"] = "{}" }] = "has no image",
      [cc_image.tar { ["index.json"] = '{"manifests":[{"digest":"sha256:zz"}]}' }] = "no sha256 digest",
    } do
      assert(core.fs.replace(folder .. "/bad.tar", bytes))
      local made, err = image("docker-archive:" .. folder .. "/bad.tar")
      assert.is_nil(made)
      assert.is_truthy(err:find(words, 1, true), err)
    end
    refused("EINVAL", "regular file", "oci-archive:" .. folder)
  end, LIMIT))
end)

describe("an image in an archive that is packed as a whole", function()
  -- An archive as `docker save` writes it, with a second layer, so that there are bytes behind the first.
  local function saved(folder)
    local path = cc_image.docker(folder, { { ["etc/a"] = "1" }, { ["etc/b"] = "2" } }, { Env = { "A=b" } })
    layers.run(folder, ("mv '%s' plain.tar"):format(path))
    return "docker-archive:" .. folder .. "/"
  end

  it("is the same image, by each program that unpacks layers; it is unpacked once, and cleaned up with the rest", support.run(function()
    local folder, cache = support.tmpdir(), support.tmpdir()
    local spec = saved(folder)
    local plain = assert(image(spec .. "plain.tar", { cache = cache }))
    for i, program in ipairs { "gzip", "zstd", "xz", "bzip2" } do
      layers.run(folder, program .. " -c plain.tar >packed." .. program)
      for _ = 1, 2 do
        local made = assert(image(spec .. "packed." .. program, { cache = cache }))
        assert.same({ plain.digest, plain.config }, { made.digest, made.config })
      end
      assert.equal(i, #layers.run(cache, "ls unpacked/*.tar"):gsub("[^\n]", ""))
    end
    assert(core.fs.replace(cache .. "/unpacked/" .. ("0"):rep(64) .. ".tar.new-0123456789ab", "a killed process left it"))
    assert.equal(5, #rootfs.prune { cache = cache, unused = 0 })
    assert.equal("", layers.run(cache, "ls unpacked"))
  end, LIMIT))

  it("can be a layout, is imported as what it is, and is made anew when another file takes its name", support.run(function()
    local folder, cache = support.tmpdir(), support.tmpdir()
    local one = layers.layout(folder, { { { path = "f", content = "one" } } }, { User = "7" })
    layers.run(folder, "tar -C oci -c . | gzip >i.tar.gz")
    local spec, opts = "oci-archive:" .. folder .. "/i.tar.gz:t", { cache = cache }
    assert.equal(assert(image(one, opts)).digest, assert(image(spec, opts)).digest)
    assert.equal("oci-archive", rootfs.archive_kind(folder .. "/i.tar.gz", opts))
    local two = layers.layout(folder, { { { path = "f", content = "two" } } }, { User = "7" })
    layers.run(folder, "tar -C oci -c . | gzip >j && mv j i.tar.gz")
    assert.equal(assert(image(two, opts)).digest, assert(image(spec, opts)).digest)
    saved(folder)
    layers.run(folder, "xz -c plain.tar >d.xz && mkdir -p r/bin && touch r/bin/sh && tar -C r -czf r.tgz . && tar -C r -czf s.tgz bin")
    assert.equal("docker-archive", rootfs.archive_kind(folder .. "/d.xz", opts))
    assert.equal("docker-archive", rootfs.archive_kind(folder .. "/plain.tar", opts))
    for _, name in ipairs { "r.tgz", "s.tgz", "r", "none" } do assert.is_nil(rootfs.archive_kind(folder .. "/" .. name, opts)) end
  end, LIMIT))

  it("is refused when it is cut, damaged, a bomb, or packed by an unknown program, and leaves nothing", support.run(function()
    local folder, cache = support.tmpdir(), support.tmpdir()
    local spec = saved(folder)
    layers.run(folder, [[gzip -c plain.tar >whole; head -c $(($(wc -c <whole) / 2)) whole >cut
      { head -c 40 whole; printf xxxxxxxx; tail -c +49 whole; } >damaged
      truncate -s 300M zeros; gzip -1 <zeros >bomb; rm zeros; gzip -c whole >twice; : | gzip >empty
      printf '\004\042\115\030more' >foreign]])
    for name, want in pairs {
      cut = { "EPROTO", "gzip: exit code 1" }, damaged = { "EPROTO", "gzip: exit code 1" },
      bomb = { "ETOOBIG", "more bytes than the limit" },
      twice = { "EPROTO", "tar: " }, empty = { "EPROTO", "ends without" }, foreign = { "EPROTO", "packed by lz4" },
    } do
      local made, err, code = image(spec .. name, { cache = cache, max_bytes = 100 << 20 })
      assert.is_nil(made)
      assert.equal(want[1], code, err)
      assert.is_truthy(err:find(want[2], 1, true), err)
      assert.is_truthy(err:find(folder .. "/" .. name, 1, true), err)
    end
    assert.equal("", layers.run(cache, "find unpacked -name '*.new-*' -o -size +1M"))
  end, LIMIT))
end)

describe("an image of many layers", function()
  local function many(folder, count)
    local bytes = layers.tar { { path = "a", content = "b" } }
    local list = {}
    for i = 1, count do list[i] = { bytes = bytes } end
    return layers.layout(folder, list)
  end

  it("is made of 1,000, and refused with one more", support.run(function()
    assert(image(many(support.tmpdir(), 1000)))
    refused("ETOOBIG", "more than 1000 layers", many(support.tmpdir(), 1001))
  end, LIMIT))
end)

describe("a bomb", function()
  local function save_names(folder, count)
    local entries = {}
    for i = 1, count do entries[i] = { path = "n" .. i } end
    assert(core.fs.replace(folder .. "/names.tar", layers.tar(entries)))
    return folder .. "/names.tar"
  end

  it("is refused before it has filled the disk, packed or in one file's size", support.run(function()
    local folder = support.tmpdir()
    layers.run(folder, "truncate -s 300M z; tar -cf - z | gzip -1 >bomb.tgz; tar --sparse -cf hole.tar z; rm z")
    local made, err, code = image("tar:" .. folder .. "/bomb.tgz", { max_bytes = 100 << 20 })
    assert.same({ nil, "ETOOBIG" }, { made, code })
    assert.is_truthy(err:find("more bytes than the limit allows", 1, true), err)
    assert(image("tar:" .. folder .. "/hole.tar", { max_bytes = 1 << 20 })) -- a hole is no content
    assert.equal("ETOOBIG", support.code(image("tar:" .. save_names(folder, 3000), { max_entries = 2000 })))
  end, LIMIT))
end)
