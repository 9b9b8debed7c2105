-- The kernel looks for a terminal's bytes, then asks if its other side is closed. Where a command writes and ends in between, EIO comes
-- before its last bytes, which only a further read gets: they were lost.
local assert = require "luassert"
local native = require "spec.support.native"
local script = require "spec.support.script"
local support = require "spec.support"

-- Runs a script whose terminal ends early, and checks that it did so once, with bytes behind the end.
local function check(body)
  local folder = support.tmpdir()
  local report = folder .. "/report"
  script.check([[
    local core = require "vmctl.core"
    local vmctl = require "vmctl"
    local WANT = "first\r\nlast\r\n"
    local COMMAND = { "sh", "-c", "echo first; echo last", tty = true }
    local function read_all(stream)
      local parts, part, _, code = {}, stream:read()
      while part do
        parts[#parts + 1] = part
        part, _, code = stream:read()
      end
      return table.concat(parts), code
    end
    local function expect(got) assert(got == WANT, ("%q"):format(got)) end
  ]] .. body, { env = native.ending_early(folder, report) })
  local file <close> = assert(io.open(report))
  assert.equal("early\n", file:read "a")
end

describe("a terminal that tells its end before its bytes", function()
  it("is read to its last byte", support.run(function()
    check [[
      local child <close> = assert(require "vmctl.process".spawn(COMMAND))
      local got, code = read_all(child.stdout)
      expect(got)
      assert(code == "EOF", code)
    ]]
  end, 10))

  it("loses nothing of a command's output", support.run(function()
    check [[
      require "spec.support.agent".serve(function(client)
        local result = assert(client:run(COMMAND))
        expect(result.stdout)
        assert(result.exit_code == 0 and not result.lingering)
      end)
    ]]
  end, 10))

  it("goes through a relay to its last byte", support.run(function()
    check [[
      vmctl.run(function()
        local process, master = core.process { argv = { "sh", "-c", "echo first; echo last" }, tty = true, session = true }
        local near, far = vmctl.pair()
        local relay = vmctl.spawn(vmctl.relay, master, far)
        expect((read_all(near)))
        relay:cancel()
      end)
    ]]
  end, 10))
end)
