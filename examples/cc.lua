-- cc-helper's protocol, both ends: a helper whose instance is a folder of this machine, and a client that works in there.
-- Usage: lua5.4 examples/cc.lua [IMAGE]
-- With an image (an archive of an OCI layout or of `docker save`, or a folder with a root file system) the instance is a guest:
-- for that, `make guest` has to have been run. You will see a file written and read, and a command's output.
local vmctl = require "vmctl"

local cc, host = vmctl.cc, vmctl.host

local function use(client, source)
  local instance = assert(client:instance { source = source })
  print("instance " .. assert(instance:id()))
  assert(instance.fs:mkdir_all "/work/notes")
  assert(instance.fs:write_file("/work/notes/hello", "hello from the host\n"))
  for _, entry in ipairs(assert(instance.fs:read_dir "/work")) do print("/work has " .. entry.name) end
  local command = assert(instance:command { "sh", "-c", "cat hello; uname -s" })
  assert(command:set_dir "/work/notes")
  local output, exit_code = assert(command:output())
  print(output .. "exit code " .. exit_code)
  assert(instance:close())
end

local function play_both(scope, image)
  local folder = assert(host:run { "mktemp", "-d", check = true }).stdout:gsub("\n", "")
  local helper <close> = assert(vmctl.cc_helper.new { root = not image and folder or nil })
  local server <close> = assert(cc.server(folder .. ".sock", helper:handler()))
  vmctl.spawn_in(scope, server.serve_one, server)
  local client <close> = assert(cc.connect(folder .. ".sock"))
  use(client, image or folder)
  host:run { "rm", "-r", folder }
end

vmctl.run(function() vmctl.scope(play_both, arg[1]) end)
