-- Forwards that listen inside a guest: the agent's socket forwarding, in this process.
local core = require "vmctl.core"
local forwarding = require "spec.support.forward"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run
local counts, path, with_guest = forwarding.counts, forwarding.path, forwarding.with_guest
local MiB = 1 << 20

describe("vmctl.forward from a guest", function()
  it("leads from its socket to one of the host", with_guest(function(guest)
    local server <close> = forwarding.serve("unix:" .. path(), forwarding.shout)
    local where = "unix:" .. path()
    local forward <close> = assert(guest:forward { from = where, to = server.address })
    assert.equal("open", forward:status())
    assert.equal(tostring(guest.client:inside(where)), tostring(forward:address()))
    assert.equal("QUESTION", forwarding.ask(where, "question"))
    assert.equal("AGAIN", forwarding.ask(where, "again"))
    counts(forward, { connections = 2, open = 0, failed = 0, from_to = 13, to_from = 13 })
  end))

  it("leads from its port, the real one where any was asked for", with_guest(function(guest)
    local server <close> = forwarding.serve("unix:" .. path(), forwarding.shout)
    local forward <close> = assert(guest:forward { from = "tcp:127.0.0.1:0", to = server.address })
    assert.is_true(forward:address().at.port > 0)
    assert.equal("BY PORT", forwarding.ask(forward:address().at, "by port"))
    assert.equal("AND DIALLED", forwarding.ask(forward:address(), "and dialled")) -- through the agent, and back
  end))

  it("leads to another place inside", with_guest(function(guest)
    local server <close> = forwarding.serve("unix:" .. path(), forwarding.shout)
    local where = "unix:" .. path()
    local forward <close> = assert(guest:forward { from = where, to = guest.client:inside(server.address) })
    assert.equal("ROUND", forwarding.ask(where, "round"))
    counts(forward, { connections = 1, from_to = 5, to_from = 5 })
  end))

  it("carries much both ways at once, unchanged, and counts it while it runs", with_guest(function(guest)
    local server <close> = forwarding.serve("unix:" .. path(), forwarding.echo)
    local where = "unix:" .. path()
    local forward <close> = assert(guest:forward { from = where, to = server.address })
    local stream <close> = assert(vmctl.dial(where))
    local piece = ("0123456789abcde\n"):rep(MiB // 16)
    local writer = vmctl.spawn(function()
      for _ = 1, 64 do assert(stream:write(piece)) end
    end)
    for i = 1, 64 do
      assert.is_true(stream:read_exact(MiB) == piece)
      if i == 32 then assert.is_true(forward:stats().to_from >= 32 * MiB) end
    end
    writer:join()
    counts(forward, { connections = 1, open = 1, from_to = 64 * MiB, to_from = 64 * MiB })
  end, 20))

  it("carries the end of each half, whichever comes first", with_guest(function(guest)
    local listener <close> = assert(vmctl.listen("unix:" .. path()))
    local where = "unix:" .. path()
    local forward <close> = assert(guest:forward { from = where, to = listener:address() })
    for _, first in ipairs { "client", "server" } do
      local client <close> = assert(vmctl.dial(where))
      local ends = { client = client, server = assert(listener:accept(30)) }
      local other = first == "client" and "server" or "client"
      assert(ends[first]:write "early")
      assert(ends[first]:shutdown())
      assert.equal("early", forwarding.read_all(ends[other]))
      assert(ends[other]:write "late")
      ends[other]:close()
      assert.equal("late", forwarding.read_all(ends[first]))
      ends[first]:close()
    end
    counts(forward, { connections = 2, open = 0, from_to = 9, to_from = 9 })
  end))

  it("ends a connection whose target is not there, keeps the reason, and finds it later", with_guest(function(guest)
    local where, target = "unix:" .. path(), "unix:" .. path()
    local forward <close> = assert(guest:forward { from = where, to = target })
    local stream <close> = assert(vmctl.dial(where))
    assert.is_nil(stream:read(nil, 30))
    local stats = counts(forward, { connections = 1, failed = 1, open = 0, last_code = "ENOENT" })
    assert.truthy(stats.last_error:find(target, 1, true))
    local server <close> = forwarding.serve(target, forwarding.shout) -- luacheck: ignore
    assert.equal("NOW", forwarding.ask(where, "now"))
    counts(forward, { connections = 2, failed = 1, open = 0 })
  end))

  it("asks on_connection", with_guest(function(guest)
    local server <close> = forwarding.serve("unix:" .. path(), forwarding.shout)
    local where, welcome = "unix:" .. path(), false
    local forward <close> = assert(guest:forward { from = where, to = server.address, on_connection = function()
      return welcome, "not yet"
    end })
    local stream <close> = assert(vmctl.dial(where))
    assert.is_nil(stream:read(nil, 30))
    assert.truthy(counts(forward, { failed = 1, last_code = "EPERM" }).last_error:find("not yet", 1, true))
    welcome = true
    assert.equal("YES", forwarding.ask(where, "yes"))
  end))

  it("makes the file with the mode that is asked for, and has it removed", with_guest(function(guest)
    for mode, opts in pairs { [438] = {}, [384] = { mode = 384 } } do
      local file = path()
      opts.from, opts.to = "unix:" .. file, "unix:/none"
      local forward = assert(guest:forward(opts))
      assert.equal(mode, core.fs.stat(file).mode)
      forward:close()
      support.eventually(function() return not core.fs.stat(file) end)
      assert.equal("closed", forward:status())
      assert.is_true(forward:wait(30))
    end
  end))

  it("serves several beside each other, each with its own counts", with_guest(function(guest)
    local first <close> = forwarding.serve("unix:" .. path(), forwarding.shout)
    local second <close> = forwarding.serve("unix:" .. path(), forwarding.echo)
    local ways = { [first] = "unix:" .. path(), [second] = "unix:" .. path() }
    local to_first <close> = assert(guest:forward { from = ways[first], to = first.address })
    local to_second <close> = assert(guest:forward { from = ways[second], to = second.address })
    assert.equal("ABC", forwarding.ask(ways[first], "abc"))
    assert.equal("abcd", forwarding.ask(ways[second], "abcd"))
    to_first:close()
    assert.equal("abcd", forwarding.ask(ways[second], "abcd"))
    counts(to_first, { connections = 1, from_to = 3 })
    counts(to_second, { connections = 2, from_to = 8, open = 0 })
  end))

  it("is broken while the guest's agent is gone, and comes back with it", with_guest(function(guest)
    local server <close> = forwarding.serve("unix:" .. path(), forwarding.shout)
    local where = "unix:" .. path()
    local forward <close> = assert(guest:forward { from = where, to = server.address })
    assert.equal("BEFORE", forwarding.ask(where, "before"))
    guest.stop()
    support.eventually(function() return forward:status() == "broken" end)
    local _, message, name = forward:status()
    assert.is_string(message)
    assert.is_string(name)
    guest.start()
    support.eventually(function() return forward:status() == "open" end)
    assert.equal("AFTER", forwarding.ask(where, "after"))
    counts(forward, { connections = 2, from_to = 11 })
  end, 5))
end)

describe("vmctl.forward from a guest that cannot", function()
  it("says which", run(function()
    local forward, message, name = vmctl.forward { from = assert(vmctl.exec.client "unix:/x"):inside "unix:/y", to = "unix:/z" }
    assert.is_nil(forward)
    assert.equal("ENOTSUP", name)
    assert.truthy(message:find("unix:/x!unix:/y", 1, true))
    local nobody = "unix:" .. path()
    assert.equal("ENOENT", code(vmctl.forward {
      from = assert(vmctl.exec.client "unix:/x"):inside "unix:/y", to = "unix:/z", rpc = nobody, streams = nobody,
    }))
  end))

  it("comes back when the path is taken, and nothing stays open", with_guest(function(guest)
    local file = path()
    assert(core.fs.replace(file, "a file"))
    local forward, message = guest:forward { from = "unix:" .. file, to = "unix:/none" }
    assert.is_nil(forward)
    assert.truthy(message:find(file, 1, true))
    assert.equal("file", core.fs.stat(file).type)
    assert.equal("ENOTSUP", code(guest:forward { from = "unix:" .. path(), to = "unix:/none", allow = {} }))
  end))
end)
