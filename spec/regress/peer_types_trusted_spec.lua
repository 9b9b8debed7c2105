-- A peer's value of a wrong type was indexed or added up, and ended the host program; one odd request ended a
-- guest's shared monitor for all.
local assert = require "luassert"
local core = require "vmctl.core"
local share_qmp = require "vmctl.machine.share_qmp"
local support = require "spec.support"
local vmctl = require "vmctl"
local wire = require "vmctl.exec.wire"

local run = support.run
local LIMIT = 60

local ODD = { "5", "-1", "1.5", "true", '"x"', "[]", "[1]", "[null]", "{}", '{"pid":"x"}', '{"pid":{}}', '{"exited":1}',
  '{"exited":true,"out-data":5}', '{"exited":true,"out-data":"*"}', '{"exited":true,"exitcode":"0"}', '{"count":"1"}', '{"count":{}}',
  '{"count":1,"buf-b64":7}', '{"count":1,"buf-b64":"*"}', '{"position":[]}', '{"version":5}', '{"version":"1","supported_commands":5}',
  '{"version":"1","supported_commands":[5]}', '{"version":"1","supported_commands":[{"name":5,"enabled":true}]}', '{"host-name":5}',
  '"' .. ("a"):rep(5000) .. '"' }

local calls = {
  info = function(c) return c:info() end, supports = function(c) return c:supports "x" end,
  host_name = function(c) return c:host_name() end,
  get_time = function(c) return c:get_time() end, set_time = function(c) return c:set_time(5) end, ping = function(c) return c:ping() end,
  freeze = function(c) return c:freeze() end, thaw = function(c) return c:thaw() end,
  run = function(c) return c:run { "x", check = true } end,
  read_file = function(c) return c:read_file "/x" end, write_file = function(c) return c:write_file("/x", "abc", { mode = 384 }) end,
  network_interfaces = function(c) return c:network_interfaces() end, osinfo = function(c) return c:osinfo() end,
  freeze_status = function(c) return c:freeze_status() end, users = function(c) return c:users() end,
}

-- Good answers, but for one command.
local GOOD = {
  ["guest-exec"] = '{"pid":1}', ["guest-exec-status"] = '{"exited":true,"exitcode":0}', ["guest-file-open"] = "7",
  ["guest-file-read"] = '{"count":0,"eof":true,"buf-b64":""}', ["guest-file-write"] = '{"count":3}', ["guest-file-close"] = "{}",
}

local COMMANDS = { "guest-exec", "guest-exec-status", "guest-file-open", "guest-file-read", "guest-file-write", "guest-file-close",
  "other" }

describe("a guest agent that answers with something else", function()
  it("is a failure with a code, and nothing is raised", run(function()
    local near, far = support.pair()
    local odd, at
    local agent = vmctl.spawn(function()
      while true do
        local line = far:read_line(1 << 20, LIMIT)
        if not line then return end
        local request = assert(vmctl.json.decode((line:gsub("^\255", ""))))
        local good = GOOD[request.execute]
        local answer = (at == request.execute or at == "other" and not good) and odd or good or "{}"
        if request.execute == "guest-sync-delimited" then
          assert(far:write(("\255{\"return\":%d}\n"):format(request.arguments.id)))
        else
          assert(far:write(('{"return":%s,"id":%d}\n'):format(answer, request.id)))
        end
      end
    end)
    local client = assert(vmctl.qga.connect(function() return near end))
    for _, command in ipairs(COMMANDS) do
      at = command
      for _, text in ipairs(ODD) do
        odd = text
        for name, call in pairs(calls) do
          local seen = table.pack(pcall(call, client))
          assert(seen[1], ("%s, %s of %s: %s"):format(name, text:sub(1, 60), command, seen[2]))
          if seen[2] == nil then assert(type(seen[3]) == "string" and type(seen[4]) == "string", name) end
        end
      end
    end
    client:close()
    agent:join(5)
    far:close()
  end, LIMIT))
end)

local FILE_ANSWERS = { "5", "[]", '"x"', "null", "{}", '{"error":5}', '{"content":5}', '{"content":"*"}', '{"files":5}', '{"files":[5]}',
  '{"files":{}}', '{"files":[{}]}', '{"files":[{"name":5}]}', '{"files":[{"name":"a","mode":"x"}]}', '{"files":[{"name":"../x"}]}',
  '{"files":[{"name_b64":"*"}]}', '{"files":[{"name":"a","size":{}}]}', '{"error":"\\u001b[2J"}' }

describe("an exec agent whose file answers are something else", function()
  it("is a failure with a code, and nothing is raised", run(function()
    for _, text in ipairs(FILE_ANSWERS) do
      for _, name in ipairs { "read_file", "write_file", "list_files" } do
        local near, far = support.pair { format = wire.format }
        local agent = vmctl.spawn(function()
          assert(far:read_frame(LIMIT))
          assert(far:write_frame(wire.types.FILE_RESULT, text, LIMIT))
          far:close()
        end)
        local client = assert(vmctl.exec.client(function() return near end, { revision = "vmctl" }))
        local seen = table.pack(pcall(client[name], client, "/x", name == "write_file" and "abc" or nil))
        agent:join(LIMIT)
        near:close()
        assert(seen[1], ("%s of %s: %s"):format(name, text, seen[2]))
        if seen[2] == nil then
          assert(seen[4] == "EPROTO" or seen[4] == "EREMOTE", text)
          assert.falsy(seen[3]:find "[%c\127]")
        end
      end
    end
  end, LIMIT))
end)

describe("an exec agent without file requests", function()
  it("gives no names that lead out of a folder", run(function()
    for _, name in ipairs { "../../x", "a/b", "", "a" } do
      local near, far = support.pair { format = wire.format }
      local agent = vmctl.spawn(function()
        far:read_frame(LIMIT)
        local said = core.base64_encode("5 644 regular file/" .. name .. "\n")
        far:write_frame(wire.types.EXEC_RESULT, ('{"exit_code":0,"stdout":"%s","stderr":""}'):format(said))
      end)
      local client = assert(vmctl.exec.client(function() return near end, { revision = "0.1.9" }))
      local files, _, code = client:list_files "/x"
      if name == "a" then
        assert.same({ { name = "a", size = 5, mode = 420, type = "file", is_dir = false } }, files)
      else
        assert.equal("EPROTO", code, name)
      end
      agent:join(LIMIT)
      far:close()
    end
  end, LIMIT))
end)

describe("a client of a shared monitor that asks for something else", function()
  it("gets an error, and the others go on", run(function()
    local monitor, qemu = support.pair()
    local served = vmctl.spawn(function()
      qemu:write '{"QMP":{"version":{"qemu":{"major":9,"minor":0,"micro":0},"package":""},"capabilities":[]}}\n'
      while true do
        local line = qemu:read_line(1 << 20, LIMIT)
        if not line then return end
        qemu:write(('{"return":{},"id":%d}\n'):format(assert(vmctl.json.decode(line)).id))
      end
    end)
    local client = assert(vmctl.qmp.connect(function() return monitor end))
    local near, far = support.pair()
    local server = vmctl.spawn(share_qmp.serve, { qmp = function() return client end }, far)
    assert(near:read_line(4096, 5))
    for _, request in ipairs { '{"execute":"query-status","arguments":5}', '{"execute":"query-status","arguments":"x"}',
      '{"execute":"query-status","arguments":[1]}', '{"execute":5}', "[]", "5", "x", '{"execute":"\\u0000","arguments":{"a":null}}',
      '{"execute":"query-status","arguments":{}}' } do
      assert(near:write(request .. "\n"))
      local answer = assert(vmctl.json.decode(assert(near:read_line(4096, 5))))
      assert(answer["return"] or answer.error.desc, request)
    end
    near:close()
    server:join(5)
    client:close()
    served:join(5)
    qemu:close()
  end, LIMIT))
end)
