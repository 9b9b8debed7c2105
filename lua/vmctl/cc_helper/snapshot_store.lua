--- Snapshots on disk: `<cache>/<key>/manifest`, which says what each path is, and `<cache>/blobs/<sha256>` with the content of
--- files, which several may share. The key is the SHA-256 of the manifest. What came from a guest is never laid out as a tree
--- of its own here, so no name or link in it means anything to this machine. A snapshot that was made of an image has no paths: it names
--- the image of its root file system, `<cache>/chain/<digest>.erofs`.
local core = require "vmctl.core"
local fs = require "vmctl.base.fs"
local json = require "vmctl.json"
local texts = require "vmctl.text"

local M = {}

local MAGIC = "vmctl snapshot 1\n"
local MOST_MANIFEST = 256 << 20
local CHUNK = 1 << 20

---@class vmctl.CcSnapshotWriter
local methods = {}
local mt = { __name = "vmctl.CcSnapshotWriter", __index = methods }

local function escape(text)
  return (text:gsub("[%c%s%%\127-\255]", function(char) return ("%%%02x"):format(char:byte()) end))
end

local function unescape(text)
  return (text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

local function make_folder(path)
  return fs.folders("/", path, { folder_mode = 448 })
end

--- Begins a snapshot.
---@param cache string an absolute path, made if it is missing
---@param image? table what the image says of how it is run, kept with it
---@return vmctl.CcSnapshotWriter|nil store with add(entry, read), finish(), drop(), string?, string?
function M.begin(cache, image)
  local ok, err, code = make_folder(cache .. "/blobs")
  if not ok then return nil, err, code end
  local folder
  folder, err, code = core.fs.temporary(cache .. "/.new")
  if not folder then return nil, err, code end
  local self = setmetatable({ _cache = cache, _folder = folder, _lines = { MAGIC } }, mt)
  if image then self._lines[2] = "image " .. escape(assert(json.encode(image))) .. "\n" end
  return self
end

-- Content becomes a blob of its hash; one that is there already is not written again.
local function keep_blob(self, read)
  local name = self._folder .. "/blob"
  local file, err, code = fs.open(name, "wct", 384)
  if not file then return nil, err, code end
  local hash, size = core.sha256(), 0
  for data in function() return read(CHUNK) end do
    if data == "" then break end
    hash:update(data)
    size = size + #data
    local ok
    ok, err, code = file:write(data)
    if not ok then break end
    core.yield()
  end
  local closed, why, how = file:close()
  if err or not closed then return nil, err or why, err and code or how end
  local hex = hash:hex()
  local ok
  ok, err, code = fs.rename(name, self._cache .. "/blobs/" .. hex)
  if not ok then return nil, err, code end
  return hex, size
end

--- Adds what is at a path. Entries have to come in an order that depends on them alone.
---@param entry vmctl.TarEntry
---@param read? fun(n: integer): string? of a file; nil or "" at the end
---@return true|nil, string?, string?
function methods:add(entry, read)
  local what
  if entry.type == "file" then
    local hex, size, code = keep_blob(self, read)
    if not hex then return nil, size, code end
    what = hex .. " " .. size
  elseif entry.type == "link" then
    what = escape(entry.link)
  elseif entry.type == "char" or entry.type == "block" then
    what = ("%d %d"):format(entry.major, entry.minor)
  elseif entry.type ~= "directory" and entry.type ~= "fifo" then
    return true
  end
  table.insert(self._lines, ("%s %o %d %d %d %s %s\n"):format(entry.type, entry.mode, entry.uid, entry.gid, entry.mtime,
    escape(entry.path), what or ""))
  return true
end

--- Says that it is an image of a root file system, and nothing else.
---@param hex string the image's digest, 64 digits
function methods:set_root(hex) table.insert(self._lines, ("root %s\n"):format(hex)) end

--- Ends it: it is there as a whole from now on.
---@return string|nil key, string?, string?
function methods:finish()
  local text = table.concat(self._lines)
  local key = core.sha256(text):hex()
  local ok, err, code = fs.replace(self._folder .. "/manifest", text, 384)
  if ok and not fs.stat(("%s/%s/manifest"):format(self._cache, key)) then
    ok, err, code = fs.rename(self._folder, self._cache .. "/" .. key)
  end
  if not ok then return nil, err, code end
  self:drop()
  return key
end

--- Lets go of what was begun. After `finish` it does nothing. Does not wait: a cancelled task does so as well.
function methods:drop()
  for _, name in ipairs { "/blob", "/manifest", "" } do core.fs.remove(self._folder .. name) end
end

local function parse(line, cache)
  local kind, mode, uid, gid, mtime, path, what = line:match "^(%l+) ([0-7]+) (%d+) (%d+) (-?%d+) (%S+) (.*)$"
  if not kind then return nil end
  local entry = { type = kind, mode = tonumber(mode, 8) & 4095, uid = math.tointeger(uid), gid = math.tointeger(gid),
    mtime = math.tointeger(mtime), path = unescape(path) }
  if kind == "file" then
    local hex, size = what:match "^(%x+) (%d+)$"
    if not hex or #hex ~= 64 then return nil end
    entry.content = { path = cache .. "/blobs/" .. hex, offset = 0, size = math.tointeger(size) }
  elseif kind == "link" then
    entry.link = unescape(what)
  elseif kind == "char" or kind == "block" then
    local major, minor = what:match "^(%d+) (%d+)$"
    if not major then return nil end
    entry.major, entry.minor = math.tointeger(major), math.tointeger(minor)
  end
  return entry
end

--- Says if a folder is a snapshot's.
function M.is_snapshot(folder)
  return fs.stat(folder .. "/manifest") ~= nil
end

local function read_manifest(folder)
  local text, err, code = fs.read(folder .. "/manifest", MOST_MANIFEST)
  if not text then return nil, err, code end
  if text:sub(1, #MAGIC) ~= MAGIC then return nil, folder .. ": no snapshot", "EPROTO" end
  if text:sub(-1) ~= "\n" then return nil, folder .. ": a broken manifest", "EPROTO" end -- else a pattern would look for its end
  return text
end

--- The description of a snapshot. Waits.
---@param folder string `<cache>/<key>`
---@return { key: string, image: table, root: string? }|nil about key: the SHA-256 of its manifest; image: what it was begun with, {} for
-- nothing; root: the digest of its root's image, if it was made of one
---@return string?, string? code EPROTO: it is broken
function M.describe(folder)
  local text, err, code = read_manifest(folder)
  if not text then return nil, err, code end
  local about = { key = core.sha256(text):hex(), image = {} }
  for line in text:sub(#MAGIC + 1):gmatch "([^\n]*)\n" do
    local image, root = line:match "^image (%S+)$", line:match "^root (%x+)$"
    if not image and not root then break end -- these come first
    if image then about.image = json.decode(unescape(image)) or {} end
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
  for line in text:sub(#MAGIC + 1):gmatch "([^\n]*)\n" do
    if not line:find "^image " then
      local entry = parse(line, cache)
      if not entry then return nil, folder .. ": a broken manifest", "EPROTO" end
      local ok
      ok, err, code = visit(entry)
      if not ok then return nil, err, code end
    end
  end
  return true
end

return M
