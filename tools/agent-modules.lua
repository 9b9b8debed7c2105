-- Prints the files below lua/ that the agent carries: those that its main program needs, directly or not, and further ones for scripts
-- that it runs (--lua): lua5.4 tools/agent-modules.lua
local ROOTS = {
  "vmctl", "vmctl.agent.main", "vmctl.agent.run_script", "vmctl.host", "vmctl.vsock", "vmctl.base.channel", "vmctl.exec",
  "vmctl.stereos", "vmctl.ttrpc", "vmctl.socketforward", "vmctl.pipeline", "vmctl.signals", "vmctl.address", "vmctl.format",
}

-- Left out, though something that is carried would load it if it came to that: a guest does not launch machines, is not where
-- programs are debugged, and is the other end of socket forwarding and of the control plane.
local WITHOUT = {
  "^vmctl%.machine", "^vmctl%.trace$", "^vmctl%.replay", "^vmctl%.forward", "^vmctl%.socketforward%.forwarder$",
  "^vmctl%.socketforward%.accept_client$", "^vmctl%.stereos%.client", "^vmctl%.stereos%.wait$", "^vmctl%.ttrpc%.client$",
  "^vmctl%.ttrpc%.client_connection$", "^vmctl%.ttrpc%.client_stream$", "^vmctl%.protobuf%.",
}

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
  for needed in text:gmatch 'require%s*%(?%s*"(vmctl[%w_.]*%w)"' do add(needed) end -- lazy ones as well
end

for _, name in ipairs(ROOTS) do add(name) end
table.sort(list)
print(table.concat(list, "\n"))
