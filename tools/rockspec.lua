-- Prints the rockspec from what is in src/ and lua/.
local function list(command)
  local files = {}
  local pipe = assert(io.popen(command))
  for path in pipe:lines() do files[#files + 1] = path end
  pipe:close()
  table.sort(files)
  return files
end

local modules = {}
for _, path in ipairs(list "find lua/vmctl -name '*.lua'") do
  local name = path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
  modules[#modules + 1] = ('    ["%s"] = "%s",'):format(name, path)
end

local sources = {}
for _, path in ipairs(list "ls src/wire/*.c src/io/*.c src/lua/*.c") do
  sources[#sources + 1] = ('        "%s",'):format(path)
end

io.write(([[
rockspec_format = "3.0"
package = "vmctl"
version = "%s-1"
source = { url = "git+file://." }
description = {
  summary = "Run virtual machines from Lua: reach guests, know when they are ready, run pipelines in them",
  license = "MIT",
}
dependencies = { "lua ~> 5.4", "lua-cjson >= 2.1.0", "argparse >= 0.7" }
external_dependencies = { LIBEV = { header = "ev.h", library = "ev" } }
build = {
  type = "builtin",
  modules = {
    ["vmctl.core"] = {
      sources = {
%s
      },
      defines = { "_GNU_SOURCE" },
      incdirs = { "src", "$(LIBEV_INCDIR)" },
      libdirs = { "$(LIBEV_LIBDIR)" },
      libraries = { "ev", "m", "pthread" },
    },
%s
  },
  install = { bin = { "bin/vmctl", "bin/vmctl-cc-helper" } },
}
]]):format(dofile "lua/vmctl/base/version.lua", table.concat(sources, "\n"), table.concat(modules, "\n")))
