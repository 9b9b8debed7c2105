--- get_health: the state of the guest and of its agents, each of which describes itself in a file of a status folder:
--- { "name": …, "running": …, "session": …, "restarts": …, "error": … }; and those of StereOS' agentd, if that runs.
--- Agents are not trusted: their files are read with limits, and never waited for.
local agentd = require "vmctl.guest.agentd"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local json = require "vmctl.json"
local log = require "vmctl.log"
local task = require "vmctl.base.task"
local watch = require "vmctl.guest.watch"
local wire = require "vmctl.stereos.wire"

local S = wire.states

local M = {}

--- The status folder.
M.FOLDER = "/run/stereos/agents"

-- With these limits the health message is always shorter than a line may be.
local AGENTS, FILE_SIZE = 256, 64 << 10
local LENGTHS = { name = 128, session = 128, error = 512 }
local KINDS = { name = "string", running = "boolean", session = "string", restarts = "integer", error = "string" }

local GATHER = 0.5   -- seconds within which changes are reported together
local POLL = 5       -- seconds between two checks of a folder that can not be watched

---@class vmctl.GuestHealth
local methods = {}
local mt = { __name = "vmctl.GuestHealth", __index = methods }

-- Turns an agent's file into an entry of the protocol. An invalid file gives an entry with an error.
local function tidy(entry, name)
  local agent = { name = name, running = false, restarts = 0 }
  if type(entry) ~= "table" or json.is_array(entry) then
    agent.error = "status: not an object"
    return agent
  end
  for member, kind in pairs(KINDS) do
    local value = entry[member]
    if value ~= nil and (math.type(value) or type(value)) ~= kind then
      agent.error = ("status: '%s' is no %s"):format(member, kind)
      return agent
    end
  end
  for member in pairs(KINDS) do
    local value = entry[member]
    if LENGTHS[member] and value then value = log.one_line(value, LENGTHS[member]) end
    if value ~= nil and value ~= "" then agent[member] = value end
  end
  return agent
end

local function read_agent(path, name)
  local text, err = fs.read(path, FILE_SIZE)
  local entry = text
  if text then entry, err = json.decode(text) end
  if entry ~= nil then return tidy(entry, name) end
  return { name = name, running = false, restarts = 0, error = log.one_line("status: " .. err, LENGTHS.error) }
end

-- Reads a file only if it has changed.
local function look(self, file)
  local path = self._folder .. "/" .. file
  local info = fs.stat(path, true)
  if not info then return nil end -- it has been removed since
  local version = ("%d %d %d"):format(info.changed, info.size, info.inode)
  local known = self._cache[file]
  if known and known.version == version then return known end
  return { version = version, agent = read_agent(path, log.one_line(file:gsub("%.json$", ""), LENGTHS.name)) }
end

local function list_agents(self)
  local files, agents, cache = fs.list(self._folder) or {}, {}, {}
  table.sort(files)
  for _, file in ipairs(files) do
    local entry = #agents < AGENTS and file:sub(1, 1) ~= "." and look(self, file)
    if entry then
      cache[file] = entry
      agents[#agents + 1] = entry.agent
    end
  end
  self._cache = cache
  return agents
end

local function ask_hook(self)
  local agents = {}
  for i, entry in ipairs(self._hook() or {}) do
    if i > AGENTS then break end
    agents[i] = tidy(entry, "agent " .. i)
  end
  return agents
end

-- Lists the agents that agentd has, and tells if one of them is running.
local function ask_daemon(self)
  local list = self._phase == S.READY and self._agentd:agents() or {}
  local agents, running = {}, false
  for i, entry in ipairs(list) do
    if i > AGENTS // 2 then break end
    agents[i] = tidy(entry, "agent " .. i)
    running = running or agents[i].running
  end
  return agents, running
end

--- The agents: agentd's, then others in the order of their files' names.
---@return { name: string, running: boolean, restarts: integer, session: string?, error: string? }[] agents
---@return table own those that have files: each of them has to run, while agentd's may have done their work
---@return boolean running does one of agentd's run?
function methods:agents()
  if self._hook then
    local agents = ask_hook(self)
    return agents, agents, false
  end
  local own = list_agents(self)
  if not self._agentd then return own, own, false end
  local all, running = ask_daemon(self)
  for _, agent in ipairs(own) do
    if #all < AGENTS then all[#all + 1] = agent end
  end
  return all, own, running
end

local function describe(agents, running)
  for _, agent in ipairs(agents) do
    local why = agent.error or not agent.running and "not running"
    if why then return S.DEGRADED, ("%s: %s"):format(agent.name, why) end
  end
  return (agents[1] or running) and S.HEALTHY or S.READY
end

-- Derives the state and its reason from the guest's phase and its agents.
local function judge(self, own, running)
  if self._phase ~= S.READY then return self._phase, self._message end
  if self._message then return S.DEGRADED, self._message end
  return describe(own, running)
end

--- Reads the agents' files, and reports a changed state. Does not wait.
---@return string state, table agents
function methods:poll()
  local agents, own, running = self:agents()
  local state, message = judge(self, own, running)
  if state ~= self._state or message ~= self._why then
    self._state, self._why = state, message
    self._on_state(state, message)
  end
  return state, agents
end

--- Sets the guest's phase: "booting", "ready" (the state then depends on the agents), "shutdown".
---@param phase string
---@param message? string with "ready": the guest is degraded, whatever the agents' states are
function methods:enter(phase, message)
  self._phase, self._message = phase, message and log.one_line(message, LENGTHS.error)
  self:poll()
end

--- The answer to get_health.
---@return { state: string, agents: table, uptime_seconds: integer }
function methods:report()
  local state, agents = self:poll()
  return { state = state, agents = agents, uptime_seconds = (core.now() - self._began) // 1 | 0 }
end

local function await_change(self)
  if self._hook then return core.sleep(POLL) end
  local changes <close>, err = watch.folder(self._folder)
  self:poll()
  if changes then
    local ok, why, code = changes:read(nil, math.huge)
    if not ok then return nil, why, code end
    return core.sleep(GATHER)
  end
  log.info("health: %s", err)
  return core.sleep(POLL)
end

--- Watches the agents' files and reports changed states until it is cancelled. Waits. A folder without changes costs nothing.
---@return nil, string, string ECANCELED
function methods:run()
  return task.scope(function(scope)
    if self._agentd then task.spawn_in(scope, self._agentd.attend, self._agentd, function() self:poll() end) end
    local ok, err, code
    repeat
      ok, err, code = await_change(self)
      if ok and self._hook then self:poll() end
    until not ok
    scope:cancel()
    return errors.wrap("health", nil, err, code)
  end)
end

--- The health of a guest that is booting.
---@param opts { folder: string, agents: (fun(): table[])?, agentd: string?,
--- on_state: fun(state: string, message: string?)?, began: number? } agents: gives the entries in the folder's place; agentd: the
-- path of its socket; began: since when the guest is up, on our clock (now)
---@return vmctl.GuestHealth
function M.new(opts)
  return setmetatable({
    _folder = opts.folder, _hook = opts.agents, _agentd = opts.agentd and agentd.new(opts.agentd) or nil,
    _on_state = opts.on_state or function() end,
    _began = opts.began or core.now(),
    _cache = {}, _phase = S.BOOTING, _state = S.BOOTING,
  }, mt)
end

return M
