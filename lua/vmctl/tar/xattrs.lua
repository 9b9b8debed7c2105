--- Extended attributes in pax headers: SCHILY.xattr.NAME=VALUE, as GNU tar and images of containers have them. The bounds are those of
--- src/wire/xattrs.h.
local errors = require "vmctl.errors"

local M = {}

local KEY = "SCHILY.xattr."
local MOST_NAME, MOST_VALUE = 255, 65535 -- bytes
local MOST_COUNT = 512                   -- of one file
local MOST_BYTES = 1 << 20               -- of one file's names and values, HEAD more for each
local HEAD = 4

--- Bytes of the longest keyword: a name may be escaped.
M.MOST_KEY = #KEY + 3 * MOST_NAME

--- The name in a keyword; nil where it is another's. GNU tar writes "%" and "=" as "%25" and "%3D", others leave "%" as it is.
---@param key string
---@return string?
function M.name_of(key)
  if key:sub(1, #KEY) ~= KEY then return nil end
  return (key:sub(#KEY + 1):gsub("%%(%x%x)", { ["25"] = "%", ["3D"] = "=" }))
end

--- Adds one to those of an entry.
---@param values table of the entry
---@param name string
---@param value string any bytes
---@return true|nil, string?, string? code EPROTO: a name that is none; ETOOBIG
function M.add(values, name, value)
  if name == "" or #name > MOST_NAME or name:find("\0", 1, true) then
    return errors.fail("EPROTO", "tar: an extended attribute without a name")
  end
  local list = values.xattrs or { values = {}, count = 0, bytes = 0 }
  local was = list.values[name]
  local count, bytes = list.count + (was and 0 or 1), list.bytes + #value + (was and -#was or HEAD + #name)
  if #value > MOST_VALUE or count > MOST_COUNT or bytes > MOST_BYTES then
    return errors.fail("ETOOBIG", "tar: extended attributes that are too large")
  end
  list.values[name], list.count, list.bytes = value, count, bytes
  values.xattrs = list
  return true
end

--- Those of an entry; nil if there are none.
---@return table<string, string>?
function M.of(values) return values.xattrs and values.xattrs.values end

return M
