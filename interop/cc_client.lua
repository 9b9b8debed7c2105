--- cc-helper's protocol: our client drives a helper in Go.
local support = require "support"
local vmctl = require "vmctl"

local function check_calls(report, client)
  local vm = client:current_instance()
  local function same(what, expected, ...) report:same("cc client: " .. what, expected, (select("#", ...) > 1 and { ... } or ...)) end
  same("id", "0a1b2c3d-0102-0304-0506-0708090a0b0c", (vm:id()))
  same("any byte but 0 is true", true, (vm:is_running()))
  same("stat", { name = "tmp", size = 4096, mode = 1023, type = "directory", mtime = -1, is_dir = true, is_symlink = false },
    (vm.fs:stat "/tmp"))
  local entries = vm.fs:read_dir "/" or {}
  same("read_dir", { "a", "directory", "b", "file" },
    { entries[1].name, entries[1].type, entries[2].name, entries[2].type })
  local file = assert(vm.fs:open "/f") -- its handle is 2^63
  same("read", "abcab", (file:read(5)))
  same("close", true, (file:close()))
  local command = assert(vm:command { "x" })
  local output, exit_code = command:output()
  report:check("cc client: output", output == "h\0\255" and exit_code == -2, output)
  local _, text, code, more = vm.fs:remove "/x"
  same("a failure", { "remove /x: no such file", "EREMOTE", 7, "remove", "/x" }, { text, code, more.code, more.op, more.path })
  same("no instance", "EREMOTE", (select(3, vm:close())))
  same("an unknown request", "ENOTSUP", (select(3, vm.fs:chmod("/x", 420))))
  same("the end of a connection", "EOF", (select(3, assert(assert(vm:listen ":1"):accept()):read())))
  same("after all that", true, (client:alive()))
end

return function(report)
  if not support.has_go() then return report:skip("cc, our client drives a helper in Go", "no Go here") end
  local program, why = support.build "cc_go"
  if not program then return report:check("cc, a helper in Go", false, why) end
  local folder <close> = support.directory()
  local path = folder.path .. "/cc"
  local child <close> = support.start(program, "serve", path)
  report:same("cc client: the helper in Go is there", "ready", (child.stdout:read_line(100, 10)))
  local client <close> = assert(vmctl.cc.connect(path))
  check_calls(report, client)
  client:close()
  child:kill "KILL"
  child:wait(5)
end
