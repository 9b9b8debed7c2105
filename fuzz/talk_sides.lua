-- Those of us who take part in conversations (fuzz/talk_fuzz.lua): run(stream) plays the part to its end; messages are sound ones of
-- the other side; wrap(bytes) makes bytes a message. Nothing here acts on this machine: no commands, no files, no connections.
local address = require "vmctl.net.address"
local cc = require "vmctl.cc"
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local errors = require "vmctl.errors"
local exec_server = require "vmctl.exec.server"
local exec = require "vmctl.exec"
local mux = require "vmctl.mux"
local process = require "vmctl.process"
local qga = require "vmctl.qga"
local qmp = require "vmctl.qmp"
local stereos = require "vmctl.stereos"
local task = require "vmctl.base.task"
local ttrpc = require "vmctl.ttrpc"
local wire = require "vmctl.exec.wire"

local NOWHERE = "/nonexistent" -- the root of file requests

function process.spawn() return errors.fail("EACCES", "no commands here") end

local real = dial.dial
function dial.dial(where, timeout)
  local at = address.parse(where)
  if at and at.kind == "func" then return real(at, timeout) end
  return errors.fail("EACCES", "no connections here")
end

-- An address that gives the stream once.
local function once(stream)
  return function()
    local given = stream
    stream = nil
    if given then return given end
    return errors.fail("ECONNREFUSED", "nobody listens")
  end
end

local function line(body) return body .. "\n" end
local function exec_frame(kind, body) return (">Bs4"):pack(kind, body) end
local function exec_wrap(body) return exec_frame((body:byte() or 0) % 32, body:sub(2)) end
local function cc_frame(kind, body) return (">I2s4"):pack(kind, body) end
local function cc_wrap(body) return cc_frame((body:byte() or 0) | (body:byte(2) or 0) << 8, body:sub(3)) end

local sides = {}

-- Every type of frame with some JSON, which either end understands or not; and answers of an agent.
local function exec_messages()
  local T = wire.types
  local list = { exec_frame(T.STDOUT, "out"), exec_frame(T.STDERR, ""), exec_frame(T.READY, ""), exec_frame(T.STDIN, ""),
    exec_frame(T.EXIT, wire.encode_exit(3)), exec_frame(T.EXEC_RESULT, wire.encode_response { exit_code = 0, stdout = "a", stderr = "" }),
    exec_frame(T.FILE_RESULT, '{"ok":true,"content":"YQ==","entries":[]}'), exec_frame(T.SIGNAL, "\15") }
  for kind = 0, 20 do list[#list + 1] = exec_frame(kind, '{"command":"true","path":"/x","port":1,"content":"YQ==","mode":420}') end
  return list
end

sides[1] = { messages = exec_messages(), wrap = exec_wrap, run = function(stream)
  exec_server.converse(stream, { root = NOWHERE })
end }

sides[2] = { messages = exec_messages(), wrap = exec_wrap, run = function(stream)
  local client = assert(exec.client(once(stream), { revision = "vmctl" }))
  return client:run { "x", stdin = "in", timeout = 50 }
end }

sides[3] = { messages = exec_messages(), wrap = exec_wrap, run = function(stream)
  return assert(exec.client(once(stream), { revision = "vmctl" })):read_file("/x", { timeout = 50 })
end }

sides[4] = {
  messages = { line '{"type":"ping"}', line '{"type":"get_health"}', line '{"type":"set_config","payload":{"content":"a = 1"}}',
    line '{"type":"shutdown","payload":{"reason":"x"}}', line '{"type":"mount","payload":{"tag":"t","guest_path":"/x"}}',
    line '{"type":"inject_secret","payload":{"name":"n","value":"v"}}', line '{"type":"?"}', "{", "\n", line "[1" },
  wrap = line,
  run = function(stream)
    local done = function() return true end
    stereos.server({ get_health = function() return { state = "healthy", uptime_seconds = 1 } end, set_config = done, mount = done,
      shutdown = done, inject_secret = done }):converse(stream)
  end }

sides[5] = {
  messages = { line '{"type":"pong"}', line '{"type":"health","payload":{"state":"healthy","uptime_seconds":3}}',
    line '{"type":"ack","payload":{"reply_to":"set_config","ok":true}}', line '{"type":"lifecycle","payload":{"state":"ready"}}',
    line '{"type":"ack","payload":{"reply_to":"set_config","ok":false,"error":"no"}}', "{", "\n" },
  wrap = line,
  run = function(stream)
    local client <close> = assert(stereos.client(once(stream)))
    client:get_health { timeout = 20 }
    client:ping { timeout = 20 }
    return client:set_config("a = 1", { timeout = 20 })
  end }

sides[6] = {
  messages = { line '{"QMP":{"version":{"qemu":{"major":8,"minor":2,"micro":0},"package":""},"capabilities":["oob"]}}',
    line '{"return":{},"id":1}', line '{"return":{"status":"running"},"id":2}', line '{"return":[],"id":3}',
    line '{"event":"STOP","timestamp":{"seconds":1,"microseconds":2}}', line '{"error":{"class":"GenericError","desc":"no"},"id":2}',
    line '{"return":{}}', line "{}", "{" },
  wrap = line,
  run = function(stream)
    local client, err, code = qmp.connect(once(stream))
    if not client then return nil, err, code end
    client:execute "query-status"
    client:execute("device_add", { driver = "x" })
    client:close()
  end }

sides[7] = {
  messages = { "\xff" .. line '{"return":1}', line '{"return":{}}', line '{"return":{"pid":7}}', line '{"return":{"exited":true}}',
    line '{"return":[{"name":"eth0"}]}', line '{"error":{"class":"CommandNotFound","desc":"no"}}', "\xff", "{" },
  wrap = line,
  run = function(stream)
    local client, err, code = qga.connect(once(stream), { sync_timeout = 20 })
    if not client then return nil, err, code end
    client:ping()
    client:run({ "x" }, { timeout = 20 })
    client:close()
  end }

local function cc_messages()
  local list = {}
  for kind = 0, 31 do list[#list + 1] = cc_frame(kind // 4 << 8 | kind % 4, kind % 2 == 0 and "" or ("\0\0\0\1"):rep(3)) end
  return list
end

sides[8] = { messages = cc_messages(), wrap = cc_wrap, run = function(stream)
  assert(cc.server(nil, function(_, payload)
    core.sleep(1)
    return payload
  end)):converse(stream)
end }

sides[9] = { messages = cc_messages(), wrap = cc_wrap, run = function(stream)
  local client <close> = cc.client(stream)
  local vm = client:instance({ directory = "/" }, 20)
  if vm then vm:id() end
end }

local HELLO = "\xff\xfevmctl?\n" .. ("n"):rep(16)
local function yamux(kind, flags, id, length, body) return (">BBI2I4I4"):pack(0, kind, flags, id, length) .. (body or "") end

local yamux_messages = { HELLO, yamux(1, 1, 1, 0), yamux(1, 1, 2, 0), yamux(1, 2, 1, 0), yamux(1, 2, 2, 0), yamux(0, 0, 1, 3, "abc"),
  yamux(0, 0, 2, 3, "abc"), yamux(0, 4, 1, 0), yamux(0, 8, 1, 0), yamux(1, 0, 1, 1000), yamux(2, 1, 0, 7), yamux(2, 2, 0, 1),
  yamux(3, 0, 0, 0) }
local function yamux_wrap(body) return yamux(0, 0, 1, #body, body) end

sides[10] = { messages = yamux_messages, wrap = yamux_wrap, run = function(stream)
  local server = mux.server()
  local listener = server:listen(7)
  return task.scope(function(scope)
    task.spawn_in(scope, function()
      for inner in function() return listener:accept() end do
        inner:write(inner:read(100, 5) or "nothing", 5)
        inner:close()
      end
    end)
    server:run(stream)
    listener:close()
    scope:cancel()
  end)
end }

sides[11] = { messages = yamux_messages, wrap = yamux_wrap, run = function(stream)
  local session, err, code = mux.connect(stream, 20)
  if not session then return nil, err, code end
  local inner = session:connect(7, 20)
  if inner then
    inner:write("hello", 5)
    inner:read(100, 5)
    inner:close()
  end
  session:close()
end }

local TEXT = "containerd.vminitd.services.mount.v1.UnmountRequest"
local echo = ttrpc.service { name = "fuzz.Echo", methods = { Echo = { request = TEXT, response = TEXT } } }

local function ttrpc_frame(id, kind, flags, body) return (">I4I4BB"):pack(#body, id, kind, flags) .. body end
local function field(number, bytes) return (("Bs1"):pack(number << 3 | 2, bytes)) end

-- Requests and responses of one stream and another, whole and open, with and without a failure.
local function ttrpc_messages()
  local request = field(1, "fuzz.Echo") .. field(2, "Echo") .. field(3, field(1, "x"))
  local response, failure = field(2, field(1, "x")), field(1, "\8\5" .. field(2, "no"))
  local list = {}
  for _, id in ipairs { 1, 3 } do
    for flags = 0, 4 do
      list[#list + 1] = ttrpc_frame(id, 1, flags, request)
      list[#list + 1] = ttrpc_frame(id, 2, flags, flags % 2 == 0 and response or failure)
      list[#list + 1] = ttrpc_frame(id, 3, flags, flags % 2 == 0 and field(1, "x") or "")
    end
  end
  return list
end

local function ttrpc_wrap(body)
  local id, kind, flags = (body .. "\0\0\0"):byte(1, 3)
  return ttrpc_frame(id & 3, kind & 3, flags & 7, body:sub(4))
end

sides[12] = { messages = ttrpc_messages(), wrap = ttrpc_wrap, run = function(stream)
  assert(ttrpc.server { [echo] = { Echo = function(request)
    core.sleep(1)
    return request
  end } }):converse(stream)
end }

sides[13] = { messages = ttrpc_messages(), wrap = ttrpc_wrap, run = function(stream)
  local client <close> = assert(ttrpc.client(stream, { services = { echo } }))
  client:call("fuzz.Echo", "Echo", { target = "a" }, { timeout = 20 })
  client:call("fuzz.Echo", "Echo", { target = "b" }, { timeout = 20 })
end }

return sides
