--- A snapshot of a file system, as an object (docs/wire/cc-ipc.md#snapshot-0x06xx, docs/wire/cc-ipc.md#dockerfile-0x07xx). Each method
--- waits, takes a time-out in seconds as its last argument, and fails as client:call does.
local options = require "vmctl.base.options"
local request = require "vmctl.cc.request"
local wire = require "vmctl.cc.wire"

local M = {}

---@class vmctl.CcSnapshot
local methods = {}
local mt = { __name = "vmctl.CcSnapshot", __index = methods }

local define, done, field = request.define, request.done, request.field

local calls = {
  cache_key = define("SNAPSHOT_CACHE_KEY", "snapshot:handle"), parent = define("SNAPSHOT_PARENT", "snapshot:handle"),
  close = define("SNAPSHOT_CLOSE", "snapshot:handle"), as_source = define("SNAPSHOT_AS_SOURCE", "snapshot:handle"),
}

local known = { dockerfile = "string", context_dir = "string", cache_dir = "string", build_args = "table" }

local function ask(self, name, timeout)
  if not self._handle then return nil, "cc snapshot: closed", "ECLOSED" end
  return calls[name](self.client, timeout, self._handle)
end

local function new(client, d, err, code, more)
  local handle, why, how, what = field("uint64", d, err, code, more)
  if not handle then return nil, why, how, what end
  return setmetatable({ client = client, _handle = handle }, mt)
end

--- Takes a snapshot of the machine's file system.
---@param opts { excludes: string[]?, cache_dir: string? }
---@return vmctl.CcSnapshot|nil, string?, string?, table?
function M.take(client, opts, timeout)
  return new(client, client:call(wire.types.FS_SNAPSHOT, function(e) e:snapshot_options(opts) end, timeout))
end

local function words_of(opts)
  local words = { opts.context_dir or "", opts.cache_dir }
  for name, value in pairs(opts.build_args or {}) do
    table.insert(words, name)
    table.insert(words, value)
  end
  return words
end

--- Builds an image; needs no machine. Waits: minutes.
---@param client vmctl.CcClient
---@param opts { dockerfile: string, context_dir: string?, cache_dir: string, build_args: table<string, string>? } the text of
-- the file, the folder that it may copy from, the folder for the result
---@return vmctl.CcSnapshot|nil, string?, string?, table?
function M.build(client, opts, timeout)
  opts = options.check(opts, known, "cc build_dockerfile")
  for _, name in ipairs { "dockerfile", "cache_dir" } do
    if not opts[name] then error(("cc build_dockerfile: option '%s' expected"):format(name), 2) end
  end
  local ok, err, code = request.check_words(words_of(opts), "cc build_dockerfile", 3)
  if not ok then return nil, err, code end
  return new(client, client:call(wire.types.BUILD_DOCKERFILE, function(e) e:dockerfile_options(opts) end, timeout))
end

--- The key that identifies its content.
---@return string|nil, string?, string?, table?
function methods:cache_key(timeout)
  return field("string", ask(self, "cache_key", timeout))
end

--- The snapshot that it was made from. Each call makes a new object, which has to be closed.
---@return vmctl.CcSnapshot|nil, string?, string?, table? ENOENT: it has none
function methods:parent(timeout)
  local parent, err, code, more = new(self.client, ask(self, "parent", timeout))
  if not parent then return nil, err, code, more end
  if parent._handle ~= 0 then return parent end
  return nil, "cc snapshot: it has no parent", "ENOENT"
end

--- Its number as a source of machines; no request takes it yet.
---@return integer|nil, string?, string?, table?
function methods:as_source(timeout)
  return field("uint64", ask(self, "as_source", timeout))
end

--- Frees the handle; the stored snapshot stays. Idempotent.
---@return true|nil, string?, string?, table? it is closed in any case
function methods:close(timeout)
  local handle = self._handle
  if not handle then return true end
  self._handle = nil
  return done(calls.close(self.client, timeout, handle))
end

mt.__close = function(self) self:close() end

return M
