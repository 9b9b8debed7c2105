--- Keeps the snapshots of a scenario's machines: files without names, which end with the scenario, or with this process.
local snapshot = require "vmctl.scenario.snapshot"

local M = {}

---@class vmctl.ScenarioStore
local methods = {}
local mt = { __name = "vmctl.ScenarioStore", __index = methods }

--- Makes an empty store.
---@return vmctl.ScenarioStore
function M.new()
  return setmetatable({ _made = {}, _ready = {} }, mt)
end

--- Makes empty files for the snapshot of a machine, and closes its earlier ones. Does not wait.
---@param name string
---@return table|nil files, string?, string?
function methods:make(name)
  if self._made[name] then self._made[name].close() end
  local err, code
  self._made[name], err, code = snapshot.files()
  return self._made[name], err, code
end

--- Marks a machine's snapshot as complete: copies may start from it.
function methods:finish(name)
  self._ready[name] = self._made[name]
end

--- The files of a machine's complete snapshot, nil when it has none.
---@return table|nil
function methods:files(name)
  return self._ready[name]
end

--- Closes all snapshots. The store can be used again. Idempotent, does not wait.
function methods:close()
  for _, files in pairs(self._made) do files.close() end
  self._made, self._ready = {}, {}
end

return M
