-- Images under names, as `vmctl image` keeps them: what they come from, what keeps them, what removes them. Takes about 5 seconds.
local assert = require "luassert"
local core = require "vmctl.core"
local instances = require "spec.support.instances"
local layers = require "spec.support.layers"
local support = require "spec.support"

local LIMIT = 120

local function has(program) return os.execute(("command -v %s >/dev/null"):format(program)) end

local function content(n) return { { { path = "a", content = n } }, { { path = "b", content = "2" } } } end

-- name -> { digest, used by } of what `vmctl image ls` shows.
local function images(user)
  local found = {}
  for _, each in ipairs(user:document("image", "ls", "--json").images) do
    found[each.name or each.from] = { each.digest, table.concat(each.used_by, " ") }
  end
  return found
end

local function run(fn) return support.run(fn, LIMIT) end

describe("vmctl image import", function()
  it("takes a folder, an archive that may be packed, and a layout: by the file's name or another one", run(function()
    local user = instances.user()
    local folder = user.folder
    assert(core.fs.mkdir(folder .. "/tree"))
    assert(core.fs.replace(folder .. "/tree/file", "content"))
    layers.run(folder, "tar -C tree -czf packed.tar.gz .")
    layers.layout(folder, content "1", { User = "7" })
    assert.matches("^tree  sha256:%x+\n$", user:done("image", "import", folder .. "/tree"))
    assert.matches("^packed  sha256:%x+\n$", user:done("image", "import", folder .. "/packed.tar.gz"))
    local told = user:document("image", "--json", "import", folder .. "/oci", "localhost/some/tool:1")
    assert.same({ "localhost/some/tool:1", 71 }, { told.name, #told.digest })
    local found = images(user)
    assert.same({ told.digest, "" }, found["localhost/some/tool:1"])
    assert.is_not_nil(found.tree)
    assert.is_not_nil(found.packed)
    assert.matches("\nlocalhost/some/tool:1  " .. told.digest:sub(1, 19) .. "  +0%.%d MiB  ", user:done("image", "ls"))
  end))

  it("takes archives of images by what is in them", run(function()
    if not has "skopeo" then return pending "no skopeo" end
    local user = instances.user()
    layers.layout(user.folder, content "1", {})
    for name, to in pairs { d = "docker-archive:d.tar:localhost/tool:3", o = "oci-archive:o.tar:3" } do
      layers.run(user.folder, ("skopeo copy -q 'oci:oci:t' '%s'"):format(to))
      user:done("image", "import", ("%s/%s.tar"):format(user.folder, name))
    end
    local found = images(user)
    user:done("image", "import", user.folder .. "/oci", "layout")
    assert.equal(found.d[1], found.o[1])
    assert.equal(found.d[1], images(user).layout[1])
  end))

  it("refuses a name that another image has, a bad name, and what is not there: nothing changes", run(function()
    local user = instances.user()
    layers.layout(user.folder, content "1", {})
    assert(core.fs.mkdir(user.folder .. "/other"))
    user:done("image", "import", user.folder .. "/oci", "tool")
    local before = images(user)
    user:refused("an image 'tool' is there already (vmctl image rm tool removes it)", "image", "import", user.folder .. "/other", "tool")
    user:refused("'a b': an image's name has letters, digits, '.', '_', '-', ':', '/' and '@', 200 at most", "image", "import",
      user.folder .. "/other", "a b")
    user:refused(("stat %s/none: No such file or directory"):format(user.folder), "image", "import", user.folder .. "/none")
    user:refused("there is no image 'tol' here (did you mean 'tool'?)", "image", "rm", "tol")
    assert.same(before, images(user))
    user:done("image", "import", "--replace", user.folder .. "/other", "tool")
    assert.not_equal(before.tool[1], images(user).tool[1])
  end))
end)

describe("a user without images and instances", function()
  it("gets no folders for looking", run(function()
    local user = instances.user()
    assert.equal("no images\n", user:done("image", "ls"))
    assert.equal("there are no instances (vmctl create makes one)\n", user:done("ps"))
    user:refused("there is no instance 'web'", "start", "web")
    user:refused("no guest called 'web' runs here (vmctl list shows which do)", "exec", "web", "true")
    user:refused("there is no image 'tool' here", "image", "rm", "tool")
    assert.is_nil(core.fs.stat(user.env.XDG_DATA_HOME))
  end))
end)

describe("vmctl image rm", function()
  it("takes one name of several, and the image with the last one", run(function()
    local user = instances.user()
    layers.layout(user.folder, content "1", {})
    user:done("image", "import", user.folder .. "/oci", "one")
    user:done("image", "import", user.folder .. "/oci", "two")
    assert.equal("one  (other names have its image)\n", user:done("image", "rm", "one"))
    local digest = images(user).two[1]
    assert.is_true(user:document("image", "rm", "--json", digest:sub(1, 19)).removed[1].freed)
    assert.equal("no images\n", user:done("image", "ls"))
    assert.same({}, core.fs.list(user.env.XDG_CACHE_HOME .. "/vmctl/chain"))
    assert.same({ ".lock" }, core.fs.list(user.env.XDG_DATA_HOME .. "/vmctl/images"))
  end))

  it("leaves an image that an instance was made of, whoever cleans up, and says which instance", run(function()
    local user = instances.user()
    layers.layout(user.folder, content "1", {})
    user:done("image", "import", user.folder .. "/oci", "tool")
    user:done("create", "web", "--root", "image:tool")
    user:done("create", "db", "--root", "image:tool")
    assert.equal("db web", images(user).tool[2])
    user:refused("the image 'tool' is used by the instances db, web", "image", "rm", "tool")
    user:done("rm", "db")
    user:refused("the image 'tool' is used by the instance web", "image", "rm", "tool")
    assert.equal("EBUSY", user:document("image", "rm", "--json", "tool").error.code)
    user:done("images", "--prune", "--unused", "0")
    assert.equal("web", images(user).tool[2])
    local spec = user.env.XDG_DATA_HOME .. "/vmctl/instances/web/root.erofs"
    assert.is_truthy(assert(core.fs.stat(spec)).size > 0)
    user:done("rm", "web")
    assert.equal("tool\n", user:done("image", "rm", "tool"))
  end))

  it("leaves an image that a guest reads", run(function()
    local user = instances.user()
    layers.layout(user.folder, content "1", {})
    user:done("image", "import", user.folder .. "/oci", "tool")
    local folder = user.env.XDG_DATA_HOME .. "/vmctl/images"
    for _, name in ipairs(core.fs.list(folder)) do
      local file <close> = assert(core.fs.open(folder .. "/" .. name))
      if name:find "%.erofs$" then
        assert(file:lock(false)) -- as a guest's QEMU holds it
        user:refused("the image 'tool' is used by a guest that runs", "image", "rm", "tool")
      end
    end
    user:done("image", "rm", "tool")
  end))
end)

describe("vmctl image pull", function()
  it("keeps what a registry has now, under its name", run(function()
    if not has "skopeo" or not has "docker-registry" then return pending "no skopeo, or no docker-registry" end
    local user = instances.user()
    local server <close>, host = layers.registry(user.folder) -- luacheck: ignore
    local name = host .. "/some/tool:1"
    local digests = {}
    for n = 1, 2 do
      layers.run(user.folder, "rm -rf oci")
      layers.layout(user.folder, content(tostring(n)), { User = tostring(n) })
      layers.run(user.folder, ("skopeo copy -q --dest-tls-verify=false oci:oci:t docker://%s"):format(name))
      assert.matches("^" .. name:gsub("%p", "%%%0") .. "  sha256:%x+\n$", user:done("image", "pull", name))
      digests[n] = images(user)[name][1]
    end
    assert.not_equal(digests[1], digests[2])
    assert.equal("2 " .. digests[2] .. "\n", user:lua(([[
      local image = assert(require("vmctl").rootfs.image("image:%s", { arch = "amd64" }))
      print(image.config.user .. ' ' .. image.digest)]]):format(name)))
    local failed = user:vmctl("image", "pull", host .. "/some/tool:none")
    assert.equal(125, failed.exit_code)
    assert.matches("skopeo: .*manifest unknown", failed.stderr)
  end))

  it("says that skopeo is missing", run(function()
    local result = instances.user():without_programs("image", "pull", "localhost:1/tool")
    assert.equal("vmctl: root docker://localhost:1/tool: images of registries are pulled by skopeo, which is not installed",
      instances.sentence(result))
  end))
end)

describe("vmctl image build", function()
  it("makes an image by a Dockerfile", run(function()
    if not has "buildah" then return pending "no buildah" end
    local user = instances.user()
    local folder = user.folder .. "/tool"
    assert(core.fs.mkdir(folder))
    assert(core.fs.replace(folder .. "/words", "some words"))
    assert(core.fs.replace(folder .. "/Dockerfile", "FROM scratch\nCOPY words /words\nENV A=1\n"))
    assert(core.fs.replace(folder .. "/broken", "FROM scratch\nCOPY none /words\n"))
    local built = user:vmctl("image", "build", folder)
    for _, sign in ipairs { "permission denied", "operation not permitted", "remount /" } do -- the last: in a root folder
      if built.stderr:find(sign, 1, true) then return pending "buildah can not work here" end
    end
    assert.same({ 0, true }, { built.exit_code, built.stdout:find "^tool  sha256:%x+\n$" ~= nil }, built.stderr)
    assert.equal(0, user:vmctl("image", "build", "-t", "named:2", "-f", folder .. "/Dockerfile", folder).exit_code)
    local found = images(user)
    assert.equal(found.tool[1], found["named:2"][1])
    local failed = user:vmctl("image", "build", "-f", folder .. "/broken", folder)
    assert.equal(125, failed.exit_code)
    assert.is_truthy(failed.stderr:find(("vmctl: build %s: buildah ended with exit code "):format(folder), 1, true), failed.stderr)
    assert.same(found, images(user))
  end))

  it("says what is missing: a Dockerfile, buildah", run(function()
    local user = instances.user()
    user:refused(("build: %s has no Dockerfile: name one (-f)"):format(user.folder), "image", "build", user.folder)
    assert(core.fs.replace(user.folder .. "/Dockerfile", "FROM scratch\n"))
    local without = user:without_programs("image", "build", user.folder, "-t", "a")
    assert.equal("vmctl: images are built by buildah, which is not installed (Debian: apt-get install buildah)",
      instances.sentence(without))
  end))
end)
