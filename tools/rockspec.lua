-- Prints the rockspec. The Makefile builds and installs the rock, so that it has what a checkout has: the core with one exported
-- symbol, the optional modules where their libraries are, the agent where its static libraries are.
-- lua5.4 tools/rockspec.lua [FOLDER]: where the archive of `make dist` is; a release names the place that it is uploaded to.
local text = [[
rockspec_format = "3.0"
package = "vmctl"
version = "%s-1"
source = { url = "file://@/vmctl-%s.tar.gz", dir = "vmctl-%s" }
description = {
  summary = "Run virtual machines from Lua: reach guests, know when they are ready, run pipelines in them",
  license = "MIT",
}
dependencies = { "lua ~> 5.4", "lua-cjson >= 2.1.0", "argparse >= 0.7" }
external_dependencies = { LIBEV = { header = "ev.h", library = "ev" } }
build = {
  type = "make",
  build_target = "rock",
  build_variables = {
    CFLAGS = "$(CFLAGS) -I$(LUA_INCDIR) -I$(LIBEV_INCDIR)", LDFLAGS = "-L$(LIBEV_LIBDIR)", LUA = "$(LUA)",
  },
  install_target = "install-rock",
  install_variables = { BINDIR = "$(BINDIR)", LUADIR = "$(LUADIR)", LIBDIR = "$(LIBDIR)", LUA = "$(LUA)" },
}
]]

local values = { ["%s"] = dofile "lua/vmctl/base/version.lua", ["@"] = arg[1] or "build/dist" }
io.write((text:gsub("%%s", values):gsub("@", values)))
