-- vmctl: calls of cc-helper's protocol, one at a time; and a file that is read in pieces.
-- Usage: cc_call.lua server SOCKET | cc_call.lua client SOCKET id|stat|read WARMUP COUNT | cc_call.lua file SOCKET BYTES

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local support = require "support"
local vmctl = require "vmctl"

local cc = vmctl.cc
local role, path = arg[1], arg[2]
local PIECE = 64 << 10
local FILE_PIECE = 1 << 20
local FILE_SIZE = 16 << 20
local FILE = "/file"

local function serve()
  local folder = path .. ".root"
  assert(require("vmctl.core").fs.mkdir(folder, 448))
  local file <close> = assert(io.open(folder .. FILE, "w"))
  file:write(("\0"):rep(FILE_SIZE))
  file:flush()
  local helper = assert(require("vmctl.cc_helper").new { root = folder })
  local server = assert(cc.server(path, helper:handler()))
  support.ready()
  assert(server:serve())
end

local calls = {
  id = function(vm) assert(#vm:id() == 36) end,
  stat = function(vm) assert(vm.fs:stat(FILE).size == FILE_SIZE) end,
}

-- Reads the file from its beginning to its end, again and again.
local function reader(vm)
  local file = assert(vm.fs:open(FILE))
  local left = FILE_SIZE // PIECE
  return function()
    if left == 0 then
      assert(file:seek "set")
      left = FILE_SIZE // PIECE
    end
    left = left - 1
    assert(#file:read(PIECE) == PIECE)
  end
end

-- The helper's machine is the folder.
local function boot(client)
  return assert(client:instance { directory = "/" })
end

local function measure(kind, warmup, count)
  local client <close> = assert(cc.connect(path))
  local vm = boot(client)
  local call = calls[kind] or reader(vm)
  for _ = 1, warmup do call(vm) end
  local start = vmctl.now()
  for _ = 1, count do call(vm) end
  support.result("rate", count / (vmctl.now() - start))
end

local function read_file(bytes)
  local client <close> = assert(cc.connect(path))
  local file <close> = assert(boot(client).fs:open(FILE))
  local start = vmctl.now()
  for _ = 1, bytes // FILE_SIZE do
    for _ = 1, FILE_SIZE // FILE_PIECE do assert(#file:read(FILE_PIECE) == FILE_PIECE) end
    assert(file:seek "set")
  end
  support.result("mib_rate", bytes / (1 << 20) / (vmctl.now() - start))
end

if role == "server" then
  vmctl.run(serve)
elseif role == "file" then
  vmctl.run(read_file, tonumber(arg[3]))
else
  vmctl.run(measure, arg[3], tonumber(arg[4]), tonumber(arg[5]))
end
