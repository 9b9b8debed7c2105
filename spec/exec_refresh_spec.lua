-- The host's requests to its guest's agent after the guest stood still: its clock, and random numbers of its own. The agent's effects on
-- its guest are in spec/regress/clock_after_a_pause_spec.lua; here, that nothing is taken for done that was not.
local assert = require "luassert"
local core = require "vmctl.core"
local refresh = require "vmctl.guest.refresh"
local server = require "vmctl.exec.server"
local support = require "spec.support"
local vmctl = require "vmctl"
local wire = require "vmctl.exec.wire"

local code = support.code
local T = wire.types

-- A client of our agent, which answers as `on_ready` says.
local function with_agent(on_ready, fn)
  return support.run(function()
    vmctl.scope(function(scope)
      fn(assert(vmctl.exec.client(function()
        local near, far = assert(vmctl.pair())
        vmctl.spawn_in(scope, server.converse, far, { on_ready = on_ready })
        return near
      end)))
    end)
  end)
end

-- A client of something that answers a Ready message with these bytes.
local function with_answer(body, fn)
  return support.run(function()
    vmctl.scope(function(scope)
      fn(assert(vmctl.exec.client(function()
        local near, far = assert(vmctl.pair())
        vmctl.spawn_in(scope, function()
          far:set_format(wire.format)
          far:read_frame(5)
          if body then far:write_frame(T.READY, body) end
          far:close()
        end)
        return near
      end)))
    end)
  end)
end

local EVERYTHING = { clock = true, seed = "\0\1\2\255" }

describe("client:refresh", function()
  local asked
  local function take(request)
    asked = request
    return { clock_offset_ns = -2500000000, reseeded = true }
  end

  it("sends the host's time and the bytes, and tells by how much the clock was off", with_agent(take, function(client)
    local before = core.unix_time()
    local done = assert(client:refresh(EVERYTHING))
    assert.same({ clock_offset = -2.5, reseeded = true }, done)
    assert.equal("integer", math.type(asked.unix_ns))
    assert.is_true(asked.unix_ns >= before and asked.unix_ns <= core.unix_time())
    assert.equal(EVERYTHING.seed, core.base64_decode(asked.seed))
    assert.equal("vmctl", client.revision)
  end))

  it("is ENOTSUP with an agent that does not answer to it", with_agent(nil, function(client)
    for _, what in ipairs { EVERYTHING, { clock = true }, { seed = "x" } } do
      assert.equal("ENOTSUP", code(client:refresh(what)))
    end
  end))

  it("is ENOTSUP when only a part was done", with_agent(function() return { reseeded = true } end, function(client)
    assert.equal("ENOTSUP", code(client:refresh(EVERYTHING)))
    assert.is_true(assert(client:refresh { seed = "x" }).reseeded)
  end))

  it("is EREMOTE, with the reason, when the agent could not", with_agent(function() return { clock_error = "not allowed" } end,
    function(client)
      local _, message, name = client:refresh { clock = true }
      assert.equal("EREMOTE", name)
      assert.truthy(message:find("not allowed", 1, true))
    end))

  for title, body in pairs { ["nothing"] = "", ["no JSON"] = "{", ["a list"] = "[1]", ["a number"] = "7",
    ["a clock of another type"] = '{"clock_offset_ns":"1","reseeded":1}', ["an error of another type"] = '{"clock_error":{"a":1}}',
    ["a fraction"] = '{"clock_offset_ns":0.5}' } do
    it("takes " .. title .. " for no answer to it", with_answer(body, function(client)
      local name = code(client:refresh(EVERYTHING))
      assert.is_true(name == "ENOTSUP" or name == "EREMOTE", name)
    end))
  end

  it("is ENOTSUP with an agent that closes", with_answer(nil, function(client)
    assert.equal("ENOTSUP", code(client:refresh(EVERYTHING)))
  end))
end)

describe("what an agent does for its guest", function()
  it("is nothing that it was not asked for, or not in order", function()
    for _, request in ipairs { {}, { unix_ns = "1" }, { unix_ns = -1 }, { unix_ns = 0.5 }, { seed = 1 } } do
      local answer = refresh.answer(request)
      assert.is_nil(answer.clock_offset_ns)
      assert.is_nil(answer.reseeded)
    end
    assert.truthy(refresh.answer({ seed = "not base64" }).seed_error)
  end)

  it("leaves a clock alone that is right, and says so", function()
    assert.is_true(math.abs(refresh.answer({ unix_ns = core.unix_time() }).clock_offset_ns) < 50000000)
  end)

  it("is a part of its answer to who asks whether it is there", with_agent(refresh.answer, function(client)
    assert(client:ask(5))
    assert.equal("vmctl", client.agent.agent)
    assert.equal("string", type(client.agent.clock_source or ""))
  end))
end)
