--- The clients of a stereos server: those that have sent no request yet, and lines to one, or to all that hear them.
local background = require "vmctl.base.background"
local log = require "vmctl.log"

local M = {}

local SEND_TIMEOUT = 30 -- seconds for which a client may take nothing of a reply
local NEWS = 16         -- lines to all that may wait for one client which reads slowly

---@class vmctl.StereosClients
local methods = {}
local mt = { __name = "vmctl.StereosClients", __index = methods }

function M.new()
  return setmetatable({
    _all = {},                                     -- records made by `enter`
    _silent = {}, _last = 0, _oldest = 1,          -- those that have sent no line yet, in the order of connecting
    _news = {}, _spreading = false,                -- lines to all that are still to be sent
  }, mt)
end

--- Remembers a connection.
---@param stream vmctl.Stream
---@return table client its record
function methods:enter(stream)
  self._last = self._last + 1
  local client = { stream = stream, news = {}, _number = self._last }
  self._silent[self._last], self._all[client] = client, true
  return client
end

--- Notes that the client has sent a line.
function methods:speaks(client)
  self._silent[client._number] = nil
end

function methods:leave(client)
  self._silent[client._number] = nil
  self._all[client] = nil
end

--- Removes and returns the client that has been silent for longest.
---@return table? client
function methods:take_silent()
  while self._oldest <= self._last do
    local client = self._silent[self._oldest]
    self._silent[self._oldest] = nil
    self._oldest = self._oldest + 1
    if client then return client end
  end
end

-- Only the connection's own task waits in a write; other tasks leave their lines here for it. A line is removed after it was
-- written, so that later lines queue behind it.
local function send_news(client)
  local news, ok, err, code = client.news, true, nil, nil
  while ok and news[1] do
    ok, err, code = client.stream:write(news[1], SEND_TIMEOUT)
    table.remove(news, 1)
  end
  return ok, err, code
end

--- Sends a line, from the connection's own task. Waits while the client does not take earlier lines.
---@param client table
---@param line string with its line feed
---@return true|nil, string?, string?
function M.send(client, line)
  local ok, err, code = client.stream:write(line, SEND_TIMEOUT)
  if ok and client.news[1] then return send_news(client) end
  return ok, err, code
end

--- Waits until all output is written.
---@return true|nil, string?, string?
function M.flush(client)
  local ok, err, code = client.stream:flush(SEND_TIMEOUT)
  client.stream:cork()
  return ok, err, code
end

-- Writes into the corked stream, which the loop flushes. With timeout 0, ETIMEDOUT means that its buffer is full.
local function tell(client, line)
  local news, code = client.news, "EBUSY"
  if not news[1] then code = select(3, client.stream:write(line, 0)) end
  if code == "EBUSY" and #news < NEWS then
    news[#news + 1] = line
  elseif code == "EBUSY" or code == "ETIMEDOUT" then
    log.info("stereos: %s: does not read what it is sent: closed", client.stream:label())
    client.stream:close()
  end
end

local function spread(self)
  while self._news[1] do
    local line, clients = table.remove(self._news, 1), {}
    for client in pairs(self._all) do -- clients may connect and leave between two writes
      if client.hears then clients[#clients + 1] = client end
    end
    for _, client in ipairs(clients) do tell(client, line) end
  end
  self._spreading = false
end

--- Sends a line to all whose record has `hears`, in the order of the calls, and never inside another line. Does not wait: a
--- client that does not read is closed before much output has collected for it.
---@param line string with its line feed
function methods:tell_all(line)
  if not next(self._all) then return end
  table.insert(self._news, line)
  if self._spreading then return end
  self._spreading = true
  -- in a task without limit or cancellation, which would look like a slow client
  background.spawn("stereos: lifecycle", spread, self)
end

return M
