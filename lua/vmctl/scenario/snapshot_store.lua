--- Keeps the snapshots of a scenario's machines in a private folder, which is removed with the scenario or with this process.
local artefacts = require "vmctl.scenario.artefacts"
local core = require "vmctl.core"
local private_folder = require "vmctl.scenario.private_folder"

local M = {}

local PRIVATE = 448 -- 0700: a snapshot holds a guest's memory

---@class vmctl.ScenarioStore
local methods = {}
local mt = { __name = "vmctl.ScenarioStore", __index = methods }

--- An empty store. Its folder is made at first use.
---@return vmctl.ScenarioStore
function M.new()
  return setmetatable({ _ready = {} }, mt)
end

--- Makes an empty folder for the snapshot of a machine, and removes its earlier one.
---@param name string
---@return string|nil path, string?, string?
function methods:make(name)
  local err, code
  if not self._folder then self._folder, err, code = private_folder.open "vmctl-snapshots" end
  if not self._folder then return nil, err, code end
  local folder = self._folder.path .. "/" .. name
  artefacts.remove(folder)
  local ok
  ok, err, code = core.fs.mkdir(folder, PRIVATE)
  if not ok then return nil, err, code end
  return folder
end

--- Marks a machine's snapshot as complete: copies may start from it.
function methods:finish(name, folder)
  self._ready[name] = folder
end

--- The folder of a machine's complete snapshot, nil when it has none.
---@return string|nil
function methods:folder(name)
  return self._ready[name]
end

--- Removes all snapshots. The store can be used again. Idempotent, does not wait.
function methods:close()
  if self._folder then self._folder:close() end
  self._folder, self._ready = nil, {}
end

return M
