-- What must hold for any layout of an image. The input's lines are its documents, the first one index.json; "@3" in one stands for the
-- digest of the third, which must follow. Returns a function that raises when it does not.
local core = require "vmctl.core"

local MOST = 8 -- documents

local files
local function open(path)
  local bytes = files[path]
  if not bytes then return nil, "open " .. path, "ENOENT" end
  local at = 1
  return setmetatable({
    stat = function() return { type = "file", size = #bytes } end, close = function() end,
    read = function(_, n)
      local piece = bytes:sub(at, at + n - 1)
      at = at + #piece
      return piece
    end,
  }, { __close = function() end })
end

local function stat(path) return files[path] and { type = "file" } end

package.loaded["vmctl.core"] = setmetatable({ fs = { open = open, stat = stat } }, { __index = core })
local oci = require "vmctl.rootfs.oci"

local CODES = { EPROTO = true, ETOOBIG = true, ENOENT = true, EINVAL = true }

local function lay_out(bytes)
  local documents, digests = {}, {}
  for line in (bytes .. "\n"):gmatch "([^\n]*)\n" do documents[#documents + 1] = #documents < MOST and line or nil end
  files = {}
  for i = #documents, 1, -1 do
    local text = documents[i]:gsub("@(%d)", function(digit) return digests[tonumber(digit)] end)
    local hex = core.sha256(text):hex()
    digests[i] = "sha256:" .. hex
    files[i == 1 and "L/index.json" or "L/blobs/sha256/" .. hex] = text
  end
end

local function check_strings(list)
  for _, text in ipairs(list) do assert(type(text) == "string" and not text:find("\0", 1, true)) end
end

local function check(image)
  assert(#image.layers > 0)
  for _, each in ipairs(image.layers) do
    assert(#each.hex == 64 and each.path == "L/blobs/sha256/" .. each.hex and files[each.path])
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
    local image, err, code = oci.open("L", tag or nil, "amd64")
    if image then
      check(image)
    else
      assert(CODES[code], tostring(code))
      assert(not err:find "[%c\127]" and utf8.len(err), "a message that cannot be shown")
    end
  end
end
