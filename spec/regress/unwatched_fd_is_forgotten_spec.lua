-- When the kernel watches no more fds (ENOSPC of epoll_ctl), who waited for one was woken by nothing until his time-out.
local native = require "spec.support.native"
local script = require "spec.support.script"
local support = require "spec.support"

local LIMIT = 60

local head = [[
  local core, vmctl = require "vmctl.core", require "vmctl"
  local function refuse() io.open(FULL, "w"):close() end
  local function allow() os.remove(FULL) end
  local function code(...) return (select(3, ...)) end
  local function same(want, got) if want ~= got then error(("%s expected, got %s"):format(want, got), 2) end end
]]

-- Runs a script in which refuse() and allow() say whether epoll takes fds.
local function with_few_watches(body)
  return support.run(function()
    local folder = support.tmpdir()
    local full = folder .. "/full"
    local before = os.getenv "LD_PRELOAD"
    local preload = ("LD_PRELOAD=%s%s"):format(before and before .. ":" or "", native.build("refuse_watch", folder))
    script.check(("FULL, FOLDER = %q, %q\n"):format(full, folder) .. head .. body, { env = { preload, "REFUSE_WATCH=" .. full } })
  end, LIMIT)
end

describe("where the kernel watches no more fds", function()
  it("a read fails at once, and goes on later", with_few_watches [[
    local near, far = vmctl.pair()
    refuse()
    same("ENOSPC", code(far:read(nil, 3600)))
    vmctl.run(function() same("ENOSPC", code(far:read_line(nil, 3600))) end)
    near:write "there already"
    same("there already", far:read())
    allow()
    vmctl.spawn(function() near:write "later" end)
    same("later", far:read(nil, 3600))
  ]])

  it("a write fails with what was taken; the rest is sent when it can be", with_few_watches [[
    local near, far = vmctl.pair()
    refuse()
    local sent, _, name, taken = near:write(("x"):rep(1 << 22), 3600)
    same(nil, sent)
    same("ENOSPC", name)
    allow()
    local got = 0
    while got < taken do got = got + #assert(far:read(nil, 30)) end
    same(taken, got)
  ]])

  it("accept and connect fail at once", with_few_watches [[
    local listener = assert(vmctl.listen("unix:" .. FOLDER .. "/s"))
    refuse()
    same("ENOSPC", code(listener:accept(3600)))
    allow()
    vmctl.spawn(function() assert(vmctl.dial("unix:" .. FOLDER .. "/s")) end)
    assert(listener:accept(3600))
  ]])

  it("a name is not waited for", with_few_watches [[
    refuse()
    same("ENOSPC", code(core.resolve("localhost", 3600)))
  ]])

  it("the end of a process is noticed all the same", with_few_watches [[
    refuse()
    local child = assert(vmctl.process.spawn { "sleep", "0.05" })
    same(0, assert(child:wait(3600)).exit_code)
  ]])

  it("a relay ends with the error", with_few_watches [[
    local a, b = vmctl.pair()
    local c, d = vmctl.pair()
    refuse()
    local relay = core.relay(b, c)
    same("ENOSPC", code(relay:wait(3600)))
  ]])

  it("timers and other fds go on", with_few_watches [[
    local near, far = vmctl.pair()
    local reader = vmctl.spawn(function() return far:read(nil, 3600) end)
    vmctl.sleep(0.001)
    refuse()
    local other = vmctl.pair()
    same("ENOSPC", code(other:read(nil, 3600)))
    assert(vmctl.sleep(0.01))
    near:write "heard"
    same("heard", reader:join(3600))
  ]])

  it("the module says why it cannot be loaded", with_few_watches [[
    refuse()
    local pipe = io.popen("lua5.4 -e 'print(select(2, pcall(require, \"vmctl.core\")))'")
    local text = pipe:read "a"
    assert(text:find("No space left on device", 1, true), text)
  ]])
end)
