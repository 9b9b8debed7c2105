-- An answer of 64 MiB, which may be 48 MiB of output, could also be twenty million empty lists: they took 2 GiB, and half a minute in
-- which nothing else ran.
local assert = require "luassert"
local json = require "vmctl.json"
local support = require "spec.support"
local vmctl = require "vmctl"
local wire = require "vmctl.exec.wire"

local SIZE = 16 << 20
local MOST = 64 << 20 -- bytes of memory

local CROWD = "[" .. ("[],"):rep(SIZE // 3) .. "0]"

local function growth(fn)
  collectgarbage()
  local before = collectgarbage "count"
  local results = table.pack(fn())
  return (collectgarbage "count" - before) * 1024, table.unpack(results, 1, results.n)
end

describe("an answer of very many values", function()
  it("is told from one of long strings", function()
    for _, piece in ipairs { "[],", "{},", "0,", "[[[]]]," } do
      assert.is_true(json.is_crowded("[" .. piece:rep((SIZE // 8) // #piece) .. "0]"), piece)
    end
    assert.is_false(json.is_crowded('{"out-data":"' .. ("QUJD"):rep(SIZE // 4) .. '","exited":true}'))
    assert.is_false(json.is_crowded "[1,2,3]")
    assert.is_true(json.is_crowded("[1,2,3]", 2))
  end)

  it("is refused by the client of QEMU's agent, which gets in step again", support.run(function()
    local near, far = support.pair()
    local asked = 0
    local agent = vmctl.spawn(function()
      for line in function() return far:read_line(1 << 20, 60) end do
        local request = json.decode((line:gsub("^\xff", "")))
        if request.execute == "guest-sync-delimited" then
          far:write(('\xff{"return": %d}\n'):format(request.arguments.id))
        else
          asked = asked + 1
          far:write(('{"return": %s, "id": %d}\n'):format(asked == 1 and CROWD or '{"host-name":"x"}', request.id))
        end
      end
    end)
    local client <close> = assert(vmctl.qga.connect(function() return near end))
    local bytes, result, _, code = growth(function() return client:execute("guest-get-osinfo", nil, 60) end)
    assert.is_nil(result)
    assert.equal("ETOOBIG", code)
    assert.is_true(bytes < MOST, bytes)
    assert.equal("x", client:host_name())
    client:close()
    agent:join(30)
    far:close()
  end, 120))

  it("is refused by the client of an agent's files", support.run(function()
    local near, far = support.pair { format = wire.format }
    local agent = vmctl.spawn(function()
      far:read_frame(60)
      far:write_frame(wire.types.FILE_RESULT, '{"files":' .. CROWD .. "}", 60)
    end)
    local client = assert(vmctl.exec.client(function() return near end, { revision = "vmctl" }))
    local bytes, result, _, code = growth(function() return client:list_files("/", { timeout = 60 }) end)
    assert.is_nil(result)
    assert.equal("ETOOBIG", code)
    assert.is_true(bytes < MOST, bytes)
    agent:join(30)
    far:close()
  end, 120))
end)
