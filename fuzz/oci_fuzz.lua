-- Properties that hold for any layout of an image, and any archive of `docker save`. The input's lines are its documents, the first one
-- index.json and manifest.json; "@3" in one stands for the digest of the third, which must follow, and "file3" is its name. Returns a
-- function that raises when one does not.
local core = require "vmctl.core"
local docker = require "vmctl.rootfs.docker"
local errors = require "vmctl.errors"
local oci = require "vmctl.rootfs.oci"

local MOST = 8 -- documents

-- As vmctl.rootfs.store has them.
local files
local store = {}

function store:find(name) -- luacheck: ignore self
  if not files[name] then return errors.fail("ENOENT", "the archive has no such file") end
  return { path = name }
end

function store:read(name, what, most)
  local part, err, code = self:find(name)
  if not part then return errors.wrap(what, nil, err, code) end
  if #files[name] > most then return errors.fail("ETOOBIG", "%s: more than %d bytes", what, most) end
  return files[name]
end

local CODES = { EPROTO = true, ETOOBIG = true, ENOENT = true, EINVAL = true }

local function lay_out(bytes)
  local documents, digests = {}, {}
  for line in (bytes .. "\n"):gmatch "([^\n]*)\n" do documents[#documents + 1] = #documents < MOST and line or nil end
  files = {}
  for i = #documents, 1, -1 do
    local text = documents[i]:gsub("@(%d)", function(digit) return digests[tonumber(digit)] end)
    local hex = core.sha256(text):hex()
    digests[i] = "sha256:" .. hex
    files["blobs/sha256/" .. hex] = text
    files["file" .. i] = text
    if i == 1 then files["index.json"], files["manifest.json"] = text, text end
  end
end

local function check_strings(list)
  for _, text in ipairs(list) do assert(type(text) == "string" and not text:find("\0", 1, true)) end
end

local function check(image)
  assert(#image.layers > 0)
  for _, each in ipairs(image.layers) do
    assert(files[each.part.path] and (not each.hex or #each.hex == 64 and each.part.path == "blobs/sha256/" .. each.hex))
    assert(each.diff_id:find "^sha256:%x+$" and #each.diff_id == 71)
  end
  local found = oci.describe(image.config)
  for name, value in pairs(found.env) do
    assert(type(name) == "string" and not name:find "[=%z]" and type(value) == "string" and not value:find("\0", 1, true))
  end
  check_strings { found.user or "", found.cwd or "" }
  check_strings(found.entrypoint)
  check_strings(found.cmd)
end

return function(bytes)
  lay_out(bytes)
  for _, tag in ipairs { false, "a" } do
    for _, room in ipairs { oci, docker } do
      local image, err, code = room.open(store, tag or nil, "amd64")
      if image then
        check(image)
      else
        assert(CODES[code], tostring(code))
        assert(not err:find "[%c\127]" and utf8.len(err), "a message that cannot be shown")
      end
    end
  end
end
