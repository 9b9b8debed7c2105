--- Tells a program that plans test runs the memory and processors that a scenario's machines need. `vmctl test --jobs` loads each file
--- with the environment variable VMCTL_SUITE_NEEDS, which names a file; each scenario adds a line of JSON to it.
local cjson = require "cjson"

local M = {}

local MEMORY = 256      -- MiB that a machine has by default
local EMULATOR = 96     -- MiB of QEMU itself
local UNITS = { K = 1 / 1024, M = 1, G = 1024, T = 1024 * 1024, [""] = 1 }

local function mebibytes(memory)
  local number, unit = tostring(memory or MEMORY):match "^(%d+)([KMGT]?)$"
  return number and math.ceil(tonumber(number) * UNITS[unit]) or MEMORY
end

--- The needs of machines together.
---@param specs table<string, vmctl.ScenarioSpec> by name, with the defaults in them
---@return { memory: integer, cpus: integer } memory in MiB
function M.of(specs)
  local memory, cpus = 0, 0
  for _, spec in pairs(specs) do
    memory = memory + mebibytes(spec.memory) + EMULATOR
    cpus = cpus + (spec.cpus or 1)
  end
  return { memory = memory, cpus = cpus }
end

--- Adds a line, where a program asks for it.
---@param specs table<string, vmctl.ScenarioSpec>
function M.tell(specs)
  local path = os.getenv "VMCTL_SUITE_NEEDS"
  local file = path and io.open(path, "a")
  if not file then return end
  file:write(cjson.encode(M.of(specs)), "\n")
  file:close()
end

return M
