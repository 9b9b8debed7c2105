--- Connections to the agent in a guest: a request takes an idle one, or a new one, so that no request waits for another.
local dial = require "vmctl.net.dial"
local wire = require "vmctl.cc.wire"

local M = {}

local MOST_IDLE = 8
local DIAL_TIMEOUT = 20
local CALL_TIMEOUT = 120 -- seconds for a request that does not wait for others

---@class vmctl.CcPool
local methods = {}
local mt = { __name = "vmctl.CcPool", __index = methods }

--- A pool without connections.
---@param where any an address
function M.new(where)
  return setmetatable({ _where = where, _idle = {} }, mt)
end

local function take(self)
  local stream = table.remove(self._idle)
  if stream then return stream end
  local err, code
  stream, err, code = dial.dial(self._where, { timeout = DIAL_TIMEOUT })
  if not stream then return nil, err, code end
  return stream:set_format(wire.format)
end

local function give(self, stream)
  if self._closed or #self._idle >= MOST_IDLE then return stream:close() end
  table.insert(self._idle, stream)
end

--- Sends a request and waits for its answer. A connection without an answer is closed.
---@param kind integer
---@param payload string
---@return integer|nil kind, string payload, string? code
function methods:call(kind, payload)
  if self._closed then return nil, "the instance is closed", "ECLOSED" end
  local stream, err, code = take(self)
  if not stream then return nil, err, code end
  local guard <close> = setmetatable({}, { __close = function() if stream then stream:close() end end }) -- luacheck: ignore
  local ok
  ok, err, code = stream:write_frame(kind, payload, CALL_TIMEOUT)
  if not ok then return nil, err, code end
  local answer, body
  answer, body, code = stream:read_frame(wire.may_block[kind] and math.huge or CALL_TIMEOUT)
  if not answer then return nil, body, code end
  give(self, stream)
  stream = nil
  return answer, body
end

--- Opens a connection and keeps it: the agent forgets all handles when its last connection ends.
---@return true|nil, string?, string?
function methods:keep_one()
  local stream, err, code = take(self)
  if not stream then return nil, err, code end
  self._kept = stream
  return true
end

function methods:close()
  self._closed = true
  for _, stream in ipairs(self._idle) do stream:close() end
  if self._kept then self._kept:close() end
  self._idle, self._kept = {}, nil
end

return M
