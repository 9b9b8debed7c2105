--- The command line that runs busted with this Lua.
local errors = require "vmctl.errors"

local M = {}

-- Finds busted's program, and reads its first line.
local function find_busted()
  for folder in (os.getenv "PATH" or ""):gmatch "[^:]+" do
    local file = io.open(folder .. "/busted")
    if file then
      local head = file:read "l"
      file:close()
      return folder .. "/busted", head or ""
    end
  end
end

--- The words that start busted. A Lua program is run by this Lua, as one process that receives the signals. LuaRocks installs a shell
--- script that executes Lua.
---@return string[]|nil words, string?, string? code ENOENT
function M.words()
  local path, head = find_busted()
  if not path then return errors.fail("ENOENT", "no busted here (Debian: lua-busted; luarocks install busted)") end
  local lua = os.getenv "LUA" or "lua5.4"
  if head:find "^#!.*lua" then return { lua, path, "--ignore-lua" } end
  return { path, "--lua=" .. lua }
end

-- Tells if a variable of Lua's leads to the same file as our own search path.
local function leads(variable, name, path)
  local set = os.getenv(variable .. "_5_4") or os.getenv(variable)
  local found = set and package.searchpath(name, set)
  return found ~= nil and found == package.searchpath(name, path)
end

--- The environment in which it finds these modules; empty if it finds them anyway. Only Lua 5.4 reads these variables: busted's launcher
--- can be another Lua.
---@return table<string, string>
function M.environment()
  return {
    LUA_PATH_5_4 = not leads("LUA_PATH", "vmctl.suite.handler", package.path) and package.path or nil,
    LUA_CPATH_5_4 = not leads("LUA_CPATH", "vmctl.core", package.cpath) and package.cpath or nil,
  }
end

return M
