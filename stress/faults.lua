-- Lets the calls of a script fail, one in each run: every call of the list below, at the first time, the second, … as often as the
-- script makes it (at most MOST times, spread evenly). No crash, no hang, no leak, no wrong success may come of it.
-- Usage: lua5.4 stress/faults.lua [PART…]     environment: MOST (40 places of each call in each part), JOBS (2)
local vmctl = require "vmctl"
local core = require "vmctl.core"
local native = require "spec.support.native"
local parts = require "stress.faults.parts"

local MOST = tonumber(os.getenv "MOST") or 40
local JOBS = tonumber(os.getenv "JOBS") or 2
local LIMIT = 90    -- seconds for one script, which takes a tenth of one
local TEXT = 4096   -- bytes of a script's complaints that are shown
local EIO, EAGAIN, ENOMEM, EPIPE, ENOSPC, EMFILE, ENOBUFS, ECONNRESET = 5, 11, 12, 32, 28, 24, 105, 104

-- The error of each call. Those that are not here fail with EIO. ENOMEM may also be raised, as Lua does it.
local ERRORS = {
  malloc = ENOMEM, calloc = ENOMEM, realloc = ENOMEM, socket = EMFILE, socketpair = EMFILE, accept4 = EMFILE, epoll_create1 = EMFILE,
  epoll_ctl = ENOSPC, pipe2 = EMFILE, dup3 = EMFILE, eventfd = EMFILE, fork = EAGAIN, vfork = EAGAIN, pthread_create = EAGAIN,
  open64 = EMFILE, openat64 = EMFILE, fcntl64 = EMFILE, write = ENOSPC, send = EPIPE, sendmsg = ENOBUFS, recv = ECONNRESET,
  readv = ECONNRESET, fsync = ENOSPC, ftruncate64 = ENOSPC,
}
-- A wait for events that fails in another way than by a signal means that the loop's own descriptor is broken, and one for a child
-- that the child is another's: nothing can be expected after that.
local LEFT_OUT = { epoll_wait = true, waitid = true }

-- lua-cjson ends the process in these words, where it has no memory for its buffer. We cannot do better; it is counted.
local CJSON = "^Out of memory\n$"

local cases, cjson, failures = 0, 0, {}

local function remove(path)
  for _, name in ipairs(core.fs.list(path) or {}) do remove(path .. "/" .. name) end
  os.remove(path)
end

local function run_victim(folder, part, library, call, at, report)
  local place = assert(core.fs.temporary(folder .. "/case"))
  local argv = { "lua5.4", "stress/faults/victim.lua", part, library, stdin = "null", stdout = "null", stderr = "pipe",
    death_signal = "KILL", group = true, env = {
      LD_PRELOAD = library, TMPDIR = place, FAULT_CALL = call, FAULT_AT = tostring(at), FAULT_REPORT = report,
      FAULT_ERROR = tostring(ERRORS[call] or EIO), LUA_PATH = package.path, LUA_CPATH = package.cpath, PATH = os.getenv "PATH" } }
  local child <close> = assert(vmctl.process.spawn(argv))
  local said, part_of, _, code = ""
  repeat
    part_of, _, code = child.stderr:read(TEXT, LIMIT)
    said = (said .. (part_of or "")):sub(1, TEXT)
  until not part_of
  local record = code ~= "ETIMEDOUT" and child:wait(LIMIT)
  remove(place) -- empty, unless the script could not end by itself
  cases = cases + 1
  if not record then return "did not end in time: " .. said end
  if record.exit_code == 255 and ERRORS[call] == ENOMEM and said:find(CJSON) then
    cjson = cjson + 1
  elseif record.exit_code ~= 0 then
    return ("%s %s: %s"):format(record.signal or "", record.exit_code or "", said)
  end
end

local function read_counts(path)
  local counts = {}
  for line in io.lines(path) do
    local call, count = line:match "^(%S+) (%d+)$"
    counts[call] = tonumber(count)
  end
  os.remove(path)
  return counts
end

-- Every place of `count` when there are few, else MOST of them from the first to the last.
local function places(count)
  local list = {}
  for i = 1, math.min(count, MOST) do
    list[i] = count <= MOST and i or 1 + (i - 1) * (count - 1) // math.max(1, MOST - 1)
  end
  return list
end

local function plan(folder, library, names)
  local list, calls = {}, {}
  for _, part in ipairs(names) do
    local report = folder .. "/report"
    local err = run_victim(folder, part, library, "none", 0, report)
    if err then error(("%s without a failure: %s"):format(part, err), 0) end
    for call, count in pairs(read_counts(report)) do
      if not LEFT_OUT[call] then
        for _, at in ipairs(places(count)) do list[#list + 1] = { part, call, at } end
        if count > 0 then calls[call] = true end
      end
    end
  end
  local kinds = 0
  for _ in pairs(calls) do kinds = kinds + 1 end
  return list, kinds
end

local function main(names)
  io.stdout:setvbuf "line"
  if #names == 0 then
    for name in pairs(parts) do names[#names + 1] = name end
  end
  table.sort(names)
  local folder = assert(core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-faults"))
  local library, begin = native.build("count", folder), vmctl.now()
  local list, kinds = plan(folder, library, names)
  vmctl.map(list, function(case)
    local err = run_victim(folder, case[1], library, case[2], case[3])
    if err then
      failures[#failures + 1] = ("%s: %s, the %dth time: %s"):format(case[1], case[2], case[3], err)
      print("faults: " .. failures[#failures])
    end
  end, { concurrency = JOBS })
  os.remove(library)
  local empty = os.remove(folder)
  print(("faults: %d parts, %d kinds of calls, %d scripts, %d failures, %d ended by lua-cjson, %.0f s%s"):format(#names, kinds, cases,
    #failures, cjson, vmctl.now() - begin, empty and "" or ", and " .. folder .. " is not empty"))
  return #failures == 0 and empty and 0 or 1
end

os.exit(vmctl.run(main, { table.unpack(arg) }), true)
