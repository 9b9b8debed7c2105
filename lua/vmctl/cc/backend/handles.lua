--- The handles of a helper: numbers for files, commands, listeners, connections and snapshots (docs/wire/cc-ipc.md#handles).
--- One counter for all kinds; a number is never used again.
local wire = require "vmctl.cc.wire"

local M = {}

local MOST = 1024 -- of a kind

---@class vmctl.CcHandles
local methods = {}
local mt = { __name = "vmctl.CcHandles", __index = methods }

local NAMES = { "file", "cmd", "listener", "conn", "snapshot" }

--- An empty table of handles.
---@param most? integer how many of a kind (1024)
---@return vmctl.CcHandles
function M.new(most)
  local self = setmetatable({ _last = 0, _most = most or MOST, _kinds = {}, _counts = {} }, mt)
  for _, kind in ipairs(NAMES) do self._kinds[kind], self._counts[kind] = {}, 0 end
  return self
end

--- Fails if there is no room for one more.
---@return true|nil, string?, integer?
function methods:room(kind)
  if self._counts[kind] < self._most then return true end
  return nil, ("too many %s handles (%d)"):format(kind, self._most), wire.codes.INVALID_ARGUMENT
end

--- Gives an object a number. An object with a `close` is closed when the table is emptied, and if there is no room.
---@param kind "file"|"cmd"|"listener"|"conn"|"snapshot"
---@param object table
---@return integer|nil handle, string?, integer?
function methods:add(kind, object)
  local ok, err, code = self:room(kind)
  if not ok then
    object:close()
    return nil, err, code
  end
  self._last = self._last + 1
  self._kinds[kind][self._last] = object
  self._counts[kind] = self._counts[kind] + 1
  return self._last
end

--- The object of a handle.
---@return table|nil, string?, integer?
function methods:get(kind, handle)
  local object = self._kinds[kind][handle]
  if object then return object end
  return nil, ("invalid %s handle"):format(kind), wire.codes.INVALID_HANDLE
end

--- The object of a handle, which is removed from the table.
---@return table|nil, string?, integer?
function methods:take(kind, handle)
  local object, err, code = self:get(kind, handle)
  if not object then return nil, err, code end
  self._kinds[kind][handle] = nil
  self._counts[kind] = self._counts[kind] - 1
  return object
end

--- Closes and forgets all objects. Numbers are not reused.
function methods:clear()
  for _, kind in ipairs(NAMES) do
    local objects = self._kinds[kind]
    self._kinds[kind], self._counts[kind] = {}, 0
    for _, object in pairs(objects) do (object.drop or object.close)(object) end
  end
end

--- Guards for handlers, see vmctl.cc.backend.fields.
---@param kind string
---@return fun(handle: integer): table|nil, string?, integer?
function methods:getter(kind)
  return function(handle) return self:get(kind, handle) end
end
function methods:taker(kind)
  return function(handle) return self:take(kind, handle) end
end

return M
