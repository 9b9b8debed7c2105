--- The source of a root file system, as a user writes it.
local errors = require "vmctl.errors"
local suggest = require "vmctl.rootfs.suggest"

local M = {}

local UNITS = { [""] = 1, K = 1 << 10, M = 1 << 20, G = 1 << 30, T = 1 << 40 }
local WANTED = "root '%s': oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:TAG], docker://NAME, image:NAME, dir:PATH, "
  .. "tar:FILE, erofs:FILE or disk:FILE[#PARTITION] expected%s"
local SHOWN = 200 -- bytes of a root in a message
local TAGGED = { oci = true, ["oci-archive"] = true, ["docker-archive"] = true }
local KINDS = { image = true, oci = true, ["oci-archive"] = true, ["docker-archive"] = true, dir = true, tar = true, disk = true }

local function parse_size(text)
  if math.type(text) == "integer" and text > 0 then return text end
  local digits, unit = tostring(text):match "^(%d+)([KMGT]?)$"
  local size = digits and #digits <= 12 and tonumber(digits) * UNITS[unit]
  if not size or size == 0 or size > 1 << 53 then return nil end
  return size
end

-- The end that a path may have: ":TAG".
local function split_tag(path)
  local before, tag = path:match "^(.+):([%w_][%w_.-]*)$"
  if before and #tag <= 128 then return before, tag end
  return path:gsub(":$", ""), nil
end

--- Reads the text of a root: "oci:DIR[:TAG]", "oci-archive:FILE[:TAG]", "docker-archive:FILE[:TAG]", "docker://NAME", "image:NAME",
--- "dir:PATH", "tar:FILE", "disk:FILE", or { size = "4G" }. A path that ends in ":" and a word gets a ":" more at its end. Does not wait.
---@param spec string|table
---@return { kind: string, path: string?, tag: string?, name: string?, size: integer? }|nil what kind: oci, oci-archive,
-- docker-archive, docker, image, dir, tar, disk or empty
---@return string? message, string? code EINVAL
function M.parse(spec)
  if type(spec) == "table" then
    local size = parse_size(spec.size)
    if not size then return errors.fail("EINVAL", "root: a size such as '4G' expected") end
    return { kind = "empty", size = size }
  end
  if type(spec) ~= "string" or spec:find("\0", 1, true) then return errors.fail("EINVAL", "root: a text or a table expected") end
  local name = spec:match "^docker://([%w][%w._:/@-]*)$"
  if name then return { kind = "docker", name = name } end
  local kind, path = spec:match "^([%a-]+):(.+)$"
  if not KINDS[kind] or spec:find "^docker:" then
    local near = suggest.of(spec)
    return errors.fail("EINVAL", WANTED, spec:sub(1, SHOWN), near and ("; did you mean %s?"):format(near) or "")
  end
  if kind == "image" then return { kind = kind, name = path } end
  if not TAGGED[kind] then return { kind = kind, path = path } end
  local before, tag = split_tag(path)
  return { kind = kind, path = before, tag = tag }
end

return M
