-- A switch in a thread of its own: all that holds for others, and that a script which does not come back to its loop stalls no frame.
-- Takes about 10 seconds.
-- Also in asan, i386: a thread of our C.
local assert = require "luassert"
local l2 = require "spec.support.l2"
local lfs = require "lfs"
local script = require "spec.support.script"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 60

local function run(fn) return support.run(fn, LIMIT) end

-- A program that echoes each frame from one wire to it, and its end of the wire. It needs no loop of ours.
local ECHO = [[
  local vmctl = require "vmctl"
  local port = assert(vmctl.l2.dial(%q))
  while true do
    local frame = port:recv(60)
    if not frame then return end
    assert(port:send(frame:sub(7, 12) .. frame:sub(1, 6) .. frame:sub(13)))
  end]]

-- A program that sends a frame for each line that it reads, and writes a line for each answer.
local ASK = [[
  local vmctl = require "vmctl"
  local port = assert(vmctl.l2.dial(%q))
  local to, from = "\2\0\0\0\0\7", "\2\0\0\0\0\1"
  local asked, said = io.open(%q), io.open(%q, "w")
  for _ in asked:lines() do
    assert(port:send(to .. from .. "\x88\xb5" .. ("x"):rep(50)))
    assert(port:recv(30))
    said:write "answered\n"
    said:flush()
  end]]

describe("a switch in a thread of its own", function()
  it("forwards while its script does not come back to its loop", run(function()
    local folder = support.tmpdir()
    local where, fifo, said = "unix:" .. folder .. "/net", folder .. "/ask", folder .. "/said"
    local sw <close> = assert(vmctl.l2.switch { thread = true }) -- luacheck: ignore
    assert(sw:listen(where))
    assert(vmctl.host:run { "mkfifo", fifo, check = true })
    local echo = script.start(ECHO:format(where))
    local ask = script.start(ASK:format(where, fifo, said))
    support.eventually(function() return #sw:ports() == 2 end, LIMIT)
    -- os.execute gives this thread away until the answer is in the file
    local wait = ("exec 3>%s; echo ask >&3; until grep -qs answered %s; do :; done"):format(fifo, said)
    assert.is_true(os.execute(("timeout %d sh -c '%s'"):format(LIMIT // 2, wait)))
    assert.equal(2, sw:counts().total.frames_in)
    for _, child in ipairs { echo, ask } do child:close() end
  end))

  it("is entered and left by many calls while frames pass", run(function()
    local sw <close>, far = l2.switch({ "a", "b" }, { thread = true, seed = 1 }) -- luacheck: ignore
    assert(far.b:send(l2.frame { to = 1, from = 2 })) -- b reads a's frames alone
    local sender = vmctl.spawn(function()
      for i = 1, 200 do
        local batch = {}
        for n = 1, 50 do batch[n] = l2.frame { from = 1, text = ("%d %d"):format(i, n), size = 200 } end
        assert(far.a:send_many(batch, LIMIT))
      end
    end)
    local taker = vmctl.spawn(function()
      while far.b:recv_many(256, LIMIT) do end
    end)
    local seen = 0
    assert(sw:tap(function() seen = seen + 1 end))
    while assert(sw:counts()).ports.a.frames_in < 10000 do
      assert(sw:faults("b", "a", { delay = 0.001 }))
      assert(sw:addresses())
      assert.has_error(function() sw._core:counts(77) end) -- raised inside: the switch is left all the same
      sw:seed(3)
      assert(far.b:send(l2.frame { to = 1, from = 2 }))
    end
    sender:join()
    far.b:close()
    taker:join()
    support.eventually(function() return seen > 0 end, LIMIT)
  end))

  it("ends with its Lua state, its task or the collector, whatever it does", run(function()
    for _ = 1, 20 do
      local sw, far = l2.switch({ "a", "b" }, { thread = true })
      assert(sw:tap(function() end))
      assert(far.a:send(l2.frame { from = 1, size = 100 }))
      sw:close()
      sw:close()
      assert.equal("ECLOSED", support.code(sw:counts()))
    end
    local program = [[
      local vmctl = require "vmctl"
      for i = 1, 3 do
        local sw = assert(vmctl.l2.switch { thread = true })
        local near, far = vmctl.l2.socketpair()
        assert(sw:add(near))
        far:send(("\xff"):rep(6) .. ("\2"):rep(20))
        _G["keep" .. i], _G["far" .. i] = sw, far
      end
      keep1 = nil
      collectgarbage()
      %s]]
    for _, ending in ipairs { "", "os.exit(0, true)", "os.exit(0)", "error 'x'" } do
      local code, signal, stderr = script.run(program:format(ending))
      assert.same({ ending:find "error" and 1 or 0 }, { code, signal }, ending .. ": " .. stderr)
    end
  end))
end)

-- The same specs as for a switch on the script's loop.
describe("in a thread of its own:", function()
  local plain, was_quiet, passed = vmctl.l2.switch, l2.is_quiet, support.passed
  local main = lfs.symlinkattributes("/proc/self", "target")
  -- A thread that has something to do is runnable, however long the machine makes it wait.
  local function is_quiet()
    for task in lfs.dir "/proc/self/task" do
      local file = task:find "^%d" and io.open(("/proc/self/task/%s/stat"):format(task))
      local state = file and file:read("a"):match "%) (%a)"
      if file then file:close() end
      if state == "R" and task ~= main then return false end
    end
    return true
  end
  setup(function()
    l2.is_quiet = is_quiet
    support.passed = function(fn, ...) return fn(...) end -- a virtual clock is the loop's alone
    vmctl.l2.switch = function(opts)
      local all = { thread = true }
      for name, value in pairs(opts or {}) do all[name] = value end
      return plain(all)
    end
  end)
  teardown(function() vmctl.l2.switch, l2.is_quiet, support.passed = plain, was_quiet, passed end)

  for _, name in ipairs { "switch", "fault", "capture", "links", "control", "uplink" } do
    assert(loadfile(("spec/l2_%s_spec.lua"):format(name), "t", _ENV))()
  end
end)
