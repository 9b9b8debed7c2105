--- vmctl-agent --lua: runs a script with the modules that are built in, for machines that have no Lua.
local M = {}

-- The agent itself never looks for Lua files; a script may have modules of its own beside those that are built in.
local function find_file(name)
  local path, why = package.searchpath(name, package.path)
  if not path then return why end
  return assert(loadfile(path)), path
end

local function fail(err)
  io.stderr:write("vmctl-agent: ", tostring(err), "\n")
  return 1
end

--- Runs a script to its end.
---@param path string "-" is standard input
---@param ... string its arguments, also in `arg`
---@return integer exit status 1 when it raised an error, which is then on standard error
function M.run(path, ...)
  table.insert(package.searchers, find_file)
  rawset(_G, "arg", { [0] = path, ... })
  local chunk, err = loadfile(path ~= "-" and path or nil)
  if not chunk then return fail(err) end
  local ok, why = xpcall(chunk, debug.traceback, ...)
  return ok and 0 or fail(why)
end

return M
