-- Images of a registry, which runs here on loopback: skopeo brings them. Takes about 10 seconds.
local assert = require "luassert"
local layers = require "spec.support.layers"
local rootfs = require "vmctl.rootfs"
local support = require "spec.support"

local LIMIT = 90

local function has(program) return os.execute(("command -v %s >/dev/null"):format(program)) end

local function push(folder, from, to) return layers.run(folder, ("skopeo copy -q --dest-tls-verify=false '%s' '%s'"):format(from, to)) end

local function image_of(folder, n)
  return layers.layout(folder, {
    { { path = "base", content = ("base\n"):rep(2000) }, pack = "gzip" }, { { path = "n", content = tostring(n) }, pack = "zstd" },
    { { path = "plain", content = "x" } },
  }, { User = tostring(n) })
end

describe("an image of a registry", function()
  it("is what was pushed: by its tag, as it is now, and by its digest for ever", support.run(function()
    if not has "skopeo" or not has "docker-registry" then return pending "no skopeo, or no docker-registry" end
    local folder = support.tmpdir()
    local opts = { cache = folder .. "/cache", arch = "amd64" }
    local server <close>, host = layers.registry(folder)
    local name = "docker://" .. host .. "/some/tool:1"
    local first = assert(rootfs.image(image_of(folder, 1), opts))
    push(folder, "oci:oci:t", name)
    local digest = layers.run(folder, ("skopeo inspect --tls-verify=false --format '{{.Digest}}' '%s'"):format(name)):match "sha256:%x+"
    assert.equal(first.digest, assert(rootfs.image(name, opts)).digest)
    local second = assert(rootfs.image(image_of(folder, 2), opts))
    push(folder, "oci:oci:t", name)
    local pulled = assert(rootfs.image(name, opts))
    assert.same({ second.digest, "2" }, { pulled.digest, pulled.config.user })
    local pinned = ("docker://%s/some/tool@%s"):format(host, digest)
    assert.equal(first.digest, assert(rootfs.image(pinned, opts)).digest)
    local made, err, code = rootfs.image("docker://" .. host .. "/some/tool:none", opts)
    assert.same({ nil, "EPROTO" }, { made, code })
    assert.is_truthy(err:find("skopeo: ", 1, true) and err:find("manifest unknown", 1, true), err)
    assert.is_truthy(err:find(("is the name right? skopeo list-tags docker://%s/some/tool shows its tags"):format(host), 1, true), err)
    assert.is_nil(err:find("level=", 1, true) or err:find('\\"', 1, true), err)
    server:kill "KILL"
    assert(server:wait(LIMIT))
    assert.equal(first.digest, assert(rootfs.image(pinned, opts)).digest)
    assert.equal("EPROTO", support.code(rootfs.image(name, opts)))
    local kinds = {}
    for _, each in ipairs(rootfs.list(opts.cache)) do kinds[each.kind] = (kinds[each.kind] or 0) + 1 end
    assert.same({ image = 2, layout = 2 }, kinds)
    assert.equal(4, #rootfs.prune { cache = opts.cache, unused = 0 })
    assert.same({}, rootfs.list(opts.cache))
  end, LIMIT))

  it("is the same when it was saved into an archive, as docker does it and as a layout", support.run(function()
    if not has "skopeo" then return pending "no skopeo" end
    local folder = support.tmpdir()
    local opts = { cache = folder .. "/cache", arch = "amd64" }
    local packed = { { { path = "a", content = "1" }, pack = "gzip" }, { { path = "b", content = "2" } } } -- docker knows no zstd
    local first = assert(rootfs.image(layers.layout(folder, packed), opts))
    push(folder, "oci:oci:t", "docker-archive:docker.tar:localhost/tool:3")
    push(folder, "oci:oci:t", "oci-archive:oci.tar:3")
    for _, spec in ipairs { "docker-archive:%s/docker.tar", "docker-archive:%s/docker.tar:3", "oci-archive:%s/oci.tar",
      "oci-archive:%s/oci.tar:3" } do
      assert.equal(first.digest, assert(rootfs.image(spec:format(folder), { cache = folder .. "/other", arch = "amd64" })).digest)
    end
    assert.equal("ENOENT", support.code(rootfs.image(("docker-archive:%s/docker.tar:4"):format(folder), opts)))
  end, LIMIT))
end)
