--- Writes tar archives: ustar, with an extended header (pax) in front where a name, a link or a number has no room.
local M = {}

local BLOCK = 512
local CHUNK = 256 * 1024 -- bytes of a file that are in memory at a time
local TYPES = { file = "0", link = "2", char = "3", block = "4", directory = "5", fifo = "6" }
local OCTAL = { id = 0x1fffff, size = 0x1ffffffff, time = 0x1ffffffff } -- the largest numbers of each field

local function padding(size)
  return ("\0"):rep(-size % BLOCK)
end

local function octal(value, width)
  return ("%0" .. width - 1 .. "o\0"):format(value)
end

-- A header; numbers that have no room are 0, as the extended header has them then.
local function header(name, kind, entry, size)
  local function fit(value, most) return value >= 0 and value <= most and value or 0 end
  local before = string.pack("c100", name:sub(1, 100)) .. octal(entry.mode & 4095, 8) .. octal(fit(entry.uid, OCTAL.id), 8) ..
    octal(fit(entry.gid, OCTAL.id), 8) .. octal(fit(size, OCTAL.size), 12) .. octal(fit(entry.mtime, OCTAL.time), 12)
  local after = kind .. string.pack("c100", (entry.link or ""):sub(1, 100)) .. "ustar\00000" .. ("\0"):rep(64) ..
    octal(entry.major or 0, 8) .. octal(fit(entry.minor or 0, OCTAL.id), 8) .. ("\0"):rep(155 + 12)
  local sum = 8 * 32
  for i = 1, #before do sum = sum + before:byte(i) end
  for i = 1, #after do sum = sum + after:byte(i) end
  return before .. ("%06o\0 "):format(sum) .. after
end

-- "LENGTH key=value\n", where the length counts itself.
local function record(key, value)
  local body = (" %s=%s\n"):format(key, value)
  local length = #body + #tostring(#body)
  if #tostring(length) + #body ~= length then length = #body + #tostring(length) end
  return length .. body
end

local function extended(name, entry, size)
  local records = {}
  local function need(key, value) records[#records + 1] = record(key, value) end
  if #name > 100 then need("path", name) end
  if entry.link and #entry.link > 100 then need("linkpath", entry.link) end
  if size > OCTAL.size then need("size", size) end
  if entry.uid > OCTAL.id then need("uid", entry.uid) end
  if entry.gid > OCTAL.id then need("gid", entry.gid) end
  if entry.mtime < 0 or entry.mtime > OCTAL.time then need("mtime", entry.mtime) end
  if #records == 0 then return "" end
  local body = table.concat(records)
  return header("pax", "x", { mode = 420, uid = 0, gid = 0, mtime = 0 }, #body) .. body .. padding(#body)
end

-- Exactly as many bytes as were announced: what a file has lost meanwhile is zeros, what it has gained is left out.
local function copy(write, read, size)
  local left = size
  while left > 0 do
    local data = read(math.min(left, CHUNK))
    if not data or data == "" then data = ("\0"):rep(math.min(left, CHUNK)) end
    local ok, err, code = write(data)
    if not ok then return nil, err, code end
    left = left - #data
  end
  return write(padding(size))
end

--- Writes an entry; sockets are left out.
---@param write fun(bytes: string): any, string?, string?
---@param entry vmctl.TarEntry
---@param read? fun(n: integer): string? of a file: the next bytes of its content
---@return any, string?, string?
function M.entry(write, entry, read)
  local kind = TYPES[entry.type]
  if not kind then return true end
  local name = entry.path:gsub("^/+", "") .. (entry.type == "directory" and "/" or "")
  local size = entry.type == "file" and entry.size or 0
  local ok, err, code = write(extended(name, entry, size) .. header(name, kind, entry, size))
  if not ok or size == 0 then return ok, err, code end
  return copy(write, read, size)
end

--- Ends an archive.
function M.finish(write)
  return write(("\0"):rep(2 * BLOCK))
end

return M
