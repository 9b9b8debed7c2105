--- Images as `docker save` writes them: an archive whose manifest.json names a configuration and layers. The configuration has the digest
--- of each layer.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local oci = require "vmctl.rootfs.oci"

local M = {}

local MOST_JSON, MOST_LAYERS = oci.MOST_JSON, oci.MOST_LAYERS

local function fail(text, ...) return errors.fail("EPROTO", text, ...) end

local function list_of(value) return type(value) == "table" and value or {} end

local function has_tag(image, tag)
  for _, name in ipairs(list_of(image.RepoTags)) do
    if type(name) == "string" and name:sub(-#tag - 1) == ":" .. tag then return true end
  end
  return false
end

local function choose(list, tag)
  local fitting, tags = {}, {}
  for _, each in ipairs(list) do
    if type(each) ~= "table" or type(each.Config) ~= "string" then return fail "manifest.json has an entry without a configuration" end
    for _, name in ipairs(list_of(each.RepoTags)) do tags[#tags + 1] = tostring(name) end
    if not tag or has_tag(each, tag) then fitting[#fitting + 1] = each end
  end
  if #fitting == 0 then return oci.no_image("archive", tag, tags) end
  if #fitting > 1 then return errors.fail("EINVAL", "the archive has several images: name one by its tag") end
  return fitting[1]
end

-- Its name is its digest.
local function read_config(store, name)
  local bytes, err, code = store:read(name, "the configuration", MOST_JSON)
  if not bytes then return nil, err, code end
  local told = name:gsub("%.json$", ""):sub(-64)
  local found = core.sha256(bytes):hex()
  if #told == 64 and told:find "^%x+$" and told ~= found then
    return fail("the configuration: its digest is sha256:%s, not sha256:%s", found, told)
  end
  return oci.decode(bytes, "the configuration")
end

--- The layers that an archive is built of. Does not wait but for its small files.
---@param store vmctl.ImageStore
---@param tag? string the part behind the last ":" of its name
---@param arch string "amd64", "arm64" …
---@return { layers: { part: table, diff_id: string }[], config: table }|nil, string?, string?
function M.open(store, tag, arch)
  local bytes, err, code = store:read("manifest.json", "the archive's manifest.json", MOST_JSON)
  if not bytes then return nil, err, code end
  local list, image, config, ok
  list, err, code = oci.decode(bytes, "manifest.json")
  if list then image, err, code = choose(list, tag) end
  if image then config, err, code = read_config(store, image.Config) end
  if config then ok, err, code = oci.check_arch(config, arch) end
  if not ok then return nil, err, code end
  local ids, layers = list_of(list_of(config.rootfs).diff_ids), {}
  for i, name in ipairs(list_of(image.Layers)) do
    if i > MOST_LAYERS then return errors.fail("ETOOBIG", "the image has more than %d layers", MOST_LAYERS) end
    local part = type(name) == "string" and store:find(name)
    if not part then return errors.fail("ENOENT", "layer %d is missing", i) end
    if not oci.is_digest(ids[i]) then return fail("layer %d has no diff_id", i) end
    layers[i] = { part = part, diff_id = ids[i] }
  end
  if #layers == 0 then return fail "the image has no layers" end
  return { layers = layers, config = config }
end

return M
