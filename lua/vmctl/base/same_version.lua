--- Fails when the core and the Lua files are of different versions: one of them is left over from another installation.
local core = require "vmctl.core"
local version = require "vmctl.base.version"

if core.version ~= version then
  local at = package.searchpath("vmctl.core", package.cpath) or "the core"
  error(("vmctl: %s is of version %s, the Lua files are of %s: install both from one place"):format(at, core.version or "before 0.2",
    version), 0)
end

return true
