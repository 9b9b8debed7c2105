--- Where the snapshots of a scenario's machines are: a private folder that goes with the scenario, or with this process.
local artefacts = require "vmctl.scenario.artefacts"
local core = require "vmctl.core"
local process = require "vmctl.process"

local M = {}

local PRIVATE = 448 -- 0700: a snapshot holds a guest's memory

local methods = {}
local mt = { __name = "vmctl.ScenarioStore", __index = methods }

--- A store without anything in it. Its folder is made when it is first needed.
---@return vmctl.ScenarioStore
function M.new()
  return setmetatable({ _ready = {} }, mt)
end

-- Snapshots are large, so a child removes them when this process ends without having done so: the pipe that it reads has no
-- writer then.
local function open(self)
  local path, err, code = core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-snapshots")
  if not path then return nil, err, code end
  self._path = path
  self._remover, err, code = process.spawn { "sh", "-c", 'cat >/dev/null; rm -rf -- "$1"', "sh", path, stdin = "pipe" }
  if not self._remover then return nil, err, code end
  return true
end

--- An empty folder for the snapshot of a machine, in place of one that was there.
---@param name string
---@return string|nil path, string?, string?
function methods:make(name)
  local ok, err, code = true, nil, nil
  if not self._path then ok, err, code = open(self) end
  if not ok then return nil, err, code end
  local folder = self._path .. "/" .. name
  artefacts.remove(folder)
  ok, err, code = core.fs.mkdir(folder, PRIVATE)
  if not ok then return nil, err, code end
  return folder
end

--- From now on copies may begin with what is in this machine's folder.
function methods:finish(name, folder)
  self._ready[name] = folder
end

--- The folder of a machine's finished snapshot, nil when it has none.
---@return string|nil
function methods:folder(name)
  return self._ready[name]
end

--- Removes everything. It can be used again. Idempotent; does not wait.
function methods:close()
  if self._path then artefacts.remove(self._path) end
  if self._remover then self._remover:close() end
  self._path, self._remover, self._ready = nil, nil, {}
end

return M
