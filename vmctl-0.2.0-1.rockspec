rockspec_format = "3.0"
package = "vmctl"
version = "0.2.0-1"
source = { url = "file://build/dist/vmctl-0.2.0.tar.gz", dir = "vmctl-0.2.0" }
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
