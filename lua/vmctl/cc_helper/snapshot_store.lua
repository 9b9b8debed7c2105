--- Snapshots on disk: `<cache>/<key>/manifest`, which describes each path, and `<cache>/blobs/<sha256>` with the content of files, which
--- several may share. The key is the SHA-256 of the manifest. A guest's files are never laid out as a tree here, so no name or link of
--- a guest has a meaning on this machine. A snapshot that was made of an image has no paths: it names the image of its root file
--- system, `<cache>/chain/<digest>.erofs`.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local json = require "vmctl.json"
local manifest = require "vmctl.cc_helper.manifest"
local texts = require "vmctl.text"

local M = {}

local MAGIC, MAGICS = "vmctl snapshot 2\n", "^vmctl snapshot [12]\n" -- the first version had no more than the second
local MOST_MANIFEST = 256 << 20 -- bytes
local CHUNK = 1 << 20

---@class vmctl.CcSnapshotWriter
local methods = {}
local mt = { __name = "vmctl.CcSnapshotWriter", __index = methods }

local function make_folder(path)
  return fs.folders("/", path, { folder_mode = 448 })
end

--- Begins a snapshot.
---@param cache string an absolute path, made if it is missing
---@param image? table the image's settings for running it, kept with the snapshot
---@return vmctl.CcSnapshotWriter|nil store with add(entry, read), finish(), drop(), string?, string?
function M.begin(cache, image)
  local ok, err, code = make_folder(cache .. "/blobs")
  if not ok then return nil, err, code end
  local folder
  folder, err, code = core.fs.temporary(cache .. "/.new")
  if not folder then return nil, err, code end
  local file
  file, err, code = fs.open(folder .. "/manifest", "wcx", 384)
  if not file then
    core.fs.remove(folder)
    return nil, err, code
  end
  local self = setmetatable({ _cache = cache, _folder = folder, _file = file, _hash = core.sha256(), _size = 0 }, mt)
  ok, err, code = self:_say(MAGIC .. (image and "image " .. manifest.escape(assert(json.encode(image))) .. "\n" or ""))
  if not ok then
    self:drop()
    return nil, err, code
  end
  return self
end

-- Adds lines to the manifest, which is never in memory as a whole.
function methods:_say(lines)
  if self._size + #lines > MOST_MANIFEST then
    return errors.fail("ETOOBIG", "snapshot: a manifest of more than %d bytes", MOST_MANIFEST)
  end
  self._size = self._size + #lines
  self._hash:update(lines)
  return self._file:write(lines)
end

-- Writes everything that `read` returns. Waits.
local function fill(file, read, hash)
  local size = 0
  while true do
    local data, err, code = read(CHUNK)
    if not data and err then return nil, err, code end
    if not data or data == "" then return size end
    hash:update(data)
    size = size + #data
    local ok
    ok, err, code = file:write(data)
    if not ok then return nil, err, code end
    core.yield()
  end
end

-- Stores a file's content as a blob that has the name of its hash.
local function keep_blob(self, entry, read)
  local name, hash = self._folder .. "/blob", core.sha256()
  local file, err, code = fs.open(name, "wct", 384)
  if not file then return nil, err, code end
  local size
  size, err, code = fill(file, read, hash)
  local closed, why, how = file:close()
  if not size then return nil, err, code end
  if not closed then return nil, why, how end
  if entry.map and size ~= entry.size then
    return errors.fail("ESHRUNK", "%s: it has become shorter while it was read", entry.path)
  end
  local hex = hash:hex()
  local ok
  ok, err, code = fs.rename(name, self._cache .. "/blobs/" .. hex)
  if not ok then return nil, err, code end
  return { hex = hex, size = size }
end

--- Adds the entry of a path; sockets are left out. The order of entries must depend on the entries alone. Waits.
---@param entry vmctl.TarEntry
---@param read? fun(n: integer): string? of a file; nil or "" at the end
---@return true|nil, string?, string? code ETOOBIG: a manifest of more than 256 MiB
function methods:add(entry, read)
  if not manifest.knows(entry.type) then return true end
  local blob, err, code
  if entry.type == "file" then
    blob, err, code = keep_blob(self, entry, read)
    if not blob then return nil, err, code end
  end
  return self:_say(manifest.lines(entry, blob))
end

--- Makes it a snapshot of an image of a root file system, without paths. Waits.
---@param hex string the image's digest, 64 digits
---@return true|nil, string?, string?
function methods:set_root(hex) return self:_say(("root %s\n"):format(hex)) end

--- Ends the snapshot: it appears as a whole. Waits.
---@return string|nil key, string?, string?
function methods:finish()
  local ok, err, code = self._file:close()
  local key = self._hash:hex()
  if ok and not fs.stat(("%s/%s/manifest"):format(self._cache, key)) then
    ok, err, code = fs.rename(self._folder, self._cache .. "/" .. key)
  end
  if not ok then return nil, err, code end
  self:drop()
  return key
end

--- Removes an unfinished snapshot. After `finish` it does nothing. Does not wait, so that a cancelled task can call it.
function methods:drop()
  self._file:drop()
  for _, name in ipairs { "/blob", "/manifest", "" } do core.fs.remove(self._folder .. name) end
end

local function parse(line, cache, xattrs)
  local entry = manifest.read(line, xattrs)
  if entry and entry.content then
    entry.content = { path = cache .. "/blobs/" .. entry.content.hex, offset = 0, size = entry.content.size }
    entry.size = entry.content.size
  end
  return entry
end

--- Tells if a folder is a snapshot's.
function M.is_snapshot(folder)
  return fs.stat(folder .. "/manifest") ~= nil
end

local function read_manifest(folder)
  local text, err, code = fs.read(folder .. "/manifest", MOST_MANIFEST)
  if not text then return nil, err, code end
  if not text:find(MAGICS) then return nil, folder .. ": no snapshot", "EPROTO" end
  if text:sub(-1) ~= "\n" then return nil, folder .. ": a broken manifest", "EPROTO" end -- else a pattern would look for its end
  return text
end

--- The description of a snapshot. Waits.
---@param folder string `<cache>/<key>`
---@return { key: string, image: table, root: string? }|nil about key: the SHA-256 of its manifest; image: as given to `begin`, else {};
-- root: the digest of its root's image, if it was made of one
---@return string?, string? code EPROTO: it is broken
function M.describe(folder)
  local text, err, code = read_manifest(folder)
  if not text then return nil, err, code end
  local about = { key = core.sha256(text):hex(), image = {} }
  for line in text:gmatch("([^\n]*)\n", #MAGIC + 1) do
    local image, root = line:match "^image (%S+)$", line:match "^root (%x+)$"
    if not image and not root then break end -- these come first
    if image then about.image = json.decode(manifest.unescape(image)) or {} end
    if root and #root == 64 then about.root = root end
  end
  return about
end

--- Reads a snapshot's paths. Waits.
---@param folder string `<cache>/<key>`
---@param visit fun(entry: table): true|nil, string?, string? with `content`, a slice, of files
---@return true|nil, string?, string? code EPROTO: it is broken
function M.each(folder, visit)
  local text, err, code = read_manifest(folder)
  if not text then return nil, err, code end
  local cache = texts.split(texts.strip_slashes(folder)) or ".."
  local xattrs = {}
  for line in text:gmatch("([^\n]*)\n", #MAGIC + 1) do
    if not line:find "^image " then
      local entry = parse(line, cache, xattrs)
      if entry == nil then return nil, folder .. ": a broken manifest", "EPROTO" end
      local ok = true
      if entry then
        xattrs = {}
        ok, err, code = visit(entry)
      end
      if not ok then return nil, err, code end
    end
  end
  return true
end

return M
