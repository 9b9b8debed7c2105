-- Messages of one's own .proto: loaded as it is, through protoc; or compiled before, by protoc-c and a C compiler, with a list of the
-- messages by tools/pb-messages.
-- usage: lua5.4 examples/protobuf.lua [compiled]
-- prints what the .proto holds, and two machines that went through its bytes; without protoc-c, that it needs it.
local vmctl = require "vmctl"
local pb = vmctl.protobuf

-- Builds the object, as a Makefile would. The folder can go once the object is loaded.
local BUILD = [[
set -e
root=$PWD
protoc-c -Iexamples/protobuf --c_out=FOLDER fleet.proto
cd FOLDER
"$root/tools/pb-messages" vmctl_messages fleet.pb-c.h >list.c
cc -shared -fPIC -I. -o fleet.so fleet.pb-c.c list.c -lprotobuf-c
]]

local function load_compiled()
  local folder = assert(vmctl.host:run { "mktemp", "-d", check = true }).stdout:gsub("\n", "")
  assert(os.execute((BUILD:gsub("FOLDER", folder))))
  local names = assert(pb.load(folder .. "/fleet.so"))
  os.execute("rm -r " .. folder)
  return names
end

if not pb.available or not os.execute "command -v protoc-c >/dev/null" then
  print "skipped: needs libprotobuf-c-dev and protobuf-c-compiler"
  return
end

local names = arg[1] == "compiled" and load_compiled() or assert(pb.load "examples/protobuf/fleet.proto")
print("loaded " .. table.concat(names, ", "))
for _, field in ipairs(pb.fields "fleet.Machine") do
  print(("  %d %s %s"):format(field.number, field.map and "map" or field.type, field.name))
end
local bytes = assert(pb.encode("fleet.Machines", {
  machines = { { name = "web", state = "RUNNING", cpus = 4, labels = { zone = "a" } }, { name = "spare" } },
}))
print(#bytes .. " bytes")
for _, machine in ipairs(assert(pb.decode("fleet.Machines", bytes)).machines) do
  print(("%s: state %d, %d CPUs, zone %s"):format(machine.name, machine.state, machine.cpus, machine.labels.zone))
end
print(select(2, pb.encode("fleet.Machine", { name = "web", cpus = -1 })))
