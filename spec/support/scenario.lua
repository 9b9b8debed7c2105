--- Shared by the specs of scenarios: the options of their machines, and scenario specs that run in a busted of their own.
local core = require "vmctl.core"
local guest = require "spec.support.guest"
local vmctl = require "vmctl"

local M = {}

local LIMIT = 60 -- seconds for a busted of its own

--- Options that each machine of a scenario needs.
M.defaults = { kernel = guest.kernel, initrd = guest.image }

--- A folder for artefacts, removed by `remove`.
---@return string
function M.folder()
  return assert(core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-spec"))
end

M.remove = require "vmctl.scenario.artefacts".remove

--- All of a file; nil where there is none.
function M.read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "a"
  file:close()
  return text
end

-- The beginning of such a spec: DEFAULTS and ARTEFACTS are its machines' options and the folder.
local HEAD = [[
local scenario = require "vmctl".scenario
local DEFAULTS, ARTEFACTS = { kernel = %q, initrd = %q }, %q
]]

--- Runs a spec file with this text in a busted of its own.
---@param folder string where it is written, and finds ARTEFACTS
---@param text string
---@param output string busted's output handler: "TAP", "junit", "plainTerminal"
---@param env? table<string, string>
---@return { stdout: string, stderr: string, exit_code: integer }
function M.busted(folder, text, output, env)
  local path = folder .. "/inner_spec.lua"
  local file = assert(io.open(path, "w"))
  file:write(HEAD:format(guest.kernel, guest.image, folder .. "/artefacts"), text)
  file:close()
  -- busted's launcher may be another Lua than the one that it is told to start.
  local variables = { LUA_PATH_5_4 = package.path, LUA_CPATH_5_4 = package.cpath, LUA_PATH = ";;", LUA_CPATH = ";;" }
  for name, value in pairs(env or {}) do variables[name] = value end
  return assert(vmctl.host:run { "busted", "--lua=lua5.4", "-o", output, path, env = variables, timeout = LIMIT })
end

return M
