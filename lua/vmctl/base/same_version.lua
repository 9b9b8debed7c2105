--- Raises, with advice, when this is another Lua, when the core is not found, and when the core and the Lua files have different
--- versions: one of them is left over from another installation.
if _VERSION ~= "Lua 5.4" then
  error("vmctl needs Lua 5.4, and this is " .. _VERSION .. ": start the script with lua5.4 (Debian, Ubuntu: apt install lua5.4)", 0)
end
if not package.loaded["vmctl.core"] and not package.preload["vmctl.core"] and not package.searchpath("vmctl.core", package.cpath) then
  error('vmctl.core is not found: in a checkout, make, and eval "$(make -s env)"; elsewhere make install, or luarocks; LUA_CPATH is '
    .. "where Lua looks", 0)
end

local core = require "vmctl.core"
local version = require "vmctl.base.version"

if core.version ~= version then
  local at = package.searchpath("vmctl.core", package.cpath) or "the core"
  error(("vmctl: %s is of version %s, the Lua files are of %s: install both from one place"):format(at, core.version or "before 0.2",
    version), 0)
end

return true
