-- An agent that was built without protobuf closed the connections of those who asked it for socket forwarding.
local assert = require "luassert"
local support = require "spec.support"
local vmctl = require "vmctl"

local AGENT = [[
  package.preload["vmctl.pb"] = function() error "not built" end
  local vmctl = require "vmctl"
  local forwarding = require "vmctl.agent.forwarding".new({ root = "/", forward_folders = {} }, function() return true end, function() end)
  vmctl.run(function()
    local listener = assert(vmctl.listen("unix:" .. arg[1]))
    io.write "ready\n"
    io.flush()
    forwarding.rpc:serve(listener)
  end)
]]

describe("an agent without protobuf", function()
  if not require "vmctl.protobuf".available then
    return it("answers", function() pending "no protobuf here either" end)
  end

  it("answers each call with a sentence, and a forward fails with ENOTSUP", support.run(function()
    local path = support.tmpdir() .. "/rpc"
    local agent <close> = assert(vmctl.process.spawn { "lua5.4", "-", path, stdin = "pipe", stdout = "pipe", stderr = "inherit" }) -- luacheck: ignore
    assert(agent.stdin:write(AGENT))
    agent.stdin:close()
    assert.equal("ready", agent.stdout:read_line(100, 30))
    for _ = 1, 2 do
      local client <close> = assert(vmctl.ttrpc.connect("unix:" .. path)) -- luacheck: ignore
      for _ = 1, 3 do
        local none, err, code = client:call("nerdbox.services.socketforward.v1.SocketForward", "Bind", "")
        assert.same({ nil, "UNIMPLEMENTED" }, { none, code })
        assert.truthy(err:find("this agent was built without protobuf", 1, true), err)
      end
      local none, err, code = vmctl.socketforward.forward(client, { key = { guest_path = "/tmp/key", host_path = "/none" } },
        { streams = "unix:" .. path })
      assert.same({ nil, "ENOTSUP" }, { none, code })
      assert.truthy(err:find("this agent was built without protobuf", 1, true), err)
    end
  end))
end)
