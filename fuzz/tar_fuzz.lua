-- Properties that hold for any bytes that are read as an archive. Returns a function that raises when one does not.
local reader = require "vmctl.tar.read"
local writer = require "vmctl.tar.write"

local CODES = { EPROTO = true, ETOOBIG = true }
local MOST = 200

local function source_of(bytes)
  local at = 1
  return {
    read = function(_, n)
      assert(n >= 0)
      if n == 0 then return "" end
      local data = bytes:sub(at, at + math.min(n, 700) - 1)
      at = at + #data
      return data ~= "" and data or nil
    end,
    skip = function(_, n)
      assert(n >= 0)
      at = at + n
      return at <= #bytes + 1
    end,
  }
end

local function check_map(entry)
  local past, sum = 0, 0
  for _, part in ipairs(entry.map) do
    assert(part.offset >= past and part.size > 0 and part.offset + part.size <= entry.real_size, "a map that cannot be")
    past, sum = part.offset + part.size, sum + part.size
  end
  assert(sum == entry.size, "a map of another size")
end

local function check_xattrs(list)
  local count, bytes = 0, 0
  for name, value in pairs(list) do
    assert(#name > 0 and #name < 256 and not name:find("\0", 1, true) and #value < 65536, "an attribute that cannot be")
    count, bytes = count + 1, bytes + #name + #value
  end
  assert(count > 0 and count <= 512 and bytes <= 1 << 20, "attributes beyond their bounds")
end

local function check(entry)
  for _, name in ipairs { "mode", "uid", "gid", "size", "mtime", "nsec" } do
    assert(math.type(entry[name]) == "integer", name)
  end
  assert(entry.size >= 0 and entry.uid >= 0 and entry.gid >= 0 and entry.mode & ~4095 == 0)
  assert(entry.nsec >= 0 and entry.nsec < 1000000000)
  assert(not entry.path:find("\0", 1, true) and not entry.link:find("\0", 1, true))
  if entry.map then check_map(entry) end
  if entry.xattrs then check_xattrs(entry.xattrs) end
end

local function is_same(one, other)
  for name, value in pairs(one or {}) do
    if not other or other[name] ~= value then return false end
  end
  return true
end

-- The entries, with the first bytes of each content.
local function read_all(bytes)
  local entries = {}
  local ok, err, code = reader.each(source_of(bytes), function(entry, read)
    check(entry)
    local parts = {}
    if entry.size < 4096 then
      repeat
        local data = read(1000)
        parts[#parts + 1] = data
      until not data or data == ""
    end
    entry.content = table.concat(parts)
    if entry.size < 4096 and #entry.content < entry.size then return nil, "it is cut", "EPROTO" end
    entries[#entries + 1] = entry
    return true
  end, MOST)
  if not ok then assert(type(err) == "string" and CODES[code], tostring(code)) end
  return ok, entries
end

return function(bytes)
  local ok, entries = read_all(bytes)
  if not ok then return end
  local parts = {}
  local function write(data)
    parts[#parts + 1] = data
    return true
  end
  for _, entry in ipairs(entries) do
    if entry.size >= 4096 or entry.type == "other" or entry.uid >= 1 << 55 or entry.gid >= 1 << 55 or entry.path:sub(1, 1) == "/"
      or entry.major >= 1 << 55 or entry.minor >= 1 << 55 or entry.mtime <= -(1 << 50) then
      return
    end
    entry.path = entry.path:match "^(.-)/*$"
    local rest = entry.content
    assert(writer.entry(write, entry, function(n)
      local data = rest:sub(1, n)
      rest = rest:sub(n + 1)
      return data
    end, "pax"))
  end
  assert(writer.finish(write))
  local again, others = read_all(table.concat(parts))
  assert(again and #others == #entries, "an archive that is not read as it was written")
  for i, entry in ipairs(entries) do
    local other = others[i]
    for _, name in ipairs { "type", "mode", "uid", "gid", "size", "mtime", "nsec", "content", "real_size" } do
      assert(entry[name] == other[name], name)
    end
    assert(is_same(entry.xattrs, other.xattrs) and is_same(other.xattrs, entry.xattrs), "other attributes")
    assert(entry.path == other.path:match "^(.-)/*$", "another path")
  end
end
