--- An Accept stream of the guest's side: its pending requests, and the late answers that it may still get
--- (docs/wire/socketforward.md#accept).
local core = require "vmctl.core"
local log = require "vmctl.log"

local M = {}

local WINDOW = 64   -- unanswered requests of an Accept stream: as many as the reference's client takes
local LATE = 1024   -- ids that an Accept stream has and whose connections have gone: the host may still report success

--- Makes one. Does not wait.
function M.new()
  return { requests = {}, in_hand = 0, lacks = {}, late = { last = 0 }, outbox = {}, news = core.queue() }
end

--- Chooses an Accept stream with room for a connection: the one that is known to serve the id, else in turn; streams that did not know
--- the id come last. Does not wait.
---@param self vmctl.SocketforwardPending
---@param connection table
---@return table|nil acceptor, boolean? is_any there is a stream that has not refused it
function M.choose(self, connection)
  local id, tried, list = connection.forward.id, connection.tried, self._acceptors
  local known = self._serves[id]
  if known and not tried[known] then return known.in_hand < WINDOW and known or nil, true end
  local last, is_any
  for i = 1, #list do
    local acceptor = list[(self._turn + i - 1) % #list + 1]
    if not tried[acceptor] then
      is_any = true
      local has_room = acceptor.in_hand < WINDOW
      if has_room and not acceptor.lacks[id] then
        self._turn = self._turn + i
        return acceptor, true
      end
      last = last or has_room and acceptor or nil
    end
  end
  return last, is_any
end

--- Notes that the host may still answer for a connection that is about to go, or be given up. Does not wait.
---@param connection table
function M.expect_late(connection)
  local acceptor = connection.acceptor
  if not acceptor or not connection.sent then return end
  local late = acceptor.late
  late.last = late.last + 1
  late[late.last], late[connection.id] = connection.id, true
  local oldest = late.last - LATE
  if late[oldest] then late[late[oldest]], late[oldest] = nil, nil end
end

--- Takes a result for an id that is not pending any more, or never was. True: it is the success of a connection that has gone. Does not
--- wait.
---@param acceptor table
---@param result { stream_id: string, error: string }
---@return boolean
function M.is_late_success(acceptor, result)
  if not acceptor.late[result.stream_id] then
    log.debug "socketforward: a result for no connection that is pending"
    return false
  end
  acceptor.late[result.stream_id] = nil
  return result.error == ""
end

--- The next request to be sent on an Accept stream. Waits.
---@param acceptor table
---@return table|nil connection, string?, string?
function M.next_request(acceptor)
  while true do
    local connection = table.remove(acceptor.outbox, 1)
    if connection and connection.acceptor == acceptor then
      connection.sent = true
      return connection
    elseif not connection then
      local ok, err, code = acceptor.news:wait(math.huge, "a connection")
      if not ok then return nil, err, code end
    end
  end
end

--- Offers connections to the host. Waits, until the acceptor's scope ends.
---@param acceptor table
---@param stream vmctl.TtrpcIncoming
---@param scope vmctl.Scope of the acceptor: a host that does not read gets no more requests
function M.send_requests(acceptor, stream, scope)
  while true do
    local connection = M.next_request(acceptor)
    if not connection then return end
    local ok, err = stream:send { stream_id = connection.id, forward_id = connection.forward.id }
    if not ok then
      log.info("socketforward: a request could not be sent: %s", err)
      return scope:cancel()
    end
  end
end

--- Takes the host's results. Waits, until the stream or its input ends.
---@param acceptor table
---@param stream vmctl.TtrpcIncoming
---@param pending vmctl.SocketforwardPending
---@return nil, string, string code EOF …
function M.take_results(acceptor, stream, pending)
  while true do
    local result, err, code = stream:recv(math.huge)
    if result then
      pending:settle(acceptor, result)
    elseif code == "EPROTO" then
      log.info("socketforward: %s", err)
    else
      return nil, err, code
    end
  end
end

return M
