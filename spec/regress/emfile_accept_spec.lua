-- When the descriptors run out, accept fails with EMFILE and the connection stays in the backlog: a loop that polls the
-- listener would spin, a server that takes it for the end would be gone for good.
local script = require "spec.support.script"
local support = require "spec.support"

-- A listener with a connection in its backlog, and no descriptor left.
local setup = [[
  local core, vmctl = require "vmctl.core", require "vmctl"
  local listener = assert(vmctl.listen("unix:" .. PATH))
  local client = assert(vmctl.dial("unix:" .. PATH))
  assert(client:write "waiting")
  local files, file = {}, nil
  repeat
    file = io.open "/dev/null"
    files[#files + 1] = file
  until not file
]]

local function check(body)
  local path = ("PATH = %q\n"):format(support.tmpdir() .. "/s")
  script.check(path .. setup .. body, { command = { "sh", "-c", 'ulimit -n 40; exec "$@"', "sh" } })
end

describe("accept without a descriptor left", function()
  it("goes on when there is one again; the connection was kept", support.run(function()
    check [[
      vmctl.run(function()
        local accepting = vmctl.spawn(function() return listener:accept(30) end)
        for _ = 1, 20 do vmctl.yield() end
        assert(accepting:status() == "waiting", accepting:status())
        table.remove(files):close()
        assert(assert(accepting:join()):read() == "waiting")
      end)
    ]]
  end, 10))

  it("tells why when the time is over, and does not spin meanwhile", support.run(function()
    check [[
      local cpu = os.clock()
      local s, message, name = listener:accept(0.3)
      assert(not s and name == "EMFILE", name)
      assert(os.clock() - cpu < 0.1, "it spins")
      assert(message:find(PATH, 1, true))
      table.remove(files):close()
      assert(assert(listener:accept(30)):read() == "waiting")
    ]]
  end, 10))

  it("does not lose descriptors: dial, pair and listen fail with EMFILE as well", support.run(function()
    check [[
      for _ = 1, 3 do
        assert(select(3, vmctl.dial("unix:" .. PATH)) == "EMFILE")
        assert(select(3, vmctl.listen "tcp:127.0.0.1:0") == "EMFILE")
        assert(select(3, vmctl.pair()) == "EMFILE")
      end
      table.remove(files):close()
      assert(select(3, vmctl.pair()) == "EMFILE")
      table.remove(files):close()
      assert(vmctl.pair())
    ]]
  end, 10))
end)
