--- Tells an archive of an image from one of a root file system, packed or not.
local store = require "vmctl.rootfs.store"
local tar = require "vmctl.tar.read"
local unpacked = require "vmctl.rootfs.unpacked"

local M = {}

local HEAD = 64 << 10 -- bytes in which the first name of an archive is
local TOP = { ["oci-layout"] = true, ["index.json"] = true, ["manifest.json"] = true, repositories = true, blobs = true }

local function reader(bytes)
  local at = 1
  return {
    read = function(_, n)
      local data = bytes:sub(at, at + n - 1)
      at = at + #data
      return data ~= "" and data or nil
    end,
    skip = function(_, n)
      at = at + n
      return at <= #bytes + 1
    end,
  }
end

-- The first name, other than that of the top folder.
local function first_name(bytes)
  local first = ""
  tar.each(reader(bytes), function(entry)
    first = entry.path:gsub("^%./+", ""):gsub("^%.$", "")
    return first == "" or nil
  end, 2)
  return first
end

-- Beside these are a configuration and layers, which docker and podman name by digests.
local function is_of_image(name)
  local top = name:match "^[^/]*"
  return TOP[top] or #top:match "^%x*" == 64 or top:find "%.json$" or top:find "%.tar$" or name:find "^[^/]*/layer%.tar$"
end

--- The kind of an archive. Waits: a compressed one that seems to be an image's is unpacked into the cache.
---@param path string
---@param opts { cache: string, max_bytes: integer, on_progress: function? }
---@return "docker-archive"|"oci-archive"|nil kind nil: neither, or it cannot be read
function M.of(path, opts)
  if not is_of_image(first_name(unpacked.head(path, HEAD) or "")) then return nil end
  local place, held = unpacked.find(path, opts)
  local guard <close> = place and held -- luacheck: ignore
  local archive = place and store.archive(place)
  if not archive then return nil end
  if archive:find "manifest.json" then return "docker-archive" end
  return archive:find "oci-layout" and archive:find "index.json" and "oci-archive" or nil
end

return M
