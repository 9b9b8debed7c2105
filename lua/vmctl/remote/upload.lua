--- Sends files to another machine, by their digest: a file that it has already is not sent again.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local pieces = require "vmctl.remote.pieces"
local wire = require "vmctl.remote.wire"

local M = {}

local PIECE = pieces.PIECE
local ANSWER = 600      -- seconds for the other side to write the received bytes
local STALLED = 60      -- seconds in which a piece must go
local LAST_WORDS = 5    -- seconds
local FRESH = 2         -- seconds in which a file may change without a trace
local KNOWN = 256       -- digests that are remembered, by the state of their files

local digests, known = {}, 0

local function remember(key, digest)
  if known >= KNOWN then digests, known = {}, 0 end
  digests[key], known = digest, known + 1
end

local function each_piece(file, take)
  local size = 0
  while true do
    local data, err, code = file:read(PIECE)
    if not data then return nil, err, code end
    if data == "" then return size end
    size = size + #data
    local ok
    ok, err, code = take(data)
    if not ok then return nil, err, code end
  end
end

-- The digest of an open file, and its size.
local function digest_of(file, path)
  local found, err, code = file:stat()
  if not found then return nil, err, code end
  if found.type ~= "file" then return errors.fail("EINVAL", "%s is no regular file", path) end
  local key = ("%d %d %d %d"):format(found.device, found.inode, found.size, found.changed)
  if digests[key] then return digests[key], found.size end
  local hash = core.sha256()
  local size, why, how = each_piece(file, function(data)
    hash:update(data)
    return true
  end)
  if not size then return nil, why, how end
  file:seek(0, 0)
  if os.time() - found.mtime > FRESH then remember(key, hash:hex()) end
  return hash:hex(), size
end

-- Writes pieces; of bytes that are zero it only tells how many.
local function piece_writer(stream)
  local zeros = 0
  local function flush()
    if zeros == 0 then return true end
    local count = zeros
    zeros = 0
    return stream:write(pieces.pack_hole(count), STALLED)
  end
  return function(data)
    if not pieces.is_zero(data) then
      local ok, err, code = flush()
      if not ok then return nil, err, code end
      return stream:write(pieces.pack(data), STALLED)
    end
    zeros = zeros + #data
    return zeros <= pieces.HOLE - PIECE or flush()
  end, flush
end

local function send(stream, file, size)
  local write, flush = piece_writer(stream)
  local sent, err, code = each_piece(file, function(data)
    size = size - #data
    if size < 0 then return errors.fail("EAGAIN", "it grows while it is sent") end
    return write(data)
  end)
  if sent then sent, err, code = flush() end
  if not sent and (code == "EPIPE" or code == "ECONNRESET") then return wire.answer(stream, LAST_WORDS) end -- it says why
  if not sent then return nil, err, code end
  if size ~= 0 then return errors.fail("EAGAIN", "it shrinks while it is sent") end
  return wire.answer(stream, ANSWER)
end

--- Sends a file to a host that does not have it. Waits while it is sent.
---@param host vmctl.RemoteHost
---@param path string
---@return string|nil digest by which the host knows it, in hexadecimal; string? message; string? code ENOENT, EFBIG: more than the
-- host keeps; EHOSTDOWN …
---@return boolean? sent
function M.send(host, path)
  local file <close>, err, code = fs.open(path) -- luacheck: ignore
  if not file then return nil, err, code end
  local digest, size, how = digest_of(file, path)
  if not digest then return nil, size, how end
  local stream <close>, answer, why = host:ask { op = "put", sha256 = digest, size = size } -- luacheck: ignore
  if not stream then return nil, ("send %s: %s"):format(path, answer), why end
  if answer.have == true then return digest, nil, nil, false end
  local ok
  ok, err, code = send(stream, file, size)
  if ok then return digest, nil, nil, true end
  local _, why_not, reason = host:explain(err, code)
  return nil, ("send %s to %s: %s"):format(path, host.label, why_not), reason
end

return M
