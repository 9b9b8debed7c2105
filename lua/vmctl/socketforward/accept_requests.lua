--- The guest's requests on an Accept stream: each is answered, and its connection made (docs/wire/socketforward.md#accept).
local background = require "vmctl.base.background"
local connection = require "vmctl.socketforward.connection"
local log = require "vmctl.log"
local wire = require "vmctl.socketforward.wire"

local M = {}

local AT_ONCE = 64            -- requests that are being dialled; others wait in the guest
local LONGEST_ID = 4096       -- bytes of an id that is refused with an answer
local SEND_TIMEOUT = 10       -- seconds to send a result

local function answer_on(stream, id)
  return function(text)
    local ok, err, code = stream:send({ stream_id = id, error = text }, SEND_TIMEOUT)
    if not ok then log.info("socketforward: a result could not be sent: %s", err) end
    return ok, err, code
  end
end

local function work(self, entry, id, answer)
  local ok, follow = pcall(connection.begin, entry, id, answer)
  self._at_work = self._at_work - 1 -- whether it succeeded or not
  self._freed:wake(1)
  if not ok then error(follow, 0) end
  if follow then follow() end
end

-- A request with an id that no stream can have is answered, so that the guest's connection ends; one that is longer than
-- any answer is not.
local function refuse_id(id, answer)
  log.info "socketforward: the guest sent a request with an id that is none"
  if #id > LONGEST_ID then return true end
  return answer "the id is empty or too long"
end

local function take(self, stream, request)
  local id, forward_id = request.stream_id, request.forward_id
  local answer, entry = answer_on(stream, id), self._table[forward_id]
  if id == "" or #id > wire.MAX_ID then return refuse_id(id, answer) end
  if not entry then
    log.info("socketforward: %s: %s", wire.UNKNOWN, log.one_line(forward_id, 80))
    return answer(("%s: %s"):format(wire.UNKNOWN, log.sanitize(forward_id, wire.MAX_ID)))
  end
  while self._at_work >= AT_ONCE do
    local ok, err, code = self._freed:wait(math.huge, "a place for a request")
    if not ok then return nil, err, code end
  end
  self._at_work = self._at_work + 1
  background.spawn("socketforward: " .. entry.label, work, self, entry, id, answer)
  return true
end

-- Tells if only the last message is broken, and not the stream.
local function is_passing(stream, code)
  return code == "EPROTO" and (stream:unread() > 0 or not stream:ended())
end

--- Takes the guest's requests until the stream ends. Waits.
---@param self vmctl.SocketforwardHub
---@param stream vmctl.TtrpcStream
---@return nil, string message, string code why it has ended
function M.serve(self, stream)
  while true do
    local request, err, code = stream:recv(math.huge)
    if request then
      request, err, code = take(self, stream, request)
    elseif is_passing(stream, code) then
      log.info("socketforward: %s", err)
      request = true
    end
    if not request then return nil, err, code end
  end
end

return M
