--- The guest's connections that have no stream yet: offers them to Accept streams, and gives them up after their limit
--- (docs/wire/socketforward.md#accept). Each forward has a queue of its own.
local acceptors = require "vmctl.socketforward.acceptor"
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local log = require "vmctl.log"
local waiting_list = require "vmctl.socketforward.waiting_list"
local wire = require "vmctl.socketforward.wire"

local M = {}

local SHARE = 32    -- of them for one forward, so that a slow one leaves room for others
local LOOK = 0.25   -- seconds between two looks at deadlines and hang-ups

---@class vmctl.SocketforwardPending
local methods = {}
local mt = { __name = "vmctl.SocketforwardPending", __index = methods }

--- on_stream(connection) is called when the host has reported success; it returns false if there is no stream. on_late(id): it did,
--- but the connection has gone before.
---@param opts { pending_timeout: number, queue_timeout: number, on_stream: (fun(connection: table): boolean), on_late: fun(id: string) }
function M.new(opts)
  return setmetatable({
    _opts = opts, _all = {}, _queues = {}, _acceptors = {}, _turn = 0, _serves = {}, total = 0, room = core.queue(),
    counts = { accepted = 0, failed = 0, gone = 0, expired = 0 },
  }, mt)
end

local function push(self, connection, front)
  local queue = connection.forward.queue
  if waiting_list.is_empty(queue) then self._queues[#self._queues + 1] = queue end
  waiting_list.push(queue, connection, front)
  connection.state = "waiting"
end

-- Removes a connection that is served or failed.
local function let_go(connection)
  local acceptor, forward = connection.acceptor, connection.forward
  if acceptor then
    acceptor.requests[connection.id] = nil
    acceptor.in_hand, forward.in_hand, connection.acceptor = acceptor.in_hand - 1, forward.in_hand - 1, nil
  end
  return forward
end

local function remove(self, connection)
  local forward = let_go(connection)
  connection.state = "over"
  self._all[connection.id] = nil
  self.total, forward.pending = self.total - 1, forward.pending - 1
  self.room:wake()
end

-- Resets the connection, so that the process sees a failure and no ordinary end: see Stream:reset.
local function fail(self, connection, why, counter)
  remove(self, connection)
  connection.stream:reset()
  self.counts[counter or "failed"] = self.counts[counter or "failed"] + 1
  log.info("socketforward: %s: a connection failed: %s", connection.forward.label, why)
end

-- Offering

local function hand_out(self, connection, acceptor)
  connection.state, connection.acceptor, connection.sent = "handed", acceptor, false
  connection.deadline = core.now() + self._opts.pending_timeout
  acceptor.requests[connection.id] = connection
  acceptor.in_hand, connection.forward.in_hand = acceptor.in_hand + 1, connection.forward.in_hand + 1
  table.insert(acceptor.outbox, connection)
  acceptor.news:wake(1)
end

-- Offers one connection of a queue: true if that changed anything.
local function advance(self, queue)
  local connection = waiting_list.head(queue)
  if not connection or queue.forward.in_hand >= SHARE then return false end
  local acceptor, is_any = acceptors.choose(self, connection)
  if acceptor then
    waiting_list.pop(queue)
    hand_out(self, connection, acceptor)
    return true
  elseif not is_any and next(connection.tried) and #self._acceptors > 0 then
    waiting_list.pop(queue)
    fail(self, connection, wire.UNKNOWN)
    return true
  end
  return false
end

-- Advances each queue in turn until none changes.
local function advance_all(self)
  local moved = true
  while moved do
    moved = false
    for i = #self._queues, 1, -1 do
      if advance(self, self._queues[i]) then moved = true end
      if not waiting_list.head(self._queues[i]) then table.remove(self._queues, i) end
    end
  end
end

-- Watching

local function is_gone(connection)
  local _, gone, unread = connection.stream:hung_up()
  return gone and not unread -- bytes that the process sent before its end are still delivered
end

local function check(self, connection, now)
  if is_gone(connection) then
    acceptors.expect_late(connection)
    remove(self, connection)
    connection.stream:close()
    self.counts.gone = self.counts.gone + 1
  elseif now >= connection.deadline then
    acceptors.expect_late(connection)
    fail(self, connection, connection.acceptor and "the host did not answer in time" or "no host took it in time", "expired")
  end
end

local function watch(self)
  while self.total > 0 do
    if not core.sleep(LOOK) then return end
    local now = core.now()
    for _, connection in pairs(self._all) do check(self, connection, now) end
    advance_all(self)
  end
  self._watcher = nil
end

--- Adds the connection of a process. Does not wait.
---@param forward table id, label, queue, pending, in_hand
---@param stream vmctl.Stream
function methods:add(forward, stream)
  local id, err = wire.generate_stream_id(wire.PREFIX)
  if not id or self._all[id] then
    log.error("socketforward: %s: %s", forward.label, err or "an id was drawn twice")
    return stream:reset()
  end
  local connection = { id = id, forward = forward, stream = stream, tried = {} }
  connection.queued_until = core.now() + self._opts.queue_timeout
  connection.deadline = connection.queued_until
  self._all[id] = connection
  self.total, forward.pending = self.total + 1, forward.pending + 1
  self.counts.accepted = self.counts.accepted + 1
  push(self, connection)
  advance_all(self)
  if not self._watcher then self._watcher = background.spawn("socketforward: pending", watch, self) end
end

local function put_back(self, connection)
  let_go(connection)
  connection.deadline = connection.queued_until
  push(self, connection, true)
end

-- Accept streams

--- Adds an Accept stream.
---@return table acceptor
function methods:enter()
  local acceptor = acceptors.new()
  table.insert(self._acceptors, acceptor)
  advance_all(self)
  return acceptor
end

---@return integer how many Accept streams there are
function methods:hosts()
  return #self._acceptors
end

local function is_known_nowhere(text)
  return text:sub(1, #wire.UNKNOWN) == wire.UNKNOWN
end

--- Takes a result of the host. A result for an id that was not handed out on that stream is ignored.
---@param acceptor table
---@param result { stream_id: string, error: string }
function methods:settle(acceptor, result)
  local connection = acceptor.requests[result.stream_id]
  if not connection then
    if acceptors.is_late_success(acceptor, result) then self._opts.on_late(result.stream_id) end
    return
  end
  local id = connection.forward.id
  if is_known_nowhere(result.error) then
    acceptor.lacks[id] = true
    if self._serves[id] == acceptor then self._serves[id] = nil end
    connection.tried[acceptor] = true
    put_back(self, connection)
  else
    self._serves[id] = acceptor
    if result.error ~= "" then
      fail(self, connection, "the host says: " .. log.one_line(result.error, 300))
    elseif self._opts.on_stream(connection) then
      remove(self, connection)
    else
      fail(self, connection, "the host has not opened its stream")
    end
  end
  advance_all(self)
end

local function by_number(a, b) return a.id > b.id end

--- Removes an Accept stream that has ended: its sent requests fail, the others go to other streams.
function methods:leave(acceptor)
  for i, other in ipairs(self._acceptors) do
    if other == acceptor then table.remove(self._acceptors, i) break end
  end
  for id, other in pairs(self._serves) do
    if other == acceptor then self._serves[id] = nil end
  end
  local unsent = {}
  for _, connection in pairs(acceptor.requests) do
    if connection.sent then
      fail(self, connection, "the host's Accept stream has ended")
    else
      unsent[#unsent + 1] = connection
    end
  end
  table.sort(unsent, by_number) -- the last one first: each goes to the front
  for _, connection in ipairs(unsent) do put_back(self, connection) end
  advance_all(self)
end

--- Forwards with these ids are new: streams that did not know the ids are asked again.
function methods:learn(ids)
  for _, acceptor in ipairs(self._acceptors) do
    for _, id in ipairs(ids) do acceptor.lacks[id] = nil end
  end
end

--- Fails the connections of a forward, or all.
function methods:fail_all(forward, why)
  local list = {}
  for _, connection in pairs(self._all) do
    if not forward or connection.forward == forward then list[#list + 1] = connection end
  end
  for _, connection in ipairs(list) do
    acceptors.expect_late(connection)
    fail(self, connection, why)
  end
  advance_all(self)
end

return M
