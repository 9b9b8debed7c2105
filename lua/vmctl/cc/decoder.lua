--- Payloads, read field by field (docs/wire/cc-ipc.md#primitives, docs/wire/cc-ipc.md#structures). Where bytes are missing, a
--- method returns nil, "unexpected EOF", "EPROTO", and so does every later one: a caller that reads several fields may look at
--- `failed` once. A count is refused unless so many items fit into the remaining bytes.
local unpack = string.unpack

local M = {}

M.SHORT = "unexpected EOF"

-- The smallest size of an item, for each list.
local STRING_SIZE, MOUNT_SIZE, ENTRY_SIZE, ARGUMENT_SIZE = 4, 9, 9, 8

local INFO_REST = 22 -- bytes of a FileInfo behind its name

---@class vmctl.CcDecoder
local methods = {}
local mt = { __name = "vmctl.CcDecoder", __index = methods }

-- Makes all later reads fail; `remaining` keeps its value.
local function short(self)
  if not self._remaining then self._remaining = #self._bytes - self._at + 1 end
  self._bytes, self._at = "", 1
  return nil, M.SHORT, "EPROTO"
end

local function number(format, width)
  --- An integer, big endian; an unsigned one of 64 bits is negative from 2^63 on: compare with math.ult.
  ---@return integer|nil, string?, string? code EPROTO: there are fewer bytes
  return function(self)
    local at, bytes = self._at, self._bytes
    if #bytes - at + 1 < width then return short(self) end
    self._at = at + width
    return (unpack(format, bytes, at))
  end
end

-- Primitives. Each: integer|nil, string?, string?

methods.uint8 = number(">I1", 1)
methods.uint16 = number(">I2", 2)
methods.uint32 = number(">I4", 4)
methods.int32 = number(">i4", 4)
methods.int64 = number(">i8", 8)

--- From 2^63 on the integer is negative: compare with math.ult.
methods.uint64 = number(">I8", 8)

--- Any byte but 0 is true.
---@return boolean|nil, string?, string?
function methods:bool()
  local value, err, code = self:uint8()
  if not value then return nil, err, code end
  return value ~= 0
end

--- Bytes with their length in front. If they are cut, the length has been consumed.
---@return string|nil, string?, string?
function methods:string()
  local at, bytes = self._at, self._bytes
  local left = #bytes - at + 1
  if left < 4 then return short(self) end
  local size = unpack(">I4", bytes, at)
  self._at = at + 4
  if size > left - 4 then return short(self) end
  self._at = at + 4 + size
  return bytes:sub(at + 4, at + 3 + size)
end

methods.bytes = methods.string

-- Reads the number of items of a list; each has at least `least` bytes.
local function count(self, least)
  local n, err, code = self:uint32()
  if not n then return nil, err, code end
  if n > self:remaining() // least then return short(self) end
  return n
end

-- Reads a list: the number of items, and the items by read(self).
local function list(self, least, read)
  local n, err, code = count(self, least)
  if not n then return nil, err, code end
  local items = {}
  for i = 1, n do
    local item
    item, err, code = read(self)
    if item == nil then return nil, err, code end
    items[i] = item
  end
  return items
end

--- Texts with their number in front.
---@return string[]|nil, string?, string? never a part of the list
function methods:string_slice()
  return list(self, STRING_SIZE, methods.string)
end

-- Structures. All fields are read, and the last one is checked: after a failure every later read fails.

--- The body of an error; `code` 0 is none, and has no texts.
---@return { code: integer, message: string, op: string, path: string }|nil, string?, string?
function methods:error()
  local code, err, why = self:uint8()
  if not code then return nil, err, why end
  if code == 0 then return { code = 0, message = "", op = "", path = "" } end
  local body = { code = code, message = self:string(), op = self:string(), path = self:string() }
  if self._remaining then return short(self) end
  return body
end

--- A shared folder.
---@return { tag: string, host_path: string, writable: boolean }|nil, string?, string?
function methods:mount_config()
  local mount = { tag = self:string(), host_path = self:string(), writable = self:bool() }
  if self._remaining then return short(self) end
  return mount
end

--- timeout_ns: nanoseconds, unsigned; 0 is none.
---@return { memory_mb: integer, cpus: integer, timeout_ns: integer, user: string, enable_dmesg: boolean, mounts: table[] }|nil
---@return string?, string?
function methods:instance_options()
  local options = {
    memory_mb = self:uint64(), cpus = self:int32(), timeout_ns = self:uint64(), user = self:string(),
    enable_dmesg = self:bool(), mounts = list(self, MOUNT_SIZE, methods.mount_config),
  }
  if self._remaining then return short(self) end
  return options
end

--- mode: Go's (see vmctl.base.go_mode).
---@return { name: string, size: integer, mode: integer, mod_time: integer, is_dir: boolean, is_symlink: boolean }|nil
---@return string?, string?
function methods:file_info()
  local name = self:string()
  if not name or self:remaining() < INFO_REST then return short(self) end
  local at = self._at
  self._at = at + INFO_REST
  local size, mode, mod_time, is_dir, is_symlink = unpack(">i8I4i8BB", self._bytes, at) -- at once: there are many of these
  return { name = name, size = size, mode = mode, mod_time = mod_time, is_dir = is_dir ~= 0, is_symlink = is_symlink ~= 0 }
end

--- An entry of a folder.
---@return { name: string, is_dir: boolean, mode: integer }|nil, string?, string?
function methods:dir_entry()
  local entry = { name = self:string(), is_dir = self:bool(), mode = self:uint32() }
  if self._remaining then return short(self) end
  return entry
end

--- A folder's entries with their number in front.
---@return table[]|nil, string?, string?
function methods:dir_entries()
  return list(self, ENTRY_SIZE, methods.dir_entry)
end

--- The options of a snapshot.
---@return { excludes: string[], cache_dir: string }|nil, string?, string?
function methods:snapshot_options()
  local options = { excludes = self:string_slice(), cache_dir = self:string() }
  if self._remaining then return short(self) end
  return options
end

-- The last value of a repeated name counts.
local function build_args(self)
  local n = count(self, ARGUMENT_SIZE)
  if not n or n == 0 then return nil end
  local values = {}
  for _ = 1, n do
    local name, value = self:string(), self:string()
    if not value then return nil end
    values[name] = value
  end
  return values
end

--- build_args: nil when there are none.
---@return { dockerfile: string, context_dir: string, cache_dir: string, build_args: table<string, string>? }|nil
---@return string?, string?
function methods:dockerfile_options()
  local options = {
    dockerfile = self:string(), context_dir = self:string(), cache_dir = self:string(), build_args = build_args(self),
  }
  if self._remaining then return short(self) end
  return options
end

-- The whole

--- How many bytes have not been read.
---@return integer
function methods:remaining()
  return self._remaining or #self._bytes - self._at + 1
end

--- Tells if a method has failed for lack of bytes. All later ones have failed as well.
---@return boolean
function methods:failed()
  return self._remaining ~= nil
end

--- A decoder of a payload.
---@param bytes string
---@param at? integer where it begins, 1 by default
---@return vmctl.CcDecoder
function M.new(bytes, at)
  if type(bytes) ~= "string" then error("cc.decoder: a string expected, got " .. type(bytes), 2) end
  return setmetatable({ _bytes = bytes, _at = at or 1 }, mt)
end

return M
