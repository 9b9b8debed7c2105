--- Keeps the results of a suite in its artefacts' folder: results.json.
local cjson = require "cjson"
local core = require "vmctl.core"
local errors = require "vmctl.errors"

local M = {}

local NAME = "results.json"
local MOST = 256 << 20 -- bytes

--- Writes it.
---@param folder string
---@param suite { files: vmctl.SuiteFile[], began: string, seconds: number }
---@return true|nil, string?, string?
function M.write(folder, suite)
  return core.fs.replace(folder .. "/" .. NAME, cjson.encode(suite) .. "\n")
end

local STATUS = { passed = true, failed = true, skipped = true, flaky = true }

local function may(value, kind) return value == nil or type(value) == kind end

local function is_test(test)
  return type(test) == "table" and type(test.name) == "string" and STATUS[test.status] and type(test.seconds) == "number" and
    may(test.message, "string") and may(test.trace, "string") and may(test.artefacts, "string") and
    (test.line == nil or math.tointeger(test.line)) and (test.attempts == nil or math.tointeger(test.attempts))
end

--- Tells if a value that was read is the result of a spec file.
---@param file any
---@return boolean
function M.is_file(file)
  if type(file) ~= "table" or type(file.path) ~= "string" or type(file.tests) ~= "table" or type(file.mistakes) ~= "table" then
    return false
  end
  for _, test in ipairs(file.tests) do
    if not is_test(test) then return false end
  end
  for _, mistake in ipairs(file.mistakes) do
    if type(mistake) ~= "table" or type(mistake.name) ~= "string" or type(mistake.message) ~= "string" then return false end
  end
  return type(file.seconds) == "number" and type(file.output) == "string" and may(file.ended, "string")
end

local function is_suite(value)
  if type(value) ~= "table" or type(value.files) ~= "table" then return false end
  for _, file in ipairs(value.files) do
    if not M.is_file(file) then return false end
  end
  return true
end

--- Reads it.
---@param folder string
---@return { files: vmctl.SuiteFile[], began: string?, seconds: number? }|nil, string?, string? code ENOENT, EPROTO
function M.read(folder)
  local path = folder .. "/" .. NAME
  local file = io.open(path, "rb")
  if not file then return errors.fail("ENOENT", "%s: no results of a suite there (vmctl test --jobs N writes them)", path) end
  local text = file:read(MOST) or ""
  file:close()
  local ok, suite = pcall(cjson.decode, text)
  if not ok or not is_suite(suite) then return errors.fail("EPROTO", "%s: these are no results of a suite", path) end
  return suite
end

return M
