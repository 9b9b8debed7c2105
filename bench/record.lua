--- Keeps the figures of a run in docs/speed/results.json, a row on each line, and draws them (picture.lua).
-- A run of some benchmarks replaces their rows alone, if the machine is the one of the others; else it begins a new file.

local json = require "vmctl.json"

local M = {}

M.FOLDER = "docs/speed"

local function first_line(command)
  local pipe <close> = assert(io.popen(command .. " 2>/dev/null"))
  return pipe:read "l"
end

local function field_of(path, name)
  for line in io.lines(path) do
    local value = line:match("^" .. name .. "%s*[:=]%s*(.*)$")
    if value then return (value:gsub('^"(.*)"$', "%1")) end
  end
end

local VERSIONS = {
  { "C compiler", "${CC:-cc} --version" }, { "Lua", "${LUA:-lua5.4} -v" }, { "Go", "go version" },
  { "QEMU", "qemu-system-$(uname -m) --version" }, { "socat", "socat -V | sed -n 's/^socat version/socat/p'" }, { "tar", "tar --version" },
  { "cqueues", "dpkg-query -W lua-cqueues" }, { "luv", "dpkg-query -W lua-luv" }, { "libev", "dpkg-query -W libev4" },
  { "vde2", "dpkg-query -W vde2" },
}

local function versions()
  local list = {}
  for _, pair in ipairs(VERSIONS) do
    local line = first_line(pair[2])
    list[#list + 1] = line and ("%s: %s"):format(pair[1], (line:gsub("%s+", " "))) or nil
  end
  return list
end

local function accelerator()
  local platform = require "vmctl.machine.platform"
  local arch = platform.get()
  return arch and platform.accel(arch) == "kvm" and "KVM" or "emulated (TCG)"
end

--- Describes this machine, which the figures depend on.
---@return { cpu: string, cores: integer, memory_gib: number, kernel: string, system: string, guests: string, versions: string[] }
function M.machine()
  return {
    cpu = field_of("/proc/cpuinfo", "model name") or first_line "uname -m",
    cores = tonumber(first_line "nproc"),
    memory_gib = tonumber(field_of("/proc/meminfo", "MemTotal"):match "%d+") // (1 << 20) + 1,
    kernel = first_line "uname -sr", system = field_of("/etc/os-release", "PRETTY_NAME"),
    guests = accelerator(),
    versions = versions(),
  }
end

local function read(path)
  local file = io.open(path)
  if not file then return nil end
  local text = file:read "a"
  file:close()
  return (json.decode(text))
end

local function same(a, b) return a and b and a.cpu == b.cpu and a.cores == b.cores and a.kernel == b.kernel end

local MACHINE = { "cpu", "cores", "memory_gib", "kernel", "system", "guests", "versions" }
local ROW = { "benchmark", "group", "name", "kind", "unit", "less", "value", "low", "high", "peer", "peer_value", "ratio",
  "ratio_low", "ratio_high", "bound", "rounds", "commit", "note", "reason" }

-- The members in one order, so that two recordings can be compared line by line.
local function object(members, order)
  local parts = {}
  for _, key in ipairs(order) do
    local value = members[key]
    if math.type(value) == "float" then value = tonumber(("%.5g"):format(value)) end
    local is_number = value ~= math.huge and value == value
    if value ~= nil and is_number then parts[#parts + 1] = ("%q: %s"):format(key, assert(json.encode(value))) end
  end
  return "{" .. table.concat(parts, ", ") .. "}"
end

-- Rows of benchmarks that ran now, and the earlier ones of the others, in the order of `names`.
local function merged(old, rows, names)
  local of, list = {}, {}
  for _, set in ipairs { rows, old } do
    for _, row in ipairs(set) do
      local entry = of[row.benchmark] or { set = set }
      of[row.benchmark] = entry
      if entry.set == set then table.insert(entry, row) end
    end
  end
  for _, name in ipairs(names) do table.move(of[name] or {}, 1, #(of[name] or {}), #list + 1, list) end
  return list
end

--- Writes the rows of this run, and the pictures of all.
---@param rows table[] as run.lua makes them
---@param names string[] of all benchmarks, in their order
function M.write(rows, names)
  local path, machine = M.FOLDER .. "/results.json", M.machine()
  local old = read(path)
  local lines = {}
  for _, row in ipairs(merged(old and same(old.machine, machine) and old.rows or {}, rows, names)) do
    lines[#lines + 1] = "    " .. object(row, ROW)
  end
  do
    local file <close> = assert(io.open(path, "w"))
    file:write('{\n  "date": "', os.date "!%Y-%m-%d", '",\n  "machine": ', object(machine, MACHINE), ',\n  "rows": [\n',
      table.concat(lines, ",\n"), "\n  ]\n}\n")
  end
  require "picture".draw(M.FOLDER)
end

return M
