--- A guest's archive as it arrives: a source for the reader of tar archives.
local encoder = require "vmctl.cc.encoder"
local inside = require "vmctl.cc.backend.inside"
local relay = require "vmctl.cc_helper.vm.relay"
local wire = require "vmctl.cc.wire"

local M = {}

---@class vmctl.CcArchiveStream
local methods = {}
local mt = { __name = "vmctl.CcArchiveStream", __index = methods }

--- Asks the guest for its archive. Waits.
---@param pool vmctl.CcPool
---@param excludes string[]
---@return vmctl.CcArchiveStream|nil, string?, integer?, table?
function M.open(pool, excludes)
  local answer, err, code, where = relay.ask(pool, "snapshot", inside.ARCHIVE, encoder.new():string_slice(excludes):bytes())
  if not answer then return nil, err, code, where end
  return setmetatable({ _pool = pool, _handle = answer:uint64(), _piece = "", _at = 1 }, mt)
end

-- Reads the next piece if the last one is used up; nil at the end, or with a message and a code.
local function fill(self)
  if self._at <= #self._piece then return true end
  local payload = string.pack(">I8I4", self._handle, wire.PIECE)
  local answer, err, code = relay.ask(self._pool, "snapshot", wire.types.CONN_READ, payload)
  if not answer then
    if code == wire.codes.UNKNOWN and err == "EOF" then return nil end
    return nil, err, code
  end
  self._piece, self._at = answer:string() or "", 1
  if self._piece == "" then return nil, "snapshot: the agent's answer makes no sense", "EPROTO" end
  return true
end

--- Up to n bytes; nil at the end, or with a message and a code.
function methods:read(n)
  if n == 0 then return "" end
  local ok, err, code = fill(self)
  if not ok then return nil, err, code end
  local data = self._piece:sub(self._at, self._at + n - 1)
  self._at = self._at + #data
  return data
end

--- Skips n bytes.
---@return boolean|nil whether there were as many
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
