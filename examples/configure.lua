-- Declares a guest's configuration as one set and pushes it twice, because the second time there is nothing to do.
-- Usage: lua5.4 examples/configure.lua
-- You will see what each push changed and by which way, how [secrets] stays out of the configuration file, and that a bad set
-- changes nothing. A folder on this machine stands in for a guest.
local vmctl = require "vmctl"

local host = vmctl.host
local root = assert(host:run { "mktemp", "-d", check = true }).stdout:gsub("\n", "")

local function main(scope)
  -- The guest's side: the control plane of vmctl-agent, in this process and below that folder.
  local listener <close> = assert(vmctl.listen("unix:" .. root .. "/control"))
  vmctl.spawn_in(scope, vmctl.stereos.serve, listener, (require("vmctl.guest.stereos").handlers { root = root }))
  local guest <close> = assert(vmctl.stereos.client("unix:" .. root .. "/control"))

  local set = {
    secrets = { API_KEY = "correct horse battery staple" },
    config = '[[agents]]\nname = "builder"\n\n[secrets]\nAPI_KEY = "correct horse battery staple"\n',
  }
  print(assert(vmctl.config.push(guest, set)))
  assert(not assert(vmctl.config.push(guest, set)).changed)
  io.write((assert(host:read_file(root .. "/etc/stereos/jcard.toml"))))

  -- Files need a target that runs commands; it does the rest as well where there is no control plane.
  local files = { files = {
    ["/etc/motd"] = "welcome\n",
    ["/usr/local/bin/hello"] = { content = "#!/bin/sh\necho hello\n", mode = tonumber("755", 8) },
  } }
  print(assert(vmctl.config.push(host, files, { root = root })))
  io.write(assert(host:run { root .. "/usr/local/bin/hello" }).stdout)

  set.secrets["../escape"] = "x"
  local nothing, why = vmctl.config.push(guest, set)
  assert(not nothing)
  print(why)
end

vmctl.scope(main)
host:run { "rm", "-rf", root }
