--- Readers and writers of a file's content during a copy, with holes, check sums and temporary copies.
local core = require "vmctl.core"

local M = {}

--- Set-user-id and set-group-id: a file that gets another owner loses them.
M.PRIVILEGES = 3072 -- mode bits 06000

local PIECE = 256 << 10
local ZEROS = ("\0"):rep(PIECE)
local LEAST_HOLE = 4096

--- Reads the parts of a sparse file, which `read` gives one after the other.
---@param map { offset: integer, size: integer }[]
---@param read fun(n: integer): string?, string?, string?
---@return fun(n: integer): string?, any, string? bytes of one part, and their offset in the file; "" at the end
function M.parts(map, read)
  local i, done = 1, 0
  return function(n)
    while map[i] and done == map[i].size do i, done = i + 1, 0 end
    if not map[i] then return "" end
    local data, err, code = read(math.min(n, map[i].size - done))
    if not data or data == "" then return data, err, code end
    done = done + #data
    return data, map[i].offset + done - #data
  end
end

--- Fills the holes with zeros, for a sink without holes.
---@param entry table with map and real_size
---@param read fun(n: integer): string?, any, string? as `parts` gives it
---@return fun(n: integer): string?, string?, string?
function M.filled(entry, read)
  local at, held, where = 0, nil, nil
  return function(n)
    if not held then
      local data, place, code = read(n)
      if not data then return nil, place, code end
      held, where = data, data == "" and entry.real_size or place
    end
    if where > at then
      local size = math.min(n, where - at, PIECE)
      at = at + size
      return ZEROS:sub(1, size)
    end
    local data = held
    held, at = nil, at + #data
    return data
  end
end

local function add_zeros(hash, size)
  while size > 0 do
    hash:update(size < PIECE and ZEROS:sub(1, size) or ZEROS)
    size = size - PIECE
    core.yield()
  end
end

--- Wraps a reader and computes the check sum of its content, holes included.
---@param entry table
---@param read fun(n: integer): string?, any, string?
---@return fun(n: integer): string?, any, string? read
---@return fun(): string sum in hexadecimal, when all has been read
function M.hashed(entry, read)
  local hash, at = core.sha256(), 0
  local function take(n)
    local data, place, code = read(n)
    if data and data ~= "" then
      if entry.map then add_zeros(hash, place - at) end
      hash:update(data)
      at = (entry.map and place or at) + #data
    end
    return data, place, code
  end
  return take, function()
    if entry.map then add_zeros(hash, entry.real_size - at) end
    return hash:hex()
  end
end

--- Copies a content that may still change into a temporary file.
---@param read fun(n: integer): string?, string?, string?
---@return userdata|nil, integer|string size, string? code
function M.spool(read)
  local file, err = io.tmpfile()
  if not file then return nil, "a temporary file: " .. err, "EIO" end
  local size = 0
  while true do
    local data, why, code = read(PIECE)
    if not data and why then
      file:close()
      return nil, why, code
    end
    if not data or data == "" then break end
    local ok
    ok, why = file:write(data)
    if not ok then
      file:close()
      return nil, "a temporary file: " .. why, "ENOSPC"
    end
    size = size + #data
  end
  local ok, why = file:seek "set"
  if ok then return file, size end
  file:close()
  return nil, "a temporary file: " .. why, "ENOSPC"
end

--- Writes a content to a file of this machine or of a helper, and keeps its holes.
---@param file { write: function, seek: fun(at: integer), truncate: fun(size: integer) } each gives true, or nil, message, code
---@param entry table
---@param read fun(n: integer): string?, any, string?
---@param guess? boolean pieces of zeros become holes, for a source that does not report holes
---@return true|nil, string?, string?
function M.write(file, entry, read, guess)
  local at, there = 0, 0 -- offset of the next bytes; offset of the file
  while true do
    local data, place, code = read(PIECE)
    if not data and place then return nil, place, code end
    if not data or data == "" then break end
    if entry.map then at = place end
    if not (guess and #data >= LEAST_HOLE and not data:find "[^\0]") then
      local ok, err, why = true, nil, nil
      if at ~= there then ok, err, why = file.seek(at) end
      if ok then ok, err, why = file.write(data) end
      if not ok then return nil, err, why end
      there = at + #data
    end
    at = at + #data
  end
  local size = entry.map and entry.real_size or at
  if size == there then return true end
  return file.truncate(size)
end

return M
