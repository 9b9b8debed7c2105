-- Images of root file systems. fsck.erofs, of another implementation, reads what was made.
local assert = require "luassert"
local core = require "vmctl.core"
local json = require "vmctl.json"
local process = require "vmctl.process"
local rootfs = require "vmctl.rootfs"
local tar = require "vmctl.tar.write"

-- fsck.erofs of a 32-bit system gives files no time after 2038.
local LATE = string.packsize "T" == 4 and "2037-12-31Z" or "2200-01-01Z"

local folder

local function run(command)
  local child <close> = assert(process.spawn { "sh", "-ec", command, stdout = "pipe", stderr = "stdout", stdin = "null", cwd = folder })
  local parts = {}
  for data in function() return child.stdout:read(1 << 16, 60) end do parts[#parts + 1] = data end
  local record = assert(child:wait(60))
  assert.equal(0, record.exit_code, command .. ": " .. table.concat(parts))
  return table.concat(parts)
end

local function archive(entries)
  local parts = {}
  local function write(bytes) parts[#parts + 1] = bytes return true end
  for _, e in ipairs(entries) do
    local content = e.content
    tar.entry(write, { path = e.path, type = e.type or content and "file" or "directory", mode = e.mode or 493, uid = e.uid or 0, gid = 0,
      mtime = e.mtime or 0, size = content and #content or 0, link = e.link }, function(n)
      local data = content:sub(1, n)
      content = content:sub(n + 1)
      return data
    end)
  end
  tar.finish(write)
  return table.concat(parts)
end

local function save(name, bytes)
  assert(core.fs.replace(folder .. "/" .. name, bytes))
  return folder .. "/" .. name
end

local function blob(bytes)
  local hex = core.sha256(bytes):hex()
  save("oci/blobs/sha256/" .. hex, bytes)
  return { digest = "sha256:" .. hex, size = #bytes }
end

-- A layout of layers, each { entries, pack = "gzip" … }.
local function layout(layers, change)
  run "rm -rf oci && mkdir -p oci/blobs/sha256"
  local list, ids = {}, {}
  for i, each in ipairs(layers) do
    local bytes = each.bytes or archive(each)
    ids[i] = "sha256:" .. core.sha256(bytes):hex()
    if each.pack then
      save("packed", bytes)
      bytes = run(each.pack .. " -c packed")
    end
    list[i] = blob(bytes)
  end
  local config = { architecture = "amd64", os = "linux", rootfs = { diff_ids = ids },
    config = { Env = { "A=b=c" }, User = "nobody", WorkingDir = "/w", Entrypoint = { "/e" }, Cmd = { "c" } } }
  if change then change(list, config) end
  local manifest = blob(assert(json.encode { config = blob(assert(json.encode(config))), layers = list }))
  save("oci/index.json", assert(json.encode { manifests = { manifest } }))
  return "oci:" .. folder .. "/oci"
end

local function image(spec, more)
  local opts = { cache = folder .. "/cache", arch = "amd64" }
  for name, value in pairs(more or {}) do opts[name] = value end
  return rootfs.image(spec, opts)
end

-- Path -> content, link or "/" of what is in an image.
local function content(made)
  run("rm -rf out && fsck.erofs --extract=out '" .. made.path .. "'")
  local found = {}
  for line in run("cd out && find . -mindepth 1 -printf '%P %y %l\\n'"):gmatch "[^\n]+" do
    local path, kind, link = line:match "^(.-) (%a) (.*)$"
    local file = kind == "f" and assert(io.open(folder .. "/out/" .. path))
    found[path] = kind == "d" and "/" or kind == "l" and "-> " .. link or file and file:read "a" or kind
    if file then file:close() end
  end
  return found
end

describe("vmctl.rootfs.parse", function()
  it("knows each kind", function()
    for text, want in pairs {
      ["oci:/a/b:1.2"] = { kind = "oci", path = "/a/b", tag = "1.2" }, ["oci:/a/b"] = { kind = "oci", path = "/a/b" },
      ["docker-archive:f.tar"] = { kind = "docker-archive", path = "f.tar" }, ["tar:/x:y"] = { kind = "tar", path = "/x:y" },
      ["docker://127.0.0.1:5000/t:3"] = { kind = "docker", name = "127.0.0.1:5000/t:3" }, ["dir:/r"] = { kind = "dir", path = "/r" },
      ["disk:d.qcow2"] = { kind = "disk", path = "d.qcow2" },
    } do assert.same(want, (rootfs.parse(text))) end
    assert.same({ kind = "empty", size = 4 << 30 }, (rootfs.parse { size = "4G" }))
  end)

  it("refuses what is none", function()
    for _, wrong in ipairs { "", "oci:", "/a", "docker:x", "docker://-x", "what:/a", {}, { size = "4X" } } do
      assert.equal("EINVAL", select(3, rootfs.parse(wrong)))
    end
  end)
end)

describe("vmctl.rootfs.image", function()
  before_each(function() folder = assert(core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-rootfs")) end)
  after_each(function() os.execute("rm -rf '" .. folder .. "'") end)

  it("lays layers of each compression onto each other, with white-outs, opaque folders and parents that are links", function()
    local made = assert(image(layout {
      { { path = "usr/lib" }, { path = "usr/lib/a", content = "low" }, { path = "lib", type = "link", link = "usr/lib" },
        { path = "opq" }, { path = "opq/low", content = "x" }, { path = "d" }, { path = "d/gone", content = "y" },
        { path = "d/stay", content = "z" }, { path = "e", content = "q" }, pack = "gzip" },
      { { path = "lib/b", content = ("up"):rep(5000) }, { path = "opq/new", content = "n" },
        { path = "opq/.wh..wh..opq", content = "" }, { path = "d/.wh.gone", content = "" }, pack = "zstd" },
      { { path = "e" }, { path = "e/in", content = "in" }, { path = "hard", type = "hard", link = "usr/lib/a" }, pack = "xz" },
      { { path = "d/last", content = "" }, pack = "bzip2" },
    }))
    assert.same({
      usr = "/", ["usr/lib"] = "/", ["usr/lib/a"] = "low", ["usr/lib/b"] = ("up"):rep(5000), lib = "-> usr/lib", opq = "/",
      ["opq/new"] = "n", d = "/", ["d/stay"] = "z", ["d/last"] = "", e = "/", ["e/in"] = "in", hard = "low",
    }, content(made))
    assert.same({ env = { A = "b=c" }, user = "nobody", cwd = "/w", entrypoint = { "/e" }, cmd = { "c" } }, made.config)
  end)

  it("keeps what it made, and makes the same bytes again", function()
    local spec = layout { { { path = "a", content = "b" } } }
    local first = assert(image(spec))
    local second = assert(image(spec, { cache = folder .. "/other" }))
    assert.equal(first.path, assert(image(spec)).path)
    assert.equal(first.digest, second.digest)
    run(("cmp '%s' '%s'"):format(first.path, second.path))
  end)

  it("takes a folder with its holes, times and links", function()
    run((([[mkdir -p r/bin r/deep/er; echo hi >r/deep/er/f; ln r/deep/er/f r/deep/g; truncate -s 3M r/hole; echo end >>r/hole
      touch -d '1950-01-01 00:00:00.5Z' r/deep/g; touch -d LATE r/hole; ln -s ../x r/bin/l; mkfifo r/fifo
      for i in $(seq 400); do echo $i >"r/deep/a file $i"; done]]):gsub("LATE", LATE)))
    local made = assert(image("dir:" .. folder .. "/r"))
    local list = "find . -mindepth 1 -printf '%P %y %l %m %U %G %s %T@\\n' | grep -v ' d ' | sort"
    content(made)
    assert.equal(run("cd r && " .. list), run("cd out && " .. list))
    run "diff -r --no-dereference --exclude=fifo r out"
  end)

  it("keeps a larger file's last bytes with its blocks, a smaller one's and a folder's beside their inodes", function()
    run [[mkdir -p r/folder; head -c 5000 /dev/zero | tr '\0' x >r/large; echo hi >r/small; head -c 4096 r/large >r/block
      for i in $(seq 300); do : >"r/folder/a name of some length $i"; done]]
    local made = assert(image("dir:" .. folder .. "/r"))
    local PLAIN, INLINE = "0", "2" -- Documentation/filesystems/erofs.rst: datalayout
    local layouts = {}
    for _, name in ipairs { "large", "small", "block", "folder" } do
      layouts[name] = run(("dump.erofs -e --path=/%s '%s'"):format(name, made.path)):match "Layout: (%d)"
    end
    assert.same({ large = PLAIN, small = INLINE, block = PLAIN, folder = INLINE }, layouts)
    content(made)
    run "diff -r r out"
  end)

  it("takes an archive, packed or not", function()
    local path = save("t.tar", archive { { path = "a" }, { path = "a/b", content = "c" } })
    assert.same({ a = "/", ["a/b"] = "c" }, content(assert(image("tar:" .. path))))
    for _, program in ipairs { "gzip", "zstd", "xz", "bzip2" } do
      run(program .. " -c t.tar >packed")
      assert.same({ a = "/", ["a/b"] = "c" }, content(assert(image("tar:" .. folder .. "/packed"))), program)
    end
  end)

  local function refused(code, words, spec, more)
    local made, err, got = image(spec, more)
    assert.is_nil(made)
    assert.equal(code, got, err)
    assert.is_truthy(err:find(words, 1, true), err)
    assert.equal("", run "cd cache/chain && ls | grep -v lock || true")
  end

  it("refuses hostile archives", function()
    local function of(...) return "tar:" .. save("t.tar", archive { ... }) end
    refused("EPROTO", "'..'", of { path = "a/../../b", content = "" })
    refused("EPROTO", "hard link", of { path = "a", type = "hard", link = "/etc/passwd" })
    refused("EPROTO", "'..'", of { path = "a", type = "hard", link = "../x" })
    refused("EPROTO", "links", of({ path = "a", type = "link", link = "a" }, { path = "a/b", content = "" }))
    refused("ETOOBIG", "more bytes", of { path = "a", content = ("x"):rep(5000) }, { max_bytes = 4999 })
    refused("ETOOBIG", "more files", of({ path = "a" }, { path = "b" }, { path = "c" }), { max_entries = 2 })
    refused("EPROTO", "check sum", "tar:" .. save("t.tar", ("x"):rep(1024)))
    refused("EPROTO", "packed by lz4: gzip, zstd, xz, bzip2 or nothing expected", "tar:" .. save("t.tar", "\x04\x22\x4d\x18more"))
    refused("EPROTO", "ends in the middle", "tar:" .. save("t.tar", archive({ { path = "a", content = ("x"):rep(900) } }):sub(1, 1000)))
  end)

  it("refuses damaged layouts", function()
    local one = { { path = "a", content = "b" } }
    refused("EPROTO", "digest", layout({ one }, function(list)
      save("oci/blobs/sha256/" .. list[1].digest:sub(8), archive { { path = "z", content = "b" } })
    end))
    refused("ENOENT", "missing", layout({ one }, function(list) os.remove(folder .. "/oci/blobs/sha256/" .. list[1].digest:sub(8)) end))
    refused("EPROTO", "unpacked", layout({ one }, function(_, config) config.rootfs.diff_ids[1] = "sha256:" .. ("0"):rep(64) end))
    refused("EPROTO", "for s390x", layout({ one }, function(_, config) config.architecture = "s390x" end))
    refused("EPROTO", "digest", layout({ one }, function(list) list[1].digest = "sha256:../../etc" end))
  end)
end)
