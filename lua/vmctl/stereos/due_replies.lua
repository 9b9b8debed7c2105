--- The replies that are due on a connection, in the order of their requests (docs/wire/stereos.md#ack-rules).
local core = require "vmctl.core"
local log = require "vmctl.log"
local wire = require "vmctl.stereos.wire"

local M = {}

local IDLE_RECORDS = 64 -- records of finished requests that are kept for reuse

---@class vmctl.StereosDueReplies records from `first` to `last`: request; queue; kind and payload of the reply, or lost and code
local methods = {}
local mt = { __name = "vmctl.StereosDueReplies", __index = methods }

--- None is due. Does not wait.
---@return vmctl.StereosDueReplies
function M.new()
  return setmetatable({ first = 1, last = 0 }, mt)
end

--- The reason why a message is no answer to a request; nil if it is one. Does not wait.
---@param request string|nil its type; nil: there is none
---@param kind string
---@param payload table|string
---@return string|nil
function M.mismatch(request, kind, payload)
  if not request then return ("a message of type '%s' that nobody asked for"):format(log.one_line(kind, 40)) end
  if wire.answers(request, kind, payload) then return nil end
  local named = kind == "ack" and (" of '%s'"):format(log.one_line(payload.reply_to, 40)) or ""
  return ("%s%s in place of the reply to %s"):format(log.one_line(kind, 40), named, request)
end

--- Tells if no reply is due. Does not wait.
---@return boolean
function methods:is_empty()
  return self.first > self.last
end

local function take_record(self)
  local record, idle = self._spare, self._idle
  if record then
    self._spare = nil
  else
    record = idle and table.remove(idle)
  end
  if not record then return { queue = core.queue() } end
  record.kind, record.payload = nil, nil
  return record
end

--- Keeps a record for the next request. Does not wait.
---@param record table whose reply has come
function methods:keep(record)
  local idle = self._idle
  if not self._spare then
    self._spare = record
  elseif not idle then
    self._idle = { record }
  elseif #idle < IDLE_RECORDS then
    idle[#idle + 1] = record
  end
end

--- Adds a request that is about to be sent. Does not wait.
---@param request string
---@return table record
function methods:add(request)
  local record = take_record(self)
  record.request = request
  local last = self.last + 1
  if self.first == last then -- empty: begin anew, so that the numbers stay small
    self.first, last = 1, 1
  end
  self[last], self.last = record, last
  return record
end

--- Adds a request whose reply comes before those of the others. Does not wait.
---@param request string
function methods:add_first(request)
  self.first = self.first - 1
  self[self.first] = { request = request, queue = core.queue() }
end

--- Hands a reply to the first request. Does not wait.
---@param kind string
---@param payload table|string
---@return string|nil why it is no reply to that
function methods:deliver(kind, payload)
  local first = self.first
  local record = self[first]
  local why = M.mismatch(record and record.request, kind, payload)
  if why then return why end
  self[first], self.first = nil, first + 1
  record.kind, record.payload = kind, payload
  record.queue:wake(1)
end

--- No reply will come: every call that waits for one gets the reason. Does not wait.
---@param message string
---@param code string
function methods:lose(message, code)
  for at = self.first, self.last do
    local record = self[at]
    self[at] = nil
    if record then
      record.lost, record.code = message, code
      record.queue:wake(1)
    end
  end
  self.first, self.last = 1, 0
end

return M
