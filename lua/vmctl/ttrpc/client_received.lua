--- Passes a client's received frames to their calls and streams.
local log = require "vmctl.log"
local wire = require "vmctl.ttrpc.wire"

local M = {}

local function deliver_data(self, entry, payload, flags)
  if flags & wire.REMOTE_CLOSED ~= 0 then self:forget(entry) end
  local inbox = entry:on_data(payload, flags)
  if inbox and inbox:is_full() and not self.frames:await_room(inbox, self._count) then
    entry:give_up(("stream full: %d messages were not read"):format(inbox:count()), "ETOOBIG")
  end
end

local NO_ANSWER = { "Data in place of the answer", "EPROTO" }

--- Passes a frame to its call or stream. Waits while a stream is full of unread messages.
---@param self vmctl.TtrpcConnection
---@param kind integer
---@param payload string
---@param id integer of the stream
---@param flags integer
function M.dispatch(self, kind, payload, id, flags)
  local entry = self._entries[id]
  if not entry then -- we have given it up, or it answers a frame that crossed its end
    if kind == wire.DATA and self._calls:fail(NO_ANSWER, id) then return end
    log.debug("ttrpc: %s: a frame of type %d for stream %d, which is not open", self.frames.label, kind, id)
  elseif kind == wire.RESPONSE then
    self:forget(entry)
    entry:on_response(payload)
  elseif kind == wire.DATA then
    deliver_data(self, entry, payload, flags)
  end
end

--- Fails the call or the stream of a frame above the limit. Does not wait.
---@param self vmctl.TtrpcConnection
---@param err string
---@param frame { stream: integer }
function M.refuse_oversize(self, err, frame)
  local entry, refused = self._entries[frame.stream], { code = 8, message = err, details = {} }
  if not entry then
    self._calls:fail({ err, "RESOURCE_EXHAUSTED", refused }, frame.stream)
  else
    self:forget(entry)
    entry:on_failure(err, "RESOURCE_EXHAUSTED", refused)
  end
end

return M
