std = "lua54"
max_line_length = 140
self = false
files["spec"] = { std = "+busted" }
files["examples/scenario"] = { std = "+busted" }
files["*.rockspec"] = { std = "+rockspec" }
files[".luacheckrc"] = { std = "+luacheckrc" }
files["lua/vmctl/annotations/core.lua"] = { ignore = { "211", "212", "241" } }
files["lua/vmctl/annotations/modules.lua"] = { ignore = { "211", "212", "241", "631" } }
