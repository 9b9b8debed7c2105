--- Archives of images that are packed as a whole, as `docker save NAME | gzip` leaves them. Their parts are read in place, so such an
--- archive is unpacked first: CACHE/unpacked/HASH.tar, where the hash is of the packed file's path, inode, size and last change.
local cache = require "vmctl.rootfs.cache"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local packing = require "vmctl.rootfs.packing"
local process = require "vmctl.process"
local said = require "vmctl.rootfs.said"
local slice = require "vmctl.rootfs.slice"
local staged = require "vmctl.base.staged"

local M = {}

local LIMIT = 3600     -- seconds for one archive
local PIECE = 1 << 18  -- bytes
local LOOK = 0.25      -- seconds between two words about the progress
local PRIVATE = 448    -- mode 0700

local function copy(child, file, opts, deadline)
  local total, told = 0, core.now()
  while true do
    local data, err, code = child.stdout:read(PIECE, deadline - core.now())
    if not data then return code == "EOF" and total or nil, err, code end
    total = total + #data
    if total > opts.max_bytes then
      return errors.fail("ETOOBIG", "unpacked, it has more bytes than the limit allows (%d)", opts.max_bytes)
    end
    local ok
    ok, err, code = file:write(data)
    if not ok then return nil, err, code end
    if opts.on_progress and core.now() - told > LOOK then
      told = core.now()
      opts.on_progress { bytes = total }
    end
  end
end

-- Unpacks a file from its beginning into a new one.
local function unpack(packed, program, name, opts)
  local file <close>, err, code = core.fs.private(name, true) -- luacheck: ignore
  if not file then return nil, err, code end
  local deadline = core.now() + LIMIT
  local child <close>, why, how = process.spawn { program, "-dc", stdin = packed.file:fileno(), stdout = "pipe", stderr = "pipe", -- luacheck: ignore
    death_signal = "KILL", sweep = true }
  if not child then return nil, why, how end
  return said.listen(child, function(words)
    local record
    local total, wrong, number = copy(child, file, opts, deadline)
    if not total then return nil, wrong, number end
    record, wrong, number = child:wait(deadline - core.now())
    if not record then return nil, wrong, number end
    if record.exit_code == 0 then return total end
    return errors.fail("EPROTO", "%s: %s %s", program, record.signal or "exit code " .. record.exit_code, words())
  end)
end

local function place_of(path, packed, folder)
  local info, err, code = packed.file:stat()
  if not info then return nil, err, code end
  local key = ("%s %d %d %s"):format(fs.real(path) or path, info.inode, info.size, info.changed)
  return ("%s/%s.tar"):format(folder, core.sha256(key):hex())
end

local function make_once(packed, program, place, opts)
  local lock <close>, err, code = cache.lock(place .. ".lock")
  if not lock then return nil, err, code end
  if not fs.stat(place) then
    staged.remove_leftovers(place)
    local ok
    ok, err, code = staged.make(place, function(name) return unpack(packed, program, name, opts) end)
    if not ok then return nil, err, code end
  end
  local file
  file, err, code = core.fs.open(place)
  if not file then return nil, err, code end
  local locked
  locked, err, code = file:lock(false)
  if locked then return file end
  file:close()
  return nil, err, code
end

-- The program that has to unpack a file; false: none.
local function program_of(packed)
  local head, err, code = packed.file:read(packing.HEAD, 0)
  if not head then return nil, err, code end
  local foreign = packing.foreign(head)
  if foreign then return errors.fail("EPROTO", "packed by %s: gzip, zstd, xz, bzip2 or nothing expected", foreign) end
  return packing.program(head) or false
end

--- The beginning of an archive, unpacked. Waits.
---@param path string
---@param size integer bytes at most
---@return string|nil bytes, string?, string? code as for find
function M.head(path, size)
  local packed <close>, err, code = slice.open { path = path, offset = 0 } -- luacheck: ignore
  if not packed then return nil, err, code end
  local program, why, how = program_of(packed)
  if program == nil then return nil, why, how end
  if not program then return packed.file:read(size, 0) end
  local child <close> = process.spawn { program, "-dc", stdin = packed.file:fileno(), stdout = "pipe", stderr = "null", -- luacheck: ignore
    death_signal = "KILL", sweep = true }
  local data = child and child.stdout:read(size, LIMIT)
  return data or ""
end

--- Where an archive can be read in place: as it is, or unpacked in the cache. Waits.
---@param path string
---@param opts { cache: string, max_bytes: integer, on_progress: fun(state: { bytes: integer })? }
---@return string|nil path
---@return vmctl.File|string|nil held protects the unpacked one from the clean-up until the caller closes it; or a message
---@return string? code EPROTO: damaged, or packed by something unknown; ETOOBIG; ENOSPC; ENOENT: no such file, or no such program
function M.find(path, opts)
  local packed <close>, err, code = slice.open { path = path, offset = 0 } -- luacheck: ignore
  if not packed then return nil, err, code end
  local program, why, how = program_of(packed)
  if program == nil then return nil, why, how end
  if not program then return path end
  local folder, place, held = opts.cache .. "/unpacked", nil, nil
  local ok
  ok, err, code = fs.folders("/", folder, { folder_mode = PRIVATE })
  if ok then place, err, code = place_of(path, packed, folder) end
  if place then held, err, code = make_once(packed, program, place, opts) end
  if not held then return nil, err, code end
  local above <close> = core.fs.root(folder) -- luacheck: ignore
  local now = os.time()
  if above then above:chtimes(place:match "/[^/]*$", now, now) end -- its last use
  return place, held
end

return M
