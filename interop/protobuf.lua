--- protobuf: containerd's messages and its task service, loaded while this program runs: from the descriptors of its Go packages,
--- and from its .proto files as they are written.
local core = require "vmctl.core"
local pb = require "vmctl.protobuf"
local support = require "support"
local vmctl = require "vmctl"

local TASK = "containerd.task.v2.Task"
local MODULES = "build/go-mod/github.com" -- where tools/build-go keeps them

-- Runs a part of the program to its end, and gives its lines.
local function run(report, program, part, path)
  local child <close> = support.start(program, part, path)
  local lines, ok = support.lines(child)
  report:check(("protobuf in Go: %s runs to its end"):format(part), ok, "it failed, see above")
  return lines
end

-- Each message that Go has filled is read, written again, and read by Go.
local function check_messages(report, program, path)
  run(report, program, "fill", path)
  local count, again = 0, {}
  for line in io.lines(path) do
    local name, hex = line:match "^(%S+) (%x*)$"
    local bytes = hex:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end)
    local message, err = pb.decode(name, bytes)
    local written = message and pb.encode(name, message)
    if not written then report:check("protobuf: " .. name, false, err) end
    again[#again + 1] = ("%s %s"):format(name, (written or ""):gsub(".", function(c) return ("%02x"):format(c:byte()) end))
    count = count + 1
  end
  report:check("protobuf: there are messages to be tried", count >= 70, count)
  local file <close> = assert(io.open(path, "w"))
  file:write(table.concat(again, "\n"), "\n")
  file:close()
  local lines = run(report, program, "check", path)
  report:same("protobuf in Go: each message came back as it was", { "good\t" .. count }, lines)
end

local function files_below(folder)
  local pipe <close> = assert(io.popen(("find '%s' -name '*.proto' | sort"):format(folder)))
  local list = {}
  for path in pipe:lines() do list[#list + 1] = path end
  return list
end

-- By protoc, as they stand: each says the same as the descriptors in Go, or it would be refused.
local function check_files(report)
  if not os.execute "command -v protoc >/dev/null || command -v protoc-c >/dev/null" then
    return report:skip("protobuf, containerd's .proto files", "no protoc here")
  end
  local api, gogo = MODULES .. "/containerd/containerd/api@v1.12.0", MODULES .. "/gogo/protobuf@v1.3.2"
  local good, files = 0, files_below(api)
  for _, path in ipairs(files) do
    local names, err = pb.load(path, { include = { api, gogo .. "/protobuf", "proto" } })
    if names then good = good + 1 else report:check("protobuf: " .. path, false, err) end
  end
  report:check("protobuf: containerd's .proto files load as they are written", good == #files and good >= 40, good)
  -- kata's protocol also has fields and messages with options of gogo's.
  local names, err = pb.load(gogo .. "/gogoproto/gogo.proto", { include = { gogo, gogo .. "/protobuf" } })
  report:check("protobuf: gogo's options load", names ~= nil and #names > 20, err)
end

local function task_handlers()
  return {
    Create = function(request)
      local mount = request.rootfs[1]
      local fine = request.id == "one" and request.terminal and mount.options[2] == "b" and request.options.value == "\0\1"
      return { pid = fine and 0xffffffff or 1 }
    end,
    State = function(request)
      return { id = request.id, status = "PAUSED", exited_at = { seconds = 7, nanos = 5 } }
    end,
    Kill = function(request) return nil, "no task " .. request.id, "NOT_FOUND" end,
    Shutdown = function() return {} end,
  }
end

-- containerd's own client of its task service calls ours.
local function check_service(report, program, services, path)
  report:check("protobuf: the task service is among those of the set", services[TASK] ~= nil, "there is none")
  local listener <close> = assert(vmctl.listen("unix:" .. path))
  local server = assert(vmctl.ttrpc.server({ [TASK] = task_handlers() }, { services = services }))
  local serving = vmctl.spawn(server.serve, server, listener)
  local lines = run(report, program, "call", path)
  report:same("task client in Go: each step", { "create\tok", "state\tok", "kill\tok", "shutdown\tok", "pause\tok" }, lines)
  server:shutdown(5)
  serving:join(5)
end

return function(report)
  local what = "protobuf, containerd's messages and services"
  if not support.has_go() then return report:skip(what, "no Go here") end
  local program, why, is_missing = support.build "protobuf_go"
  if is_missing then return report:skip(what, "they are not to be had: " .. why) end
  if not program then return report:check("protobuf, a program on containerd's packages", false, why) end
  local folder <close> = support.directory()
  run(report, program, "set", folder.path .. "/set.pb")
  report:check("protobuf: the set is there", core.fs.stat(folder.path .. "/set.pb"), "no file")
  local services, err = vmctl.ttrpc.services(folder.path .. "/set.pb")
  if not services then return report:check("protobuf: the set loads", false, err) end
  check_messages(report, program, folder.path .. "/messages")
  check_files(report)
  check_service(report, program, services, folder.path .. "/task")
end
