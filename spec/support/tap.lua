-- vmctl-agent --lua tap.lua FILE: runs the checks that FILE returns, inside a guest, where there is no busted. Each is a
-- task with a limit that may leave no descriptor open; each is told in a line of TAP ("ok 3 - name", "not ok 4 - name"
-- with the reason below it, behind "# "). The list may have a `limit` in seconds, and a function `prepare` that is called
-- before them all.
local core = require "vmctl.core"
local vmctl = require "vmctl"

local LIMIT = 20 -- seconds for one check, under emulation

io.stdout:setvbuf "line"
local checks = assert(loadfile((...)))()

-- Opens first what is opened once and stays: the worker threads' descriptor, the cgroup of this process and of its commands.
vmctl.run(core.fs.list, "/")
assert(vmctl.host:run { "true" })

local function open_count()
  collectgarbage()
  collectgarbage()
  return #assert(core.fs.list "/proc/self/fd")
end

local function leaves_nothing(before)
  local deadline = vmctl.now() + 2
  while open_count() > before do
    if vmctl.now() > deadline then
      error(("left %d descriptors open, there were %d"):format(open_count(), before), 0)
    end
    vmctl.sleep(0.02)
  end
end

local function run(check)
  local before = open_count()
  local ok, err = xpcall(vmctl.run, debug.traceback, vmctl.timeout, checks.limit or LIMIT, check[2])
  if ok then ok, err = pcall(leaves_nothing, before) end
  return ok, err
end

if checks.prepare then checks.prepare() end
print(("1..%d"):format(#checks))
for i, check in ipairs(checks) do
  local ok, err = run(check)
  print(("%s %d - %s"):format(ok and "ok" or "not ok", i, check[1]))
  if not ok then print("# " .. tostring(err):gsub("\n", "\n# ")) end
end
