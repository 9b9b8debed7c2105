--- Images as archives: an OCI layout or what `docker save` writes. Their layers are checked and laid onto a tree.
local core = require "vmctl.core"
local json = require "vmctl.json"
local process = require "vmctl.process"
local slice = require "vmctl.cc_helper.vm.slice"
local tar = require "vmctl.tar.read"
local texts = require "vmctl.text"
local tree = require "vmctl.cc_helper.vm.tree"

local M = {}

local MOST_JSON = 4 << 20
local MOST_LAYERS = 512
local CHUNK = 1 << 20
local UNPACK_TIMEOUT = 600
local ARCHITECTURES = { x86_64 = "amd64", aarch64 = "arm64" }

local function fail(text, ...)
  return nil, text:format(...), "EPROTO"
end

-- A path without "." and "..".
local function without_dots(path)
  local parts = {}
  for part in path:gmatch "[^/]+" do
    if part == ".." then parts[#parts] = nil elseif part ~= "." then parts[#parts + 1] = part end
  end
  return table.concat(parts, "/")
end

-- The files of the outer archive, by name.
local function index_archive(path)
  local whole, err, code = slice.whole(path)
  if not whole then return nil, err, code end
  local source <close> = slice.open(whole)
  local files, links = {}, {}
  local ok
  ok, err, code = tar.each(source, function(entry)
    local name = texts.strip_slashes((entry.path:gsub("^%./+", "")))
    if entry.type == "file" then files[name] = slice.new(path, source:position(), entry.size) end
    if entry.type == "link" or entry.type == "hard" then links[name] = entry end
    return true
  end)
  if not ok then return nil, err, code end
  for name, entry in pairs(links) do -- docker names layers that it has already written by links, "../ID/layer.tar"
    local target = entry.type == "hard" and entry.link or (name:match "^(.*/)[^/]*$" or "") .. entry.link
    files[name] = files[name] or files[without_dots(target)]
  end
  return files
end

local function read_json(files, name)
  local at = files[name]
  if not at then return fail("the image has no %s", name) end
  if at.size > MOST_JSON then return fail("%s has %d bytes", name, at.size) end
  local reader <close>, err, code = slice.open(at)
  if not reader then return nil, err, code end
  local value = json.decode(reader:read(at.size) or "")
  if type(value) ~= "table" then return fail("%s is no JSON", name) end
  return value
end

local function digest_of(part)
  local reader <close>, err, code = slice.open(part)
  if not reader then return nil, err, code end
  local hash = core.sha256()
  for data in function() return reader:read(CHUNK) end do
    hash:update(data)
    core.yield()
  end
  return "sha256:" .. hash:hex()
end

local function check_digest(part, expected, what)
  if type(expected) ~= "string" or not expected:find "^sha256:%x+$" then return fail("%s: no sha256 digest", what) end
  local found, err, code = digest_of(part)
  if not found then return nil, err, code end
  if found ~= expected then return fail("%s: its digest is %s, not %s", what, found, expected) end
  return true
end

-- A layer as a plain tar archive: where it is, or unpacked into a file.
local function unpack_layer(part, folder, n)
  local reader <close>, err, code = slice.open(part)
  if not reader then return nil, err, code end
  local magic = reader:read(4) or ""
  if magic == "\x28\xb5\x2f\xfd" then return fail "a layer packed with zstd, which is not supported" end
  if magic:sub(1, 2) ~= "\x1f\x8b" then return part end
  local path = ("%s/layer%d.tar"):format(folder, n)
  local child
  child, err, code = process.spawn { "sh", "-c", 'exec gzip -dc > "$1"', "sh", path, stdin = "pipe", stderr = "null" }
  if not child then return nil, err, code end
  local guard <close> = child -- luacheck: ignore
  reader:seek "set"
  for data in function() return reader:read(CHUNK) end do
    if not child.stdin:write(data, UNPACK_TIMEOUT) then break end -- its exit code says why
  end
  child.stdin:close()
  local record, why, how = child:wait(UNPACK_TIMEOUT)
  if not record then return nil, why, how end
  if record.exit_code ~= 0 then return fail "a layer that gzip cannot unpack" end
  return slice.whole(path)
end

local function lay(onto, part)
  local reader <close>, err, code = slice.open(part)
  if not reader then return nil, err, code end
  return tar.each(reader, function(entry)
    core.yield()
    if entry.map then return fail("%s: a sparse file in a layer, which is not supported", entry.path:sub(1, 300)) end
    local content = entry.type == "file" and slice.new(part.path, reader:position(), entry.size) or nil
    return onto:apply(entry, content)
  end)
end

local function blob_name(digest)
  local hex = type(digest) == "string" and digest:match "^sha256:(%x+)$"
  return hex and "blobs/sha256/" .. hex
end

-- The manifest for this machine, through indexes of indexes.
local function choose_manifest(files, index, depth)
  local wanted = ARCHITECTURES[require("vmctl.machine.platform").native()]
  local first
  for _, each in ipairs(index.manifests or {}) do
    local platform = type(each.platform) == "table" and each.platform or {}
    if not first and platform.os ~= "unknown" then first = each end
    if platform.architecture == wanted and (platform.os or "linux") == "linux" then first = each break end
  end
  if not first then return fail "the image's index names no manifest" end
  local name = blob_name(first.digest)
  if not name or not files[name] then return fail("the image has no manifest %s", tostring(first.digest)) end
  local ok, err, code = check_digest(files[name], first.digest, "the manifest")
  if not ok then return nil, err, code end
  local manifest
  manifest, err, code = read_json(files, name)
  if manifest and manifest.manifests then
    if depth > 3 then return fail "indexes inside each other" end
    return choose_manifest(files, manifest, depth + 1)
  end
  return manifest, err, code
end

-- { config = slice's name, layers = { { part =, digest = of it as it is | diff_id = unpacked } } }
local function open_oci(files)
  local index, err, code = read_json(files, "index.json")
  if not index then return nil, err, code end
  local manifest
  manifest, err, code = choose_manifest(files, index, 1)
  if not manifest then return nil, err, code end
  local layers = {}
  for i, layer in ipairs(manifest.layers or {}) do
    local name = blob_name(layer.digest)
    layers[i] = { part = name and files[name], digest = layer.digest }
  end
  local config = type(manifest.config) == "table" and blob_name(manifest.config.digest) or ""
  if not files[config] then return fail "the image has no configuration" end
  local ok
  ok, err, code = check_digest(files[config], manifest.config.digest, "the configuration")
  if not ok then return nil, err, code end
  return { config = config, layers = layers }
end

local function open_docker(files)
  local manifest, err, code = read_json(files, "manifest.json")
  if not manifest then return nil, err, code end
  local first = manifest[1]
  if type(first) ~= "table" or type(first.Config) ~= "string" then return fail "manifest.json names no image" end
  local config
  config, err, code = read_json(files, first.Config)
  if not config then return nil, err, code end
  local layers, ids = {}, type(config.rootfs) == "table" and config.rootfs.diff_ids or {}
  for i, name in ipairs(first.Layers or {}) do layers[i] = { part = files[name], diff_id = ids[i] } end
  return { config = first.Config, layers = layers }
end

local function add_layer(onto, layer, folder, n)
  local what = "layer " .. n
  if not layer.part then return fail("the image has no %s", what) end
  local ok, err, code = true, nil, nil
  if layer.digest then ok, err, code = check_digest(layer.part, layer.digest, what) end
  local plain
  if ok then plain, err, code = unpack_layer(layer.part, folder, n) end
  if plain and not layer.digest then ok, err, code = check_digest(plain, layer.diff_id, what) end
  if plain and ok then return lay(onto, plain) end
  return nil, err, code
end

local function strings(list)
  local clean = {}
  for _, value in ipairs(type(list) == "table" and list or {}) do
    if type(value) == "string" and not value:find("\0", 1, true) then clean[#clean + 1] = value end
  end
  return clean
end

local function given(text)
  return type(text) == "string" and text ~= "" and not text:find("\0", 1, true) and text or nil
end

--- An image's settings for running it, from its configuration.
---@param config table
---@return { entrypoint: string[], command: string[], environment: string[], user: string?, work_dir: string? }
function M.describe(config)
  local run = type(config.config) == "table" and config.config or {}
  return {
    entrypoint = strings(run.Entrypoint), command = strings(run.Cmd), environment = strings(run.Env), user = given(run.User),
    work_dir = given(run.WorkingDir),
  }
end

--- Loads an image. Waits; `gzip` unpacks layers that are packed.
---@param path string an archive of an OCI layout, or one that `docker save` wrote
---@param folder string for unpacked layers, which must stay as long as the tree is used
---@return vmctl.CcTree|nil, table|string description, string?
function M.load(path, folder)
  local files, err, code = index_archive(path)
  if not files then return nil, ("image %s: %s"):format(path, err), code end
  local image
  image, err, code = (files["index.json"] and open_oci or open_docker)(files)
  if not image then return nil, ("image %s: %s"):format(path, err), code end
  if #image.layers > MOST_LAYERS then return fail("image %s: %d layers", path, #image.layers) end
  local onto = tree.new()
  for n, layer in ipairs(image.layers) do
    local ok
    ok, err, code = add_layer(onto, layer, folder, n)
    if not ok then return nil, ("image %s: %s"):format(path, err), code end
  end
  local config
  config, err, code = read_json(files, image.config)
  if not config then return nil, err, code end
  return onto, M.describe(config)
end

return M
