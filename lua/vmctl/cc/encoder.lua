--- Payloads, written field by field (docs/wire/cc-ipc.md#primitives, docs/wire/cc-ipc.md#structures). A value of the wrong
--- type or range raises at the line of the caller. Every method but `bytes` gives the encoder back.
local pack = string.pack

local M = {}

local MAX_COUNT = 0xffffffff

---@class vmctl.CcEncoder
local methods = {}
local mt = { __name = "vmctl.CcEncoder", __index = methods }

local function add(self, bytes)
  local n = self._n + 1
  self[n], self._n = bytes, n
  return self
end

-- Levels are those of `error`: 3 is the caller of the method that checks; one more for each function between.
local function as_integer(value, low, high, what, level)
  local n = math.type(value) and math.tointeger(value)
  if not n or n < low or n > high then
    error(("%s: an integer from %d to %d expected, got %s"):format(what, low, high, tostring(value)), level or 3)
  end
  return n
end

local function as_long(value, what, level)
  return as_integer(value, math.mininteger, math.maxinteger, what, level)
end

local function as_text(value, what, level)
  if type(value) ~= "string" then error(("%s: a string expected, got %s"):format(what, type(value)), level or 3) end
  if #value > MAX_COUNT then error(("%s: %d bytes have no place on the wire"):format(what, #value), level or 3) end
  return value
end

local function as_table(value, what, level)
  if type(value) ~= "table" then error(("%s: a table expected, got %s"):format(what, type(value)), level or 3) end
  return value
end

-- Primitives

--- An integer, big endian.
---@param value integer 0 to 255
---@return vmctl.CcEncoder itself
function methods:uint8(value) return add(self, pack(">I1", as_integer(value, 0, 0xff, "uint8"))) end
--- An integer, big endian.
---@param value integer 0 to 65535
---@return vmctl.CcEncoder itself
function methods:uint16(value) return add(self, pack(">I2", as_integer(value, 0, 0xffff, "uint16"))) end
--- An integer, big endian.
---@param value integer 0 to 2^32 - 1
---@return vmctl.CcEncoder itself
function methods:uint32(value) return add(self, pack(">I4", as_integer(value, 0, 0xffffffff, "uint32"))) end
--- An integer, big endian.
---@param value integer of 32 bits
---@return vmctl.CcEncoder itself
function methods:int32(value) return add(self, pack(">i4", as_integer(value, -0x80000000, 0x7fffffff, "int32"))) end
--- An integer, big endian.
---@param value integer of 64 bits
---@return vmctl.CcEncoder itself
function methods:int64(value) return add(self, pack(">i8", as_long(value, "int64"))) end

--- From 2^63 on, a Lua integer is negative: it stands for the same 64 bits.
---@param value integer
---@return vmctl.CcEncoder itself
function methods:uint64(value) return add(self, pack(">I8", as_long(value, "uint64"))) end

--- One byte.
---@param value boolean
---@return vmctl.CcEncoder itself
function methods:bool(value)
  if type(value) ~= "boolean" then error("bool: a boolean expected, got " .. type(value), 2) end
  return add(self, value and "\1" or "\0")
end

--- A text with its length in front.
---@param value string
---@return vmctl.CcEncoder itself
function methods:string(value) return add(self, pack(">s4", as_text(value, "string"))) end

--- Bytes with their length in front; on the wire the same as `string`.
---@param value string
---@return vmctl.CcEncoder itself
function methods:write_bytes(value) return add(self, pack(">s4", as_text(value, "write_bytes"))) end

--- Texts with their number in front.
---@param list string[]
---@return vmctl.CcEncoder itself
function methods:string_slice(list)
  add(self, pack(">I4", #as_table(list, "string_slice")))
  for i, value in ipairs(list) do add(self, pack(">s4", as_text(value, ("string_slice[%d]"):format(i)))) end
  return self
end

-- Structures

--- The body of an error (docs/wire/cc-ipc.md#error-body); code 0 has no further fields.
---@param err { code: integer, message: string?, op: string?, path: string? }
---@return vmctl.CcEncoder itself
function methods:error(err)
  local code = as_integer(as_table(err, "error").code, 0, 255, "error: code")
  if code == 0 then return add(self, "\0") end
  local message = as_text(err.message or "", "error: message")
  local op, path = as_text(err.op or "", "error: op"), as_text(err.path or "", "error: path")
  return add(self, pack(">I1s4s4s4", code, message, op, path))
end

local function mount_bytes(mount, level)
  as_table(mount, "mount_config", level)
  local tag = as_text(mount.tag or "", "mount_config: tag", level)
  return pack(">s4s4I1", tag, as_text(mount.host_path or "", "mount_config: host_path", level), mount.writable and 1 or 0)
end

--- A shared folder.
---@param mount { tag: string, host_path: string?, writable: boolean? } without host_path: an empty, writable file system
---@return vmctl.CcEncoder itself
function methods:mount_config(mount)
  return add(self, mount_bytes(mount, 4))
end

-- Seconds as nanoseconds for the wire: cut, not rounded (docs/wire/cc-ipc.md#traps, 4).
local function nanoseconds(options)
  if options.timeout_ns then return as_long(options.timeout_ns, "instance_options: timeout_ns") end
  local seconds = options.timeout or 0
  if type(seconds) ~= "number" or not (seconds >= 0 and seconds * 1e9 < 0x1p63) then
    error("instance_options: timeout: seconds from 0 to 9.2e9 expected, got " .. tostring(seconds), 3)
  end
  return math.type(seconds) == "integer" and seconds * 1000000000 or math.tointeger(math.floor(seconds * 1e9))
end

--- The options of a new instance. Does not wait.
---@param options { memory_mb: integer?, cpus: integer?, timeout: number?, timeout_ns: integer?, user: string?,
--- enable_dmesg: boolean?, mounts: table[]? } all may be left out; timeout in seconds, or to the nanosecond
---@return vmctl.CcEncoder itself
function methods:instance_options(options)
  as_table(options, "instance_options")
  local memory = as_long(options.memory_mb or 0, "instance_options: memory_mb")
  local cpus = as_integer(options.cpus or 0, -0x80000000, 0x7fffffff, "instance_options: cpus")
  local user = as_text(options.user or "", "instance_options: user")
  local mounts = as_table(options.mounts or {}, "instance_options: mounts")
  add(self, pack(">I8i4I8s4I1I4", memory, cpus, nanoseconds(options), user, options.enable_dmesg and 1 or 0, #mounts))
  for _, mount in ipairs(mounts) do add(self, mount_bytes(mount, 4)) end
  return self
end

--- A file's properties.
---@param info { name: string, size: integer, mode: integer, mod_time: integer, is_dir: boolean, is_symlink: boolean }
-- mode: Go's (see vmctl.base.go_mode); mod_time: Unix seconds
---@return vmctl.CcEncoder itself
function methods:file_info(info)
  as_table(info, "file_info")
  local name, size = as_text(info.name or "", "file_info: name"), as_long(info.size or 0, "file_info: size")
  local mode = as_integer(info.mode or 0, 0, 0xffffffff, "file_info: mode")
  local mod_time = as_long(info.mod_time or 0, "file_info: mod_time")
  return add(self, pack(">s4i8I4i8I1I1", name, size, mode, mod_time, info.is_dir and 1 or 0, info.is_symlink and 1 or 0))
end

local function entry_bytes(entry, level)
  as_table(entry, "dir_entry", level)
  local mode = as_integer(entry.mode or 0, 0, 0xffffffff, "dir_entry: mode", level)
  return pack(">s4I1I4", as_text(entry.name, "dir_entry: name", level), entry.is_dir and 1 or 0, mode)
end

--- An entry of a folder.
---@param entry { name: string, is_dir: boolean, mode: integer }
---@return vmctl.CcEncoder itself
function methods:dir_entry(entry)
  return add(self, entry_bytes(entry, 4))
end

--- A folder's entries with their number in front.
---@param list table[]
---@return vmctl.CcEncoder itself
function methods:dir_entries(list)
  add(self, pack(">I4", #as_table(list, "dir_entries")))
  for _, entry in ipairs(list) do add(self, entry_bytes(entry, 4)) end
  return self
end

--- The options of a snapshot: patterns to leave out, and its folder.
---@param options { excludes: string[]?, cache_dir: string? }
---@return vmctl.CcEncoder itself
function methods:snapshot_options(options)
  local excludes = as_table(as_table(options, "snapshot_options").excludes or {}, "snapshot_options: excludes")
  add(self, pack(">I4", #excludes))
  for i, value in ipairs(excludes) do add(self, pack(">s4", as_text(value, ("snapshot_options: excludes[%d]"):format(i)))) end
  return add(self, pack(">s4", as_text(options.cache_dir or "", "snapshot_options: cache_dir")))
end

--- The options of an image's build.
---@param options { dockerfile: string, context_dir: string?, cache_dir: string?, build_args: table<string, string>? }
---@return vmctl.CcEncoder itself
function methods:dockerfile_options(options)
  local file = as_text(as_table(options, "dockerfile_options").dockerfile or "", "dockerfile_options: dockerfile")
  local context = as_text(options.context_dir or "", "dockerfile_options: context_dir")
  local values, names = as_table(options.build_args or {}, "dockerfile_options: build_args"), {}
  for name in pairs(values) do names[#names + 1] = as_text(name, "dockerfile_options: a build argument's name") end
  table.sort(names) -- the same bytes each time
  add(self, pack(">s4s4s4I4", file, context, as_text(options.cache_dir or "", "dockerfile_options: cache_dir"), #names))
  for _, name in ipairs(names) do
    add(self, pack(">s4s4", name, as_text(values[name], "dockerfile_options: build argument " .. name)))
  end
  return self
end

-- The whole

--- Returns the bytes written so far.
---@return string
function methods:bytes()
  if self._n == 1 then return self[1] end
  return table.concat(self, "", 1, self._n)
end

--- Empties it for further use; earlier results of `bytes` stay as they are.
function methods:reset()
  self._n = 0
  return self
end

--- An empty encoder.
---@return vmctl.CcEncoder
function M.new()
  return setmetatable({ _n = 0 }, mt)
end

--- The methods of encoders, for a class that adds methods of its own.
M.methods = methods

return M
