--- FsSnapshot and SnapshotCacheKey to SnapshotAsSource. The result of BuildDockerfile is a snapshot with a handle, too.
local failure = require "vmctl.cc.backend.failure"
local fields = require "vmctl.cc.backend.fields"
local glob = require "vmctl.cc.backend.glob"
local snapshot_store = require "vmctl.cc_helper.snapshot_store"
local text = require "vmctl.text"
local user_folders = require "vmctl.base.user_folders"
local wire = require "vmctl.cc.wire"

local M = {}

local pack = string.pack

---@class vmctl.CcSnapshots
local methods = {}
local mt = { __name = "vmctl.CcSnapshots", __index = methods }

-- A snapshot that a handle stands for; several handles may stand for the same one. It stays on disk when they are closed.
local function new_snapshot(key, folder, parent)
  return { key = key, folder = folder, parent = parent, close = function() return true end }
end

local function default_cache() return user_folders.cache() .. "/vmctl-cc" end

--- Snapshots of a helper.
---@param handles vmctl.CcHandles
---@param cache? string where they are kept when a request names no folder
---@return vmctl.CcSnapshots
function M.new(handles, cache)
  return setmetatable({ _handles = handles, _cache = cache or default_cache() }, mt)
end

--- Where a request's snapshots go: an absolute path.
---@return string|nil, string?, integer?
function methods:cache(asked)
  local cache = asked ~= "" and asked or self._cache
  if cache:find("\0", 1, true) or cache:sub(1, 1) ~= "/" then
    return failure.argument "cache_dir: an absolute path expected"
  end
  return text.strip_slashes(cache)
end

-- Begins a snapshot, has it filled, and ends it; after a failure it is dropped.
local function keep(cache, image, parent, fill)
  local new, err, code = snapshot_store.begin(cache, image)
  if not new then return failure.of("snapshot", cache, err, code) end
  local fine, ok, key
  fine, ok, err, code = pcall(fill, new)
  if fine and ok then key, err, code = new:finish() end
  if not key then new:drop() end
  if not fine then error(ok, 0) end
  if not key then return failure.of("snapshot", cache, err, code) end
  return new_snapshot(key, cache .. "/" .. key, parent)
end

--- Makes a snapshot of an image of a root file system, which is in the same cache.
---@param cache string as from `cache`
---@param about table the image's settings for commands
---@param digest string "sha256:…"
---@return table|nil snapshot, string?, integer?, table?
function methods.keep_image(_, cache, about, digest)
  return keep(cache, about, nil, function(new)
    return new:set_root(digest:sub(8))
  end)
end

--- Makes a snapshot.
---@param cache string as from `cache`
---@param image? table
---@param parent? table the snapshot that it comes after
---@param fill fun(add: fun(entry: vmctl.TarEntry, read: function?)): true|nil, string?, string? hands over all entries; may wait
---@return table|nil snapshot, string?, integer?, table?
function methods.make(_, cache, image, parent, fill)
  return keep(cache, image, parent, function(new)
    return fill(function(entry, read) return new:add(entry, read) end)
  end)
end

--- Gives a snapshot a handle, in an answer.
function methods:answer(snapshot)
  local handle, err, code = self._handles:add("snapshot", new_snapshot(snapshot.key, snapshot.folder, snapshot.parent))
  if not handle then return nil, err, code end
  return pack(">I1I8", 0, handle)
end

function methods:_take(instance, options)
  local cache, err, code = self:cache(options.cache_dir)
  if not cache then return nil, err, code end
  local skip
  skip, err = glob.compile(options.excludes)
  if not skip then return failure.argument("%s", err) end
  local snapshot, where
  snapshot, err, code, where = instance:snapshot { cache = cache, excludes = options.excludes, skip = skip }
  if not snapshot then return nil, err, code, where end
  return self:answer(snapshot)
end

local function close() end

--- Registers the handlers.
---@param router vmctl.CcRouter
---@param instances vmctl.CcInstances
function methods:install(router, instances)
  router:handle(wire.types.FS_SNAPSHOT, function(d)
    local options = d:snapshot_options()
    if not options then return end
    local instance, err, code = instances:get()
    if not instance then return nil, err, code end
    return self:_take(instance, options)
  end)
  local one = self._handles:getter "snapshot"
  fields.on(router, "SNAPSHOT_CACHE_KEY", one, function(s) return pack(">I1s4", 0, s.key) end)
  fields.on(router, "SNAPSHOT_PARENT", one, function(s)
    if not s.parent then return pack(">I1I8", 0, 0) end
    return self:answer(s.parent)
  end)
  fields.on(router, "SNAPSHOT_CLOSE", self._handles:taker "snapshot", close)
  router:handle(wire.types.SNAPSHOT_AS_SOURCE, function(d)
    local handle = d:uint64()
    if not handle then return end
    local s, err, code = self._handles:get("snapshot", handle)
    if not s then return nil, err, code end
    return pack(">I1I8", 0, handle)
  end)
  require("vmctl.cc_helper.build").install(router, self)
end

return M
