-- A peer that never stopped sending what a call skips (empty output, lifecycle messages, answers to nobody) kept the call beyond its
-- time-out for ever, and a terminal session stopped all other tasks as well.
local assert = require "luassert"
local support = require "spec.support"
local vmctl = require "vmctl"
local wire = require "vmctl.exec.wire"

local LIMIT, MIB = 0.5, 1 << 20

-- The address of a peer that says this as fast as it can, and reads nothing.
local function flood(bytes)
  local path = support.tmpdir() .. "/bytes"
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(bytes:rep(MIB // #bytes)))
  return vmctl.address.exec { "lua5.4", "-e", "local s = io.open(arg[0], 'rb'):read 'a' while io.stdout:write(s) do end", path }
end

local function frame(kind, body) return (">BI4"):pack(kind, #body) .. body end

local function exec(bytes, revision) return assert(vmctl.exec.client(flood(bytes), { revision = revision })) end

local EMPTY, OUTPUT = frame(wire.types.STDOUT, ""), frame(wire.types.STDOUT, "x")

local calls = {
  ["the output of a command"] = function()
    local process <close> = assert(exec(EMPTY, "vmctl"):start { "x" })
    return process:read(LIMIT)
  end,
  ["the end of a command"] = function()
    local process <close> = assert(exec(OUTPUT, "vmctl"):start { "x" })
    return process:wait(LIMIT)
  end,
  ["all output of a command"] = function() return exec(EMPTY, "vmctl"):run { "x", timeout = LIMIT } end,
  ["the output of a terminal"] = function()
    local process <close> = assert(exec(EMPTY, "0.2"):start { "x", tty = true })
    return process:read(LIMIT)
  end,
  ["the first answer of an agent"] = function() return exec(OUTPUT):run { "x", timeout = LIMIT } end,
  ["a reply among lifecycle messages"] = function()
    local client <close> = assert(vmctl.stereos.client(flood '{"type":"lifecycle","payload":{"state":"ready"}}\n'))
    return client:ping { timeout = LIMIT }
  end,
  ["a reply among empty lines"] = function()
    local client <close> = assert(vmctl.stereos.client(flood "\n"))
    return client:ping { timeout = LIMIT }
  end,
  ["an answer of QEMU's agent"] = function()
    return vmctl.qga.connect(flood '\xff{"return":5,"id":77}\n', { timeout = LIMIT })
  end,
  ["an answer among those to others"] = function()
    local client <close> = assert(vmctl.ttrpc.connect(flood((">I4I4BB"):pack(3, 78, 2, 0) .. "abc")))
    return client:call("a.B", "C", "", { timeout = LIMIT })
  end,
  ["a frame that is one"] = function()
    local port <close> = assert(vmctl.l2.dial(flood((">s4"):pack "abc")))
    return port:recv(LIMIT)
  end,
}

describe("a peer that never stops sending", function()
  for what, call in pairs(calls) do
    it("does not keep a call that waits for " .. what, support.run(function()
      local turns, going = 0, true
      local other = vmctl.spawn(function()
        while going do
          turns = turns + 1
          assert(vmctl.sleep(LIMIT / 50))
        end
      end)
      local result, _, code = call()
      going = false
      other:join()
      assert.is_nil(result)
      assert.equal("ETIMEDOUT", code)
      assert.is_true(turns > 2, turns)
    end))
  end
end)
