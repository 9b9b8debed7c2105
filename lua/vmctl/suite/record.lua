--- Keeps what a suite said in its artefacts' folder: results.json.
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

local function is_suite(value)
  if type(value) ~= "table" or type(value.files) ~= "table" then return false end
  for _, file in ipairs(value.files) do
    if type(file) ~= "table" or type(file.path) ~= "string" or type(file.tests) ~= "table" or type(file.mistakes) ~= "table" then
      return false
    end
    for _, test in ipairs(file.tests) do
      if type(test) ~= "table" or type(test.name) ~= "string" or type(test.status) ~= "string" then return false end
    end
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
