--- The records of pax headers in archives that are not trusted.
local xattrs = require "vmctl.tar.xattrs"

local M = {}

local USED = { path = true, linkpath = true, size = true, uid = true, gid = true, mtime = true, ["GNU.sparse.major"] = true,
  ["GNU.sparse.minor"] = true, ["GNU.sparse.name"] = true, ["GNU.sparse.realsize"] = true, ["GNU.sparse.size"] = true,
  ["VMCTL.broken"] = true }

local function broken(text, ...)
  return nil, "tar: " .. text:format(...), "EPROTO"
end

-- A record's value, if its key is known: false if it is refused.
local function take_record(body, from, stop, last, values)
  local key = stop - from <= xattrs.MOST_KEY and body:sub(from, stop - 1) or ""
  if USED[key] then
    values[key] = body:sub(stop + 1, last)
    return true
  end
  local name = xattrs.name_of(key)
  if not name then return true end
  return xattrs.add(values, name, body:sub(stop + 1, last))
end

--- Parses records "LENGTH key=value\n", one after the other; unknown keys are dropped.
---@param body string
---@param values table gets them
---@return true|nil, string?, string?
function M.parse(body, values)
  local at = 1
  while at <= #body do
    local digits = body:match("^(%d%d?%d?%d?%d?%d?%d?) ", at)
    local length = digits and math.tointeger(tonumber(digits))
    if not length or length > #body - at + 1 or length <= #digits + 2 then return broken "a broken extended header" end
    local from = at + #digits + 1
    local stop = body:find("=", from, true)
    local whole = stop and stop > from and stop <= at + length - 2 and body:byte(at + length - 1) == 10
    if not whole then return broken "a broken extended header" end
    local ok, err, code = take_record(body, from, stop, at + length - 2, values)
    if not ok then return nil, err, code end
    at = at + length
  end
  return true
end

-- Seconds with their decimals: those below zero as well, where the parts still count upwards.
local function apply_time(entry, value)
  local sign, seconds, part = value:match "^(%-?)(%d+)%.?(%d*)$"
  seconds = seconds and #seconds < 16 and math.tointeger(tonumber(seconds))
  if not seconds then return false end
  local nsec = math.tointeger(tonumber((part .. "000000000"):sub(1, 9)))
  if sign == "-" then
    seconds = -seconds
    if nsec > 0 then seconds, nsec = seconds - 1, 1000000000 - nsec end
  end
  entry.mtime, entry.nsec = seconds, nsec
  return true
end

--- Applies the records to the entry that follows them.
---@param entry table
---@param values table
---@return true|nil, string?, string?
function M.apply(entry, values)
  entry.path, entry.link, entry.xattrs = values.path or entry.path, values.linkpath or entry.link, xattrs.of(values)
  for _, name in ipairs { "size", "uid", "gid" } do
    local value = values[name]
    if value then
      value = #value < 19 and value:find "^%d+$" and math.tointeger(tonumber(value))
      if not value then return broken("an extended header with a bad %s", name) end
      entry[name] = value
    end
  end
  if values.mtime and not apply_time(entry, values.mtime:sub(1, 64)) then return broken "an extended header with a bad mtime" end
  return true
end

return M
