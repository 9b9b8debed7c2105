--- The tasks of a joined trunk: they tell and hear which switches the ends reach, ask if the other end is there, and watch its ports.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local join = require "vmctl.l2.trunk_join"
local reach = require "vmctl.l2.trunk_reach"
local talk = require "vmctl.l2.trunk_talk"

local M = {}

local function tell_link(self, name, link)
  local ids = reach.told(link.switch, link)
  local text = table.concat(ids)
  if link.said == text then return true end
  if #ids > reach.SWITCHES then
    return errors.fail("E2BIG", "network '%s' has more than %d switches", name, reach.SWITCHES)
  end
  link.said = text
  return talk.send(self._control, { type = "reach", network = name, ids = ids }, self._keepalive)
end

local function tell_news(self)
  while true do
    while not self._untold do
      local ok, err, code = self._news:wait(math.huge)
      if not ok then return nil, err, code end
    end
    self._untold = false
    for name, link in pairs(self._links) do
      local ok, err, code = tell_link(self, name, link)
      if not ok then return nil, err, code end
    end
  end
end

local function hear(self)
  while true do
    local message, err, code = talk.receive(self._control, math.huge)
    if not message then return nil, err, code end
    if message.type ~= "reach" then
      return errors.fail("EPROTO", "the other end says '%s' now", message.type)
    end
    local ok
    ok, err, code = join.take(self, message.network, message.ids)
    if not ok then return self:_refuse(err, code) end
  end
end

local function keep_alive(self)
  while core.sleep(self._keepalive / 3) do
    local ok, err, code = self._session:ping(self._keepalive)
    if not ok then return nil, code == "ETIMEDOUT" and "the other end does not answer" or err, code end
  end
  return errors.fail("ECANCELED", "cancelled")
end

-- Removing or disconnecting a port of a trunk ends the trunk.
local function watch(self, port)
  while port:state() == "connected" do
    local ok, err, code = port._changed:wait(math.huge)
    if not ok then return nil, err, code end
  end
  local state, reason = port:state()
  if not self._session:alive() then return self._session:reason() end
  return errors.fail(reason or "ECLOSED", "port %s of switch %s: %s", port.name, port._switch.name, state)
end

--- Works until there is a reason to end, which the trunk notes. Its tasks belong to `scope`. Waits.
---@param self vmctl.L2Trunk
---@param scope vmctl.Scope
function M.run(self, scope)
  self:_spawn(scope, hear, self)
  self:_spawn(scope, tell_news, self)
  self:_spawn(scope, keep_alive, self)
  for _, link in pairs(self._links) do self:_spawn(scope, watch, self, link.port) end
  while not self._why do
    local ok, err, code = self._over:wait(math.huge)
    if not ok then self:_note(nil, err, code) end
  end
end

return M
