--- A unary call: the connection's entry for it.
local log = require "vmctl.log"
local status = require "vmctl.ttrpc.status"
local wire = require "vmctl.ttrpc.wire"

local M = {}

local call = {}
local call_mt = { __index = call }

local function wake(self)
  self.done = true
  if self.queue then self.queue:wake(1) end
end

function call:on_response(bytes)
  self.answer = bytes
  wake(self)
end

function call:on_failure(err, code, refused)
  self.err, self.code, self.status = err, code, refused
  wake(self)
end

function call:on_data()
  self.connection:forget(self)
  self:on_failure("Data in place of the answer", "EPROTO")
end

local function is_done(entry)
  return entry.done
end

--- The payload of an answer's envelope: a table if its type is known and it is not empty. Does not wait.
---@param envelope string
---@param response_type? string
---@return table|string|nil payload, string?, string? code a status' name, EPROTO; table? status
function M.opened(envelope, response_type)
  local response, err = wire.decode_response(envelope, response_type)
  if not response and response_type then response, err = wire.decode_response(envelope) end -- it may hold an error status
  if not response then return nil, "the answer: " .. err, "EPROTO" end
  local refused = response.status
  if refused and refused.code ~= 0 then
    return nil, log.one_line(refused.message, 4096), status.name(refused.code), refused
  end
  return response.payload
end

--- Makes a call and returns its payload as `opened` does. Waits.
---@param connection vmctl.TtrpcConnection
---@param deadline number
---@param response_type? string
---@param ... any the request, as for the connection
---@return table|string|nil payload, string?, string?, table?
function M.exchange(connection, deadline, response_type, ...)
  local entry = setmetatable({ -- with room for all fields of a call
    connection = connection, id = nil, queue = nil, done = nil, answer = nil, err = nil, code = nil, status = nil,
  }, call_mt)
  local ok, err, code = connection:open(entry, 0, deadline, deadline, ...)
  if not ok then return nil, err, code end
  ok, err, code = connection:await(entry, is_done, deadline)
  if not entry.done then
    connection:forget(entry)
    if code == "ETIMEDOUT" then err = "no answer in time" end
    if not ok then return nil, err, code end
  end
  if not entry.answer then return nil, entry.err, entry.code, entry.status end
  return M.opened(entry.answer, response_type)
end

return M
