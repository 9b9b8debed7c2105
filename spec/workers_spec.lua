-- Calls of core.fs that worker threads make.
-- Takes about 15 seconds.
-- Also in asan, i386: threads of our C.
local assert = require "luassert"
local core = require "vmctl.core"
local hanging = require "spec.support.hanging_mount"
local script = require "spec.support.script"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, fs, work = support.code, core.fs, core.work
local LIMIT = 60
local WORKERS, QUEUE = 8, 256
local unavailable = hanging.missing()

local function on_hanging(title, fn)
  if unavailable then
    return it(title, function() pending(unavailable) end)
  end
  it(title, support.run(function() hanging.with(fn) end, LIMIT))
end

describe("core.work", function()
  it("gives what the function gives: values, tables, failures", support.run(function()
    local direct, by_worker = fs.stat "/etc/passwd", work(nil, "stat", fs.stat, "/etc/passwd")
    assert.same(direct, by_worker)
    assert.same({ fs.stat "/no/such" }, { work(nil, "stat", fs.stat, "/no/such") })
    local names, list = fs.list "/etc", work(nil, "list", fs.list, "/etc")
    table.sort(names)
    table.sort(list)
    assert.same(names, list)
    assert.same({ true, true }, { work(nil, "replace_in", fs.replace_in, "/", support.tmpdir(), "f", "a\0b", { mode = 384 }) })
  end))

  it("works on objects, which stay the caller's", support.run(function()
    local root = assert(work(nil, "root", fs.root, support.tmpdir()))
    local file = assert(work(nil, "open", root.open, root, "/f", "+cx", 384))
    local data = ("x"):rep(1 << 20) .. "\0end"
    assert.is_true(work(nil, "write", file.write, file, data))
    assert.equal(0, work(nil, "seek", file.seek, file, 0, 0))
    assert.equal(#data, file:stat().size)
    assert.equal(data, work(nil, "read", file.read, file, #data + 1))
    assert.is_true(work(nil, "close", file.close, file))
    assert.equal("ECLOSED", code(file:read(1)))
    assert.equal("ECLOSED", code(work(nil, "read", file.read, file, 1)))
    local names, types = work(nil, "list", root.list, root, "/")
    assert.same({ { "f" }, { "file" } }, { names, types })
    root:close()
  end))

  it("makes a listening socket, whose file stays", support.run(function()
    local path = support.tmpdir() .. "/x.sock"
    local file = assert(work(nil, "listen", fs.listen, path, 384))
    assert.same({ "socket", 384 }, { fs.stat(path).type, fs.stat(path).mode & 511 })
    local listener <close> = core.listener(file)
    assert.error_matches(function() core.listener(file) end, "it does not listen")
    assert.error_matches(function() core.listener(assert(fs.open "/etc/passwd")) end, "it does not listen")
    assert.equal("unix:" .. path, tostring(listener:address()))
    local there <close> = assert(vmctl.dial("unix:" .. path)) -- luacheck: ignore
    local here <close> = assert(listener:accept(30)) -- luacheck: ignore
    listener:close()
    assert.equal("socket", fs.stat(path).type)
    assert.equal("ENOENT", code(work(nil, "listen", fs.listen, support.tmpdir() .. "/no/x.sock")))
  end))

  it("lets others run meanwhile, and works in a plain script", function()
    assert.equal("file", work(nil, "stat", fs.stat, "/etc/passwd").type)
    vmctl.run(function()
      local tasks = {}
      for i = 1, 100 do tasks[i] = vmctl.spawn(work, nil, "stat", fs.stat, "/etc/passwd") end
      for i = 1, 100 do assert.equal("file", tasks[i]:join().type) end
    end)
  end)

  it("raises for what is no function of core.fs, and for arguments that cannot be copied", support.run(function()
    for _, call in ipairs { { print, "x" }, { fs.watch, "/" }, { core.process, {} }, { function() end }, { fs.stat, print },
      { fs.stat, {} }, { fs.stat }, { fs.stat, coroutine.create(print) }, { fs.replace_in, "/", "/tmp", "n", "x", { mode = "a" } } } do
      assert.is_false((pcall(work, nil, "call", table.unpack(call))))
    end
    local deep = {}
    for _ = 1, 10 do deep = { deep } end
    assert.is_false((pcall(work, nil, "call", fs.stat, deep)))
  end))

  it("does what nobody waits for: later, and in a cancelled task", support.run(function()
    local folder = support.tmpdir()
    assert(fs.mkdir(folder .. "/a") and fs.mkdir(folder .. "/b"))
    assert.is_true(core.work_later("remove", fs.remove, folder .. "/a"))
    local task
    task = vmctl.spawn(function()
      task:cancel()
      assert.equal("ECANCELED", code(work(nil, "remove", fs.remove, folder .. "/b")))
    end)
    task:join()
    support.eventually(function() return #fs.list(folder) == 0 end)
  end))

  it("ends before the script that does not wait for it", support.run(function()
    local folder = support.tmpdir()
    assert(fs.mkdir(folder .. "/a"))
    script.check(([[local core = require "vmctl.core"
      core.work_later("remove", core.fs.remove, %q)]]):format(folder .. "/a"))
    assert.is_nil(fs.stat(folder .. "/a"))
  end, LIMIT))

  it("leaves no descriptor and no memory behind", support.run(function()
    local root = assert(fs.root(support.tmpdir()))
    local fds = support.fds()
    for i = 1, 500 do
      local file = assert(work(nil, "open", root.open, root, "/f" .. i % 10, "+c", 384))
      assert(work(nil, "write", file.write, file, "x"))
      assert(work(nil, "close", file.close, file))
    end
    local after = support.fds()
    for text in pairs(fds) do after[text] = nil end
    for text in pairs(after) do assert.is_truthy(text:find("event", 1, true), text) end
    root:close()
  end, LIMIT))

  it("takes real time on a virtual clock", function()
    local info = vmctl.clock.virtual(function() return work(30, "stat", fs.stat, "/etc/passwd") end)
    assert.equal("file", info.type)
  end)
end)

describe("a file call that hangs", function()
  on_hanging("costs its caller its time, and nobody else", function(folder)
    local hung = vmctl.spawn(work, 0.3, "stat", fs.stat, folder .. "/x")
    assert.equal("file", work(nil, "stat", fs.stat, "/etc/passwd").type)
    local _, message, why = hung:join()
    assert.equal("ETIMEDOUT", why)
    assert.equal("stat " .. folder .. "/x: timed out", message)
  end)

  on_hanging("is that of a forwarded socket, or of a command's folder and program, and stops neither service nor agent", function(folder)
    local service <close> = require("vmctl.socketforward").service { confine = { folder, support.tmpdir() } }
    local hung = vmctl.spawn(vmctl.timeout, 0.3, function()
      return service:bind { sockets = { { forward_id = "x", socket_path = folder .. "/sub/x.sock" } } }
    end)
    local commands = {
      vmctl.spawn(function() return vmctl.host:run { "true", cwd = folder .. "/x", timeout = 0.3 } end),
      vmctl.spawn(function() return vmctl.host:run { folder .. "/program", timeout = 0.3 } end),
    }
    assert.equal("x\n", assert(vmctl.host:run { "echo", "x" }).stdout)
    for _, task in ipairs { hung, table.unpack(commands) } do assert.equal("ETIMEDOUT", code(task:join())) end
  end)

  on_hanging("is that of a listening socket", function(folder)
    local hung = vmctl.spawn(work, 0.3, "listen", fs.listen, folder .. "/x.sock")
    assert.equal("file", work(nil, "stat", fs.stat, "/etc/passwd").type)
    local _, message, why = hung:join()
    assert.equal("ETIMEDOUT", why)
    assert.equal("listen " .. folder .. "/x.sock: timed out", message)
  end)

  on_hanging("ends with its task", function(folder)
    local task = vmctl.spawn(work, 60, "list", fs.list, folder)
    vmctl.yield()
    task:cancel()
    assert.equal("ECANCELED", code(task:join()))
  end)

  on_hanging("does not keep a script from ending", function(folder)
    script.check(([[local core = require "vmctl.core"
      local _, _, code = core.work(0.05, "stat", core.fs.stat, %q)
      assert(code == "ETIMEDOUT")]]):format(folder .. "/x"))
  end)

  on_hanging("takes a worker; when all are taken, the pool says so, and when its queue is full", function(folder)
    local tasks = {}
    for i = 1, WORKERS do tasks[i] = vmctl.spawn(work, 3, "stat", fs.stat, folder .. "/x" .. i) end
    vmctl.yield()
    local _, message, why = work(0.05, "stat", fs.stat, "/etc/passwd")
    assert.equal("ETIMEDOUT", why)
    assert.is_truthy(message:find "no worker was free, 8 calls have not come back$")
    local refused
    for i = 1, QUEUE + 1 do
      local ok, err, how = core.work_later("stat", fs.stat, "/etc/passwd")
      if not ok then
        refused = { i, err, how }
        break
      end
    end
    assert.is_true(refused[1] >= QUEUE - 1)
    assert.equal("EBUSY", refused[3])
    assert.is_truthy(refused[2]:find "too many calls wait for a worker")
    for i = 1, WORKERS do assert.equal("ETIMEDOUT", code(tasks[i]:join())) end
  end)

  on_hanging("of a mount gives its worker back after its limit, while it still hangs", function(folder)
    support.eventually(function() return work(nil, "stat", fs.stat, "/etc/passwd") end) -- calls of the test before have left the queue
    local tasks = {}
    for i = 1, WORKERS - 1 do tasks[i] = vmctl.spawn(work, 40, "mount", fs.mount, "none", ("%s/x%d"):format(folder, i), "tmpfs") end
    local one = vmctl.spawn(work, 40, "unmount", fs.unmount, folder .. "/y")
    for i = 1, WORKERS - 1 do
      local _, message, why = tasks[i]:join()
      assert.equal("ETIMEDOUT", why)
      assert.is_truthy(message:find(("mount %s/x%d"):format(folder, i), 1, true))
    end
    assert.equal("ETIMEDOUT", code(one:join()))
    assert.equal("file", work(nil, "stat", fs.stat, "/etc/passwd").type)
  end)

  if not unavailable then
    it("gives its worker back when it ends", support.run(function()
      hanging.with(function(folder)
        local given_up = {}
        for i = 1, WORKERS do given_up[i] = vmctl.spawn(work, 0.2, "stat", fs.stat, folder .. "/x" .. i) end
        for i = 1, WORKERS do assert.equal("ETIMEDOUT", code(given_up[i]:join())) end
      end)
      assert.equal("file", work(20, "stat", fs.stat, "/etc/passwd").type)
    end, LIMIT))
  end
end)
