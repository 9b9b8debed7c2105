--- The guest's archive as it comes: a source for the reader of tar archives.
local encoder = require "vmctl.cc.encoder"
local inside = require "vmctl.cc.backend.inside"
local relay = require "vmctl.cc_helper.vm.relay"
local wire = require "vmctl.cc.wire"

local M = {}

---@class vmctl.CcArchiveStream
local methods = {}
local mt = { __name = "vmctl.CcArchiveStream", __index = methods }

--- Has the guest begin.
---@param pool vmctl.CcPool
---@param excludes string[]
---@return vmctl.CcArchiveStream|nil, string?, integer?, table?
function M.open(pool, excludes)
  local answer, err, code, where = relay.ask(pool, "snapshot", inside.ARCHIVE, encoder.new():string_slice(excludes):bytes())
  if not answer then return nil, err, code, where end
  return setmetatable({ _pool = pool, _handle = answer:uint64(), _rest = "" }, mt)
end

-- The next bytes that have come; nil at the end.
local function fill(self)
  local payload = string.pack(">I8I4", self._handle, wire.PIECE)
  local answer = relay.ask(self._pool, "snapshot", wire.types.CONN_READ, payload)
  local data = answer and answer:string()
  if data and data ~= "" then return data end
end

--- Up to n bytes; nil at the end.
function methods:read(n)
  if n == 0 then return "" end
  if self._rest == "" then self._rest = fill(self) or "" end
  if self._rest == "" then return nil end
  local data = self._rest:sub(1, n)
  self._rest = self._rest:sub(n + 1)
  return data
end

--- Leaves n bytes out.
---@return boolean|nil
function methods:skip(n)
  while n > 0 do
    local data = self:read(n)
    if not data then return nil end
    n = n - #data
  end
  return true
end

function methods:close()
  relay.ask(self._pool, "snapshot", wire.types.CONN_CLOSE, string.pack(">I8", self._handle))
end

mt.__close = methods.close

return M
