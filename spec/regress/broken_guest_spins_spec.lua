-- A guest broke its Accept stream by one frame, and the host read the same failure for ever, without a wait.
local assert = require "luassert"
local ends = require "spec.support.ttrpc"
local support = require "spec.support"
local vmctl = require "vmctl"

describe("a host of socket forwarding", function()
  if not require("vmctl.protobuf").available then return pending "needs protobuf-c" end

  -- A guest that speaks ttrpc by hand: fn(peer, id of its Accept stream, forwarder).
  local function with_peer(fn)
    return support.run(function()
      ends.with_client(function(client, peer)
        local making = vmctl.spawn(vmctl.socketforward.forward, client, { a = { guest_path = "/g", host_path = "/none" } },
          { streams = "unix:/none" })
        peer:reply(peer:take_request().id, "")
        local accept = peer:take_request()
        assert.equal("Accept", accept.request.method)
        peer:reply(peer:take_request().id, "")
        local forwarder <close> = assert(making:join())
        fn(peer, accept.id, forwarder)
      end)
    end, 60)
  end

  local broken = {
    ["a frame that cannot be"] = function(peer) peer.stream:write "\255\0\0\0\0\0\0\1\3\0" end,
    ["an answer that is none"] = function(peer, id)
      peer:send(2, id, 0, "\255")
      peer.stream:close()
    end,
  }
  for name, breaks in pairs(broken) do
    it("ends when the guest breaks its Accept stream by " .. name, with_peer(function(peer, id, forwarder)
      breaks(peer, id)
      local ok, _, why = forwarder:wait(30)
      assert.is_nil(ok)
      assert.is_true(why == "EPROTO" or why == "ERESET", why)
      assert.equal("failed", forwarder:status().state)
    end))
  end

  it("reads on after a request that is none", with_peer(function(peer, id)
    peer:data(id, "\255")
    peer:data(id, "\10\1x\18\1?")
    local result = peer:recv(30)
    assert.same({ 3, id, "\10\1x\18" .. (">s1"):pack "unknown forward ID: ?" }, { result.kind, result.id, result.payload })
  end))
end)
