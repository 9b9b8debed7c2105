--- Messages for the specs of protobuf: plug-ins made of spec/protobuf/*.proto, and wire format written by hand.
local core = require "vmctl.core"

local M = {}

-- FOLDER and NAME are replaced.
local BUILD = [[
set -e
root=$PWD
protoc-c -Ispec/protobuf --c_out=FOLDER NAME.proto
cd FOLDER
"$root/tools/pb-messages" vmctl_messages NAME.pb-c.h >NAME_list.c
cc -O1 -shared -fPIC -I. -o NAME.so NAME.pb-c.c NAME_list.c -lprotobuf-c
]]

--- Builds a plug-in of spec/protobuf/NAME.proto in a folder, and gives back its path.
function M.build(folder, name)
  assert(os.execute((BUILD:gsub("FOLDER", folder):gsub("NAME", name))))
  return folder .. "/" .. name .. ".so"
end

--- Builds and loads one. Its file is gone afterwards, what was loaded stays.
function M.load(name)
  local folder = assert(core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-spec"))
  local path = M.build(folder, name)
  local names, err = require "vmctl.protobuf".load(path)
  os.execute("rm -r " .. folder)
  return assert(names, err)
end

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

--- The descriptor set of NAME.proto in a folder, as protoc writes it; without what it imports, if that is asked for.
function M.set(folder, name, alone)
  local path = os.tmpname()
  local command = "protoc-c -I%s -Iproto %s --descriptor_set_out=%s %s.proto"
  local made = os.execute(command:format(folder, alone and "" or "--include_imports", path, name))
  local bytes = made and read(path)
  os.remove(path)
  return assert(bytes, "no descriptor set of " .. name)
end

--- Another vmctl.protobuf, with messages of its own: a plug-in's and a set's of one name can be compared.
function M.another()
  local names, kept = { "vmctl.pb", "vmctl.protobuf" }, {}
  for _, name in ipairs(names) do
    kept[name] = package.loaded[name]
    package.loaded[name] = nil
  end
  local pb = require "vmctl.protobuf"
  for _, name in ipairs(names) do package.loaded[name] = kept[name] end
  return pb
end

function M.varint(value)
  local bytes = {}
  while math.ult(127, value) do
    bytes[#bytes + 1] = string.char(value & 127 | 128)
    value = value >> 7
  end
  return table.concat(bytes) .. string.char(value)
end

--- A field with its tag: `content` is a varint for wire type 0, a text for 2 (its length is put before it), bytes otherwise.
function M.field(number, wire, content)
  local tag = M.varint(number << 3 | wire)
  if wire == 0 then return tag .. M.varint(content) end
  if wire == 2 then return tag .. M.varint(#content) .. content end
  return tag .. content
end

return M
