-- Prints the C table of Lua modules that the agent carries: lua5.4 tools/embed.lua FILE.lua ... (paths below lua/).
local function c_bytes(text)
  local lines = {}
  for at = 1, #text, 24 do
    local numbers = {}
    for i = at, math.min(at + 23, #text) do numbers[#numbers + 1] = text:byte(i) end
    lines[#lines + 1] = table.concat(numbers, ",") .. ","
  end
  return table.concat(lines, "\n")
end

-- Precompiled with line numbers kept: tracebacks are worth the few kilobytes, parsing at every start is not.
local entries = {}
print '#include "agent/embedded.h"\n'
for i, path in ipairs(arg) do
  local name = path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
  local code = string.dump(assert(loadfile(path)), os.getenv "STRIP" ~= nil)
  print(("static const unsigned char module_%d[] = {\n%s\n};"):format(i, c_bytes(code)))
  entries[#entries + 1] = ('    { "%s", "=%s", (const char *)module_%d, sizeof module_%d },'):format(name, path, i, i)
end
print(("\nconst struct vmctl_embedded vmctl_embedded[] = {\n%s\n    { NULL, NULL, NULL, 0 }\n};"):format(
  table.concat(entries, "\n")))
