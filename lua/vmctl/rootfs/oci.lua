--- Images in OCI layouts (the image specification's image-layout.md): from the index to layers, all by their digests.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local json = require "vmctl.json"
local log = require "vmctl.log"

local M = {}

local MOST_JSON = 4 << 20
local MOST_LAYERS = 1000
local MOST_DEPTH = 4
local SHOWN = 100 -- bytes of a name in a message
local REF = "org.opencontainers.image.ref.name"

local function fail(text, ...) return errors.fail("EPROTO", text, ...) end

local function read(path, what)
  local file, err, code = core.fs.open(path) -- which does not wait for somebody to write to a FIFO
  if not file then return nil, ("%s: %s"):format(what, err), code end
  local guard <close>, parts, size = file, {}, 0 -- luacheck: ignore
  local info = file:stat()
  if not info or info.type ~= "file" then return errors.fail("EINVAL", "%s: not a regular file", what) end
  repeat
    local piece
    piece, err, code = file:read(MOST_JSON + 1 - size)
    if not piece then return nil, ("%s: %s"):format(what, err), code end
    parts[#parts + 1], size = piece, size + #piece
  until piece == "" or size > MOST_JSON
  local bytes = table.concat(parts)
  if #bytes > MOST_JSON then return errors.fail("ETOOBIG", "%s has more than %d bytes", what, MOST_JSON) end
  return bytes
end

local function decode(bytes, what)
  local value = json.decode(bytes)
  if type(value) ~= "table" then return fail("%s is no JSON object", what) end
  return value
end

local function is_digest(text) return type(text) == "string" and #text == 71 and text:match "^sha256:([0-9a-f]+)$" end

--- The path of what a descriptor names; its digest's form is looked at. Does not wait.
---@return string|nil path, string message_or_hex, string?
function M.blob(folder, descriptor, what)
  local hex = type(descriptor) == "table" and is_digest(descriptor.digest)
  if not hex then return fail("%s has no sha256 digest", what) end
  return folder .. "/blobs/sha256/" .. hex, hex
end

local function read_blob(folder, descriptor, what)
  local path, hex, code = M.blob(folder, descriptor, what)
  if not path then return nil, hex, code end
  local bytes, err
  bytes, err, code = read(path, what)
  if not bytes then return nil, err, code end
  local found = core.sha256(bytes):hex()
  if found ~= hex then return fail("%s: its digest is sha256:%s, not sha256:%s", what, found, hex) end
  return decode(bytes, what)
end

local function list_of(value) return type(value) == "table" and value or {} end

local function tag_of(descriptor) return list_of(descriptor.annotations)[REF] end

-- The one that is asked for: by its tag, and where there are several, by its platform.
local function choose(index, tag, arch)
  local fitting, others = {}, {}
  for _, each in ipairs(list_of(index.manifests)) do
    if type(each) ~= "table" then return fail "the index has an entry that is no descriptor" end
    local platform = list_of(each.platform)
    if not tag or tag_of(each) == tag then
      local told = platform.architecture
      if not told or (told == arch and (platform.os or "linux") == "linux") then fitting[#fitting + 1] = each
      elseif told ~= "unknown" then others[#others + 1] = tostring(told) end
    end
  end
  if #fitting == 0 and #others > 0 then
    return fail("the image is for %s, not for %s", log.one_line(table.concat(others, ", "), SHOWN), arch)
  end
  if #fitting == 0 then return errors.fail("ENOENT", tag and "the layout has no image '%s'" or "the layout has no image", tag) end
  if #fitting > 1 and not tag and tag_of(fitting[1]) then
    return errors.fail("EINVAL", "the layout has several images: name one by its tag")
  end
  return fitting[1]
end

local function manifest_of(folder, index, tag, arch, depth)
  local descriptor, err, code = choose(index, tag, arch)
  if not descriptor then return nil, err, code end
  local manifest
  manifest, err, code = read_blob(folder, descriptor, "the manifest")
  if not manifest then return nil, err, code end
  if manifest.manifests == nil then return manifest end
  if depth == MOST_DEPTH then return fail "indexes inside each other" end
  return manifest_of(folder, manifest, nil, arch, depth + 1)
end

--- What to build of a layout. Does not wait but for its small files.
---@param folder string
---@param tag? string
---@param arch string "amd64", "arm64" …
---@return { layers: { path: string, hex: string, diff_id: string }[], config: table }|nil, string?, string?
function M.open(folder, tag, arch)
  local bytes, err, code = read(folder .. "/index.json", "the layout's index.json")
  if not bytes then return nil, err, code end
  local index, manifest, config
  index, err, code = decode(bytes, "index.json")
  if index then manifest, err, code = manifest_of(folder, index, tag, arch, 1) end
  if manifest then config, err, code = read_blob(folder, manifest.config, "the configuration") end
  if not config then return nil, err, code end
  if config.architecture and config.architecture ~= arch then
    return fail("the image is for %s, not for %s", log.one_line(tostring(config.architecture), SHOWN), arch)
  end
  local ids, layers = list_of(list_of(config.rootfs).diff_ids), {}
  for i, descriptor in ipairs(list_of(manifest.layers)) do
    if i > MOST_LAYERS then return errors.fail("ETOOBIG", "the image has more than %d layers", MOST_LAYERS) end
    local path, hex
    path, hex, code = M.blob(folder, descriptor, "layer " .. i)
    if not path then return nil, hex, code end
    if not core.fs.stat(path) then return errors.fail("ENOENT", "layer %d (sha256:%s) is missing", i, hex) end
    if not is_digest(ids[i]) then return fail("layer %d has no diff_id", i) end
    layers[i] = { path = path, hex = hex, diff_id = ids[i] }
  end
  if #layers == 0 then return fail "the image has no layers" end
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

--- What commands get from an image's configuration. Does not wait.
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
