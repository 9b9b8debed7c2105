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

-- Copies a dumped chunk without the names of its local variables and upvalues, which are a sixth of it and only make some error
-- messages nicer. The format is that of Lua 5.4's ldump.c.
local HEAD = 4 + 1 + 1 + 6 + 3 + 8 + 8 + 1 -- signature to the number of upvalues
local FLOAT, INTEGER, SHORT, LONG = 0x13, 0x03, 0x04, 0x14

local function without_locals(dump)
  local at, out = HEAD + 1, { dump:sub(1, HEAD) }
  local function keep(from) out[#out + 1] = dump:sub(from, at - 1) end
  local function number()
    local value = 0
    repeat
      local byte = dump:byte(at)
      value, at = value << 7 | byte & 127, at + 1
    until byte & 128 ~= 0
    return value
  end
  local function text()
    local size = number()
    at = at + math.max(0, size - 1)
  end
  local function constant()
    local kind = dump:byte(at)
    at = at + 1
    if kind == FLOAT or kind == INTEGER then at = at + 8 elseif kind == SHORT or kind == LONG then text() end
  end
  local function times(fn)
    for _ = 1, number() do fn() end
  end
  local function proto()
    local from = at
    text() -- the source
    number() number() -- its first and last line
    at = at + 3
    local instructions = number()
    at = at + 4 * instructions
    times(constant)
    local upvalues = number()
    at = at + 3 * upvalues
    local protos = number()
    keep(from)
    for _ = 1, protos do proto() end
    from = at
    local lines = number()
    at = at + lines
    times(function() number() number() end)
    keep(from)
    times(function() text() number() number() end) -- locals
    times(text) -- upvalues
    out[#out + 1] = "\128\128"
  end
  proto()
  assert(at == #dump + 1, "not what Lua 5.4 dumps")
  return table.concat(out)
end

-- Precompiled with line numbers kept: tracebacks are worth the few kilobytes, parsing at every start is not. All in one array: each of
-- its own would be aligned.
local entries, codes, at = {}, {}, 0
print '#include "agent/embedded.h"\n'
for i, path in ipairs(arg) do
  local name = path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
  local code = without_locals(string.dump(assert(loadfile(path))))
  assert(load(code, path, "b"))
  codes[i] = c_bytes(code)
  entries[i] = ('    { "%s", "=%s", (const char *)modules + %d, %d },'):format(name, path, at, #code)
  at = at + #code
end
print(("static const unsigned char modules[] = {\n%s\n};"):format(table.concat(codes, "\n")))
print(("\nconst struct vmctl_embedded vmctl_embedded[] = {\n%s\n    { NULL, NULL, NULL, 0 }\n};"):format(
  table.concat(entries, "\n")))
