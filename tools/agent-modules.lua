-- Prints the files below lua/ that the agent carries: what its main program needs, directly or not, and what a script that it
-- runs (--lua) is to find besides: lua5.4 tools/agent-modules.lua
local ROOTS = {
  "vmctl", "vmctl.agent.main", "vmctl.agent.script", "vmctl.host", "vmctl.vsock", "vmctl.channel", "vmctl.protocol.exec",
  "vmctl.protocol.stereos", "vmctl.protocol.ttrpc", "vmctl.protocol.socketforward", "vmctl.pipeline", "vmctl.signals",
}

-- Looked for only where they are: a guest does not launch machines, and is not where programs are debugged.
local WITHOUT = { "^vmctl%.machine", "^vmctl%.trace$", "^vmctl%.replay" }

local function file_of(name)
  local path = "lua/" .. name:gsub("%.", "/")
  for _, candidate in ipairs { path .. ".lua", path .. "/init.lua" } do
    local file = io.open(candidate)
    if file then return candidate, file end
  end
end

local function is_left_out(name)
  for _, pattern in ipairs(WITHOUT) do
    if name:find(pattern) then return true end
  end
  return false
end

local found, list = {}, {}

local function add(name)
  if found[name] or is_left_out(name) then return end
  found[name] = true
  local path, file = file_of(name)
  if not path then return end -- of C, or not ours
  list[#list + 1] = path
  local text = file:read "a"
  file:close()
  for needed in text:gmatch 'require%s*%(?%s*"(vmctl[%w_.]*)"' do add(needed) end -- lazy ones as well
end

for _, name in ipairs(ROOTS) do add(name) end
table.sort(list)
print(table.concat(list, "\n"))
