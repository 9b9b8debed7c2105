--- Suggests a root for a text that is none: a path or a name of a registry that lacks its prefix, or has a mistaken one.
local core = require "vmctl.core"
local options = require "vmctl.base.options"

local M = {}

local MOST = 200 -- bytes of a text that is looked at
local KINDS = { "oci", "oci-archive", "docker-archive", "docker", "image", "dir", "tar", "erofs", "disk" }
local ENDINGS = { ["%.tar$"] = "tar", ["%.tar%.%w+$"] = "tar", ["%.tgz$"] = "tar", ["%.txz$"] = "tar", ["%.erofs$"] = "erofs" }

local function of_path(text, kind)
  if kind == "directory" then return (core.fs.stat(text .. "/oci-layout") and "oci:" or "dir:") .. text end
  for ending, what in pairs(ENDINGS) do
    if text:find(ending) then return what .. ":" .. text end
  end
  return "disk:" .. text
end

--- A root that is similar to a text, or nil. Does not wait, but for the file system.
---@param text string
---@return string|nil
function M.of(text)
  if #text > MOST or text:find "%c" then return nil end
  local found = core.fs.stat((text:gsub("#[^#/]+$", "")))
  if found then return of_path(text, found.type) end
  local kind, rest = text:match "^([%a-]+):(.+)$"
  local near = kind and options.nearest(kind, KINDS)
  if near and (near ~= kind or near == "docker") then return (near == "docker" and "docker://" or near .. ":") .. rest:gsub("^/+", "") end
  if text:find "^%l[%w._:/@-]*$" and not text:find "^%.?/" and not text:find "%.%w+$" then return "docker://" .. text end
end

return M
