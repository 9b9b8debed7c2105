--- Surveys a spec file without running a test: the names of its tests, and the needs of its scenarios' machines.
local busted_command = require "vmctl.suite.busted_command"
local children = require "vmctl.suite.child"
local cjson = require "cjson"
local core = require "vmctl.core"

local M = {}

local LIMIT = 120           -- seconds to load a file
local TEXT_MOST = 1 << 20   -- bytes of a spec file, of its list and of its needs

local serial = 0 -- of the files that are loaded

local function read(path)
  local file = io.open(path, "rb")
  if not file then return "" end
  local text = file:read(TEXT_MOST) or ""
  file:close()
  return text
end

-- The largest needs of a scenario of the file. Machines of two describes seldom run at the same time.
local function most(path)
  local memory, cpus = 0, 0
  for line in read(path):gmatch "[^\n]+" do
    local ok, needs = pcall(cjson.decode, line)
    if ok and type(needs) == "table" and math.type(needs.memory) and math.type(needs.cpus) then
      memory, cpus = math.max(memory, math.ceil(needs.memory)), math.max(cpus, math.ceil(needs.cpus))
    end
  end
  return memory, math.max(cpus, 1)
end

local BESIDE = "./?.lua;./?/init.lua" -- where a suite's own modules are

local function needs_in(text)
  return math.tointeger(tonumber(text:match "%-%- Needs: (%d+) MiB")), math.tointeger(tonumber(text:match "%-%- Needs: [^\n]-(%d+) cpu"))
end

-- The needs in comments of the modules that a file requires, where they are the suite's own: those below this folder.
local function needs_of_modules(text)
  local memory, cpus
  for name in text:gmatch 'require%s*%(?%s*"([%w_.]+)"' do
    local path = package.searchpath(name, BESIDE)
    if path then
      local more, processors = needs_in(read(path))
      if more then memory, cpus = math.max(memory or 0, more), math.max(cpus or 1, processors or 1) end
    end
  end
  return memory, cpus
end

--- Reads a file's comments, "-- Needs: 600 MiB, 2 cpus" and "-- Takes about 40 seconds"; a module of the suite can have the first one
--- for all files that require it.
---@param path string
---@return { memory: integer?, cpus: integer?, seconds: number?, scenarios: boolean }
function M.declared(path)
  local text = read(path)
  local memory, cpus = needs_in(text)
  if not memory then memory, cpus = needs_of_modules(text) end
  return {
    memory = memory, cpus = cpus,
    seconds = tonumber(text:match "%-%-[^\n]*Takes about (%d+) seconds"),
    scenarios = text:find("scenario", 1, true) ~= nil and text:find(".machines", 1, true) ~= nil,
  }
end

--- Loads a file by `busted --list`. Waits.
---@param path string
---@param words string[] more words for busted
---@param folder string where a file may be written meanwhile
---@return { tests: string[], memory: integer, cpus: integer }|nil, string?, string?
function M.load(path, words, folder)
  local command, err, code = busted_command.words()
  if not command then return nil, err, code end
  for _, word in ipairs(words) do command[#command + 1] = word end
  command[#command + 1], command[#command + 2] = "--list", path
  serial = serial + 1
  local needs = ("%s/needs-%d"):format(core.fs.real(folder), serial)
  command.env = busted_command.environment()
  command.env.VMCTL_SUITE_NEEDS = needs
  local parts, size = {}, 0
  local record
  record, err, code = children.run(command, { limit = LIMIT, take = function(bytes)
    size = size + #bytes
    if size <= TEXT_MOST then parts[#parts + 1] = bytes end
  end })
  local memory, cpus = most(needs)
  os.remove(needs)
  if not record then return nil, err, code end
  local tests = {}
  for name in table.concat(parts):gmatch "[^\n]+:%d+: ([^\n]*)" do tests[#tests + 1] = name end
  return { tests = tests, memory = memory, cpus = cpus }
end

return M
