--- Images in OCI layouts (the image specification's image-layout.md): from the index to layers, all by their digests.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local json = require "vmctl.json"
local log = require "vmctl.log"

local M = {}

--- The limits of an image's description: bytes of a JSON document, and layers.
M.MOST_JSON, M.MOST_LAYERS = 4 << 20, 1000
local MOST_JSON, MOST_LAYERS = M.MOST_JSON, M.MOST_LAYERS
local MOST_DEPTH = 4
local SHOWN = 100 -- bytes of a name in a message
local REF = "org.opencontainers.image.ref.name"

local function fail(text, ...) return errors.fail("EPROTO", text, ...) end

--- A JSON object or array. Does not wait.
---@return table|nil, string?, string? code EPROTO
function M.decode(bytes, what)
  local value = json.decode(bytes)
  if type(value) ~= "table" then return fail("%s is no JSON object", what) end
  return value
end

--- The digits of a SHA-256 as images write it, or false. Does not wait.
function M.is_digest(text) return type(text) == "string" and #text == 71 and text:match "^sha256:([0-9a-f]+)$" end

-- The digits of a descriptor's digest, whose form is checked.
local function hex_of(descriptor, what)
  local hex = type(descriptor) == "table" and M.is_digest(descriptor.digest)
  if not hex then return fail("%s has no sha256 digest", what) end
  return hex
end

local function read_blob(store, descriptor, what)
  local hex, err, code = hex_of(descriptor, what)
  if not hex then return nil, err, code end
  local bytes
  bytes, err, code = store:read("blobs/sha256/" .. hex, what, MOST_JSON)
  if not bytes then return nil, err, code end
  local found = core.sha256(bytes):hex()
  if found ~= hex then return fail("%s: its digest is sha256:%s, not sha256:%s", what, found, hex) end
  return M.decode(bytes, what)
end

-- Lists the tags, for a message.
local function told_tags(tags)
  local shown = log.one_line(table.concat(tags, ", "), SHOWN)
  return shown ~= "" and (" (it has %s)"):format(shown) or ""
end

--- A failure that names a tag, and lists the existing ones. Does not wait.
---@return nil, string, string
function M.no_image(what, tag, tags)
  if not tag then return errors.fail("ENOENT", "the %s has no image", what) end
  return errors.fail("ENOENT", "the %s has no image '%s'%s", what, tag, told_tags(tags))
end

local function list_of(value) return type(value) == "table" and value or {} end

local function tag_of(descriptor) return list_of(descriptor.annotations)[REF] end

-- Chooses an image: by its tag, and of several by its platform.
local function choose(index, tag, arch)
  local fitting, others, tags = {}, {}, {}
  for _, each in ipairs(list_of(index.manifests)) do
    if type(each) ~= "table" then return fail "the index has an entry that is no descriptor" end
    local platform = list_of(each.platform)
    tags[#tags + 1] = tag_of(each) and tostring(tag_of(each))
    if not tag or tag_of(each) == tag then
      local told = platform.architecture
      if not told or (told == arch and (platform.os or "linux") == "linux") then fitting[#fitting + 1] = each
      elseif told ~= "unknown" then others[#others + 1] = tostring(told) end
    end
  end
  if #fitting == 0 and #others > 0 then
    return fail("the image is for %s, not for %s", log.one_line(table.concat(others, ", "), SHOWN), arch)
  end
  if #fitting == 0 then return M.no_image("layout", tag, tags) end
  if #fitting > 1 and not tag and tag_of(fitting[1]) then
    return errors.fail("EINVAL", "the layout has several images: name one by its tag%s", told_tags(tags))
  end
  return fitting[1]
end

local function manifest_of(store, index, tag, arch, depth)
  local descriptor, err, code = choose(index, tag, arch)
  if not descriptor then return nil, err, code end
  local manifest
  manifest, err, code = read_blob(store, descriptor, "the manifest")
  if not manifest then return nil, err, code end
  if manifest.manifests == nil then return manifest end
  if depth == MOST_DEPTH then return fail "indexes inside each other" end
  return manifest_of(store, manifest, nil, arch, depth + 1)
end

--- Checks that an image's configuration is for an architecture. Does not wait.
---@return true|nil, string?, string? code EPROTO
function M.check_arch(config, arch)
  if not config.architecture or config.architecture == arch then return true end
  return fail("the image is for %s, not for %s", log.one_line(tostring(config.architecture), SHOWN), arch)
end

local function layers_of(store, manifest, config)
  local ids, layers = list_of(list_of(config.rootfs).diff_ids), {}
  for i, descriptor in ipairs(list_of(manifest.layers)) do
    if i > MOST_LAYERS then return errors.fail("ETOOBIG", "the image has more than %d layers", MOST_LAYERS) end
    local hex, err, code = hex_of(descriptor, "layer " .. i)
    if not hex then return nil, err, code end
    local part
    part, err, code = store:find("blobs/sha256/" .. hex)
    if code == "ENOENT" then return errors.fail("ENOENT", "layer %d (sha256:%s) is missing", i, hex) end
    if not part then return nil, ("layer %d: %s"):format(i, err), code end
    if not M.is_digest(ids[i]) then return fail("layer %d has no diff_id", i) end
    layers[i] = { part = part, hex = hex, diff_id = ids[i] }
  end
  if #layers == 0 then return fail "the image has no layers" end
  return layers
end

--- The layers that a layout is built of. Does not wait but for its small files.
---@param store vmctl.ImageStore
---@param tag? string
---@param arch string "amd64", "arm64" …
---@return { layers: { part: table, hex: string?, diff_id: string }[], config: table }|nil, string?, string?
function M.open(store, tag, arch)
  local bytes, err, code = store:read("index.json", "the layout's index.json", MOST_JSON)
  if code == "ENOENT" or code == "ENOTDIR" then err = err .. ": a folder with a root file system is dir:DIR" end
  if not bytes then return nil, err, code end
  local index, manifest, config, layers, ok
  index, err, code = M.decode(bytes, "index.json")
  if index then manifest, err, code = manifest_of(store, index, tag, arch, 1) end
  if manifest then config, err, code = read_blob(store, manifest.config, "the configuration") end
  if config then ok, err, code = M.check_arch(config, arch) end
  if ok then layers, err, code = layers_of(store, manifest, config) end
  if not layers then return nil, err, code end
  return { layers = layers, config = config }
end

local function strings(list)
  local clean = {}
  for _, value in ipairs(list_of(list)) do
    if type(value) == "string" and not value:find("\0", 1, true) then clean[#clean + 1] = value end
  end
  return clean
end

local function given(text) return type(text) == "string" and text ~= "" and not text:find("\0", 1, true) and text or nil end

--- The settings of commands in an image's configuration. Does not wait.
---@return { env: table<string, string>, user: string?, cwd: string?, entrypoint: string[], cmd: string[] }
function M.describe(config)
  local run, env = list_of(list_of(config).config), {}
  for _, entry in ipairs(strings(run.Env)) do
    local name, value = entry:match "^([^=]+)=(.*)$"
    if name then env[name] = value end
  end
  return { env = env, user = given(run.User), cwd = given(run.WorkingDir), entrypoint = strings(run.Entrypoint), cmd = strings(run.Cmd) }
end

return M
