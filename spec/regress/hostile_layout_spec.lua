-- A layout of an image comes from elsewhere, as an archive that was unpacked: a FIFO in it stopped the program, and its texts reached the
-- terminal as they were. A program that said more on its standard error than a pipe holds was waited for, for an hour.
local assert = require "luassert"
local core = require "vmctl.core"
local json = require "vmctl.json"
local layer = require "vmctl.rootfs.layer"
local rootfs = require "vmctl.rootfs"
local support = require "spec.support"

local MOST = 30 -- seconds of processor time, of which it takes a fraction of one

local function save(path, bytes)
  assert(core.fs.replace(path, bytes))
  return path
end

local function blob(folder, bytes)
  local hex = core.sha256(bytes):hex()
  save(folder .. "/blobs/sha256/" .. hex, bytes)
  return { digest = "sha256:" .. hex, size = #bytes }
end

-- A layout whose one layer is no archive; `change` gets its parts before they are written.
local function layout(change)
  local folder = support.tmpdir()
  for _, name in ipairs { "/blobs", "/blobs/sha256" } do assert(core.fs.mkdir(folder .. name, 448)) end
  local list, config = { blob(folder, "x") }, { rootfs = { diff_ids = { "sha256:" .. ("0"):rep(64) } } }
  change(list, config, folder)
  local manifest = { config = blob(folder, assert(json.encode(config))), layers = list }
  local index = { manifests = { blob(folder, assert(json.encode(manifest))) } }
  change(index, manifest, folder)
  save(folder .. "/index.json", assert(json.encode(index)))
  return folder
end

local function image(folder)
  return rootfs.image("oci:" .. folder .. ":", { cache = support.tmpdir(), arch = "amd64" })
end

local function fifo(path)
  os.remove(path)
  assert(os.execute(("mkfifo '%s'"):format(path)))
end

describe("a layout from elsewhere", function()
  it("does not stop the program at a FIFO", support.run(function()
    local folder = layout(function() end)
    fifo(folder .. "/index.json")
    assert.equal("EINVAL", support.code(image(folder)))
    folder = layout(function(list, _, where)
      if list[1] then fifo(where .. "/blobs/sha256/" .. list[1].digest:sub(8)) end
    end)
    assert.equal("EINVAL", support.code(image(folder)))
  end))

  it("does not reach the terminal", support.run(function()
    for _, change in ipairs {
      function(_, config) config.architecture = "\27[31m\u{9b}" end,
      function(_, config) if config.rootfs then config.rootfs.diff_ids[1] = "sha256:\27[2J" end end,
      function(index) if index.manifests then index.manifests[1].platform = { architecture = "\27]0;x\7" } end end,
    } do
      local made, err, code = image(layout(change))
      assert.is_nil(made)
      assert.equal("EPROTO", code)
      assert.is_nil(err:find "[%c\128-\255]", err)
    end
  end))
end)

describe("a layer", function()
  it("comes from a program that complains much", support.run(function()
    local build <close> = assert(core.rootfs_build(support.tmpdir() .. "/image", 1000, 1 << 20))
    local noise = "head -c 1000000 /dev/zero | tr '\\0' x >&2; "
    assert.equal(64, #assert(layer.from_command(build, { "sh", "-c", noise .. "head -c 1024 /dev/zero", stdin = "null" })))
    local made, err, code = layer.from_command(build, { "sh", "-c", noise .. "printf '\\033[2Jwhy\n' >&2; exit 3", stdin = "null" })
    assert.is_nil(made)
    assert.equal("EPROTO", code)
    assert.truthy(err:find("why$"), err)
    assert.is_nil(err:find "%c", err)
  end))

  it("has as many attributes as a file can have", support.run(function()
    local began = os.clock()
    local records = {}
    for i = 1, 30000 do
      local text = (" SCHILY.xattr.other.a%d=\n"):format(i)
      records[i] = #text + 2 .. text
    end
    local body = table.concat(records)
    local head = ("x"):rep(100, ""):gsub(".", "\0") .. "0000644\0" .. "0000000\0" .. "0000000\0" .. ("%011o\0"):format(#body) ..
      ("0"):rep(11) .. "\0" .. "        " .. "x"
    head = head .. ("\0"):rep(512 - #head)
    local sum = 0
    for i = 1, 512 do sum = sum + head:byte(i) end
    head = head:sub(1, 148) .. ("%06o\0 "):format(sum) .. head:sub(157)
    local build <close> = assert(core.rootfs_build(support.tmpdir() .. "/image", 1000, 1 << 20))
    local path = save(support.tmpdir() .. "/tar", head .. body .. ("\0"):rep(-#body % 512))
    assert.equal("ETOOBIG", support.code(layer.from_file(build, path)))
    assert.is_true(os.clock() - began < MOST)
  end))
end)
