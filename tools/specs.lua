-- lua5.4 tools/specs.lua [FILE ...]: runs each spec file in a busted of its own, several side by side, and adds up what they say.
-- One line for each file that ends, all of the output of one that failed, then the slowest ten. The last line is
-- "N passed, N failed, N skipped"; a file that did not get to its own last line counts as a failure.
--
-- Environment:
--   JOBS          files at a time
--   FILTER        a Lua pattern: only tests whose name (of `describe` and `it`) has it
--   SPEC_SECONDS  the most that a file may take
--   SPEC_RETRY    where everything takes several times as long, limits of time are missed now and then: a file that failed has
--                 a second chance, alone, and both are shown. What a sanitizer found is no matter of time.
--   VMCTL_NESTED  tests tagged "nested" as well
--   VMCTL_SLURM   tests tagged "slurm" as well
--   VMCTL_SSH     tests tagged "ssh" as well
--   VMCTL_DISTRIBUTIONS  the distributions for tests tagged "distribution", which need their disks
-- The spec files' durations and output stay in build/specs (or $VMCTL_BUILD/specs).
local uv = require "luv"

local NESTED = os.getenv "VMCTL_NESTED"
local DISTRIBUTIONS = os.getenv "VMCTL_DISTRIBUTIONS"
local LIMIT = tonumber(os.getenv "SPEC_SECONDS") or ((NESTED or DISTRIBUTIONS) and 1800 or 600)
local JOBS = math.max(1, tonumber(os.getenv "JOBS") or uv.available_parallelism() + 1)
local FILTER = os.getenv "FILTER"
local RETRY = os.getenv "SPEC_RETRY"
local FOLDER = (os.getenv "VMCTL_BUILD" or "build") .. "/specs"
local TIMES = FOLDER .. "/durations"

local SANITIZER = 99      -- its exit code
local GUEST = 300         -- MB that a guest needs, QEMU itself included
local GUESTS = 2          -- that a file has at a time, where it does not say otherwise
local GUEST_SECONDS = 15  -- that a file with guests takes, where nothing else is known
local GROWING = 10        -- seconds until a guest has taken most of its memory
local GRACE = 5           -- seconds between SIGTERM and SIGKILL
local SLOWEST = 10

local function say(fmt, ...)
  print(fmt:format(...))
  io.stdout:flush()
end

local function find_specs()
  local files = {}
  local pipe = assert(io.popen "find spec -name '*_spec.lua' | sort")
  for path in pipe:lines() do files[#files + 1] = path end
  pipe:close()
  return files
end

local function read_all(path)
  local file = io.open(path, "rb")
  if not file then return "" end
  local text = file:read "a"
  file:close()
  return text
end

-- Durations of earlier runs: seconds by path.
local function read_durations()
  local seconds = {}
  for path, number in read_all(TIMES):gmatch "(%S+) (%S+)\n" do seconds[path] = tonumber(number) end
  return seconds
end

local function write_durations(seconds)
  local lines = {}
  for path, number in pairs(seconds) do lines[#lines + 1] = ("%s %.1f\n"):format(path, number) end
  table.sort(lines)
  local file = assert(io.open(TIMES .. ".tmp", "w"))
  file:write(table.concat(lines))
  file:close()
  assert(os.rename(TIMES .. ".tmp", TIMES))
end

-- Seconds that a file takes, as far as that is known: it ran here before, it says so ("Takes about 40 seconds"), or it has guests.
local function expected_seconds(path, durations, memory)
  local said = read_all(path):match "%-%- Takes about (%d+) seconds"
  return durations[path] or tonumber(said) or (memory > 0 and GUEST_SECONDS or 1)
end

-- MB that the guests of a file need. One that has many says so in a comment of its own: "Guests at a time: 8".
local function guests_memory(path)
  local text = read_all(path)
  local booting = text:find '"spec.support.guest"' or text:find '"spec.support.scenario"'
  local number = tonumber(text:match "%-%- Guests at a time: (%d+)") or (booting and GUESTS or 0)
  return number * GUEST
end

-- The files to run, the longest first, so that no long one is left for the end.
local function plan(paths, durations)
  local jobs = {}
  for i, path in ipairs(paths) do
    local memory = guests_memory(path)
    jobs[i] = { path = path, memory = memory, expected = expected_seconds(path, durations, memory) }
  end
  table.sort(jobs, function(a, b)
    if a.expected ~= b.expected then return a.expected > b.expected end
    return a.path < b.path
  end)
  return jobs
end

-- MB that new programs can have.
local function available_memory()
  local kilobytes = read_all "/proc/meminfo":match "MemAvailable:%s*(%d+)"
  return kilobytes and tonumber(kilobytes) / 1024 or math.huge
end

local waiting, running, done, again = {}, {}, {}, {}
local durations, total, stopping

-- Is there memory for one more file with guests? Those that began just now have not taken theirs yet.
local function has_room(job)
  if job.memory == 0 then return true end
  local needed, others = job.memory, false
  for other in pairs(running) do
    if other.memory > 0 then
      others = true
      if uv.hrtime() - other.began < GROWING * 1e9 then needed = needed + other.memory end
    end
  end
  return not others or available_memory() >= needed
end

local function next_job()
  for i, job in ipairs(waiting) do
    if has_room(job) then return table.remove(waiting, i) end
  end
end

local function signal_all(signal)
  for job in pairs(running) do uv.kill(-job.pid, signal) end
end

-- The counts of a file's busted: passed, failed, skipped.
local function count(job)
  local passed, failures, errors, skipped =
    job.output:match "(%d+) success%w* / (%d+) failure%w* / (%d+) error%w* / (%d+) pending"
  local failed = (tonumber(failures) or 0) + (tonumber(errors) or 0)
  job.odd = not passed or (job.code ~= 0 and failed == 0)
  job.counts = { tonumber(passed) or 0, failed + (job.odd and 1 or 0), tonumber(skipped) or 0 }
end

local function report(job)
  local counts = job.counts
  if FILTER and counts[1] + counts[2] + counts[3] == 0 then return end
  local skipped = counts[3] > 0 and (", %d skipped"):format(counts[3]) or ""
  say("[%d/%d] %s: %d passed, %d failed%s (%.1f s)", #done, total, job.path, counts[1], counts[2], skipped, job.seconds)
  if counts[2] > 0 then
    print(job.output)
  else
    for reason in job.output:gmatch "\nPending %-> [^\n]*\n[^\n]*\n([^\n]*)" do say("  skipped: %s", reason) end
  end
  if job.odd then
    local how = job.late and (" after %d seconds"):format(LIMIT) or ""
    say("%s: ended with %s %d%s", job.path, job.signal ~= 0 and "signal" or "exit code",
      job.signal ~= 0 and job.signal or job.code, how)
  end
end

local start_some

local function on_exit(job, code, signal)
  job.code, job.signal, job.seconds = code, signal, (uv.hrtime() - job.began) / 1e9
  job.timer:close()
  job.handle:close()
  running[job] = nil
  -- Whatever it left behind in its group goes with it.
  uv.kill(-job.pid, "sigkill")
  if stopping then return end
  job.output = read_all(job.log)
  count(job)
  local second_chance = RETRY and not job.alone and job.counts[2] > 0 and code ~= SANITIZER
  if not second_chance then done[#done + 1] = job end
  report(job)
  if second_chance then
    say("%s: once more, when the others have ended", job.path)
    again[#again + 1] = { path = job.path, memory = job.memory, alone = true }
  elseif not FILTER and job.counts[2] == 0 then
    durations[job.path] = job.seconds
  end
  start_some()
end

local function command(job)
  local args = { "--lua=lua5.4", "-o", "plainTerminal" }
  if not NESTED then args[#args + 1] = "--exclude-tags=nested" end
  if not DISTRIBUTIONS then args[#args + 1] = "--exclude-tags=distribution" end
  if not os.getenv "VMCTL_SLURM" then args[#args + 1] = "--exclude-tags=slurm" end
  if not os.getenv "VMCTL_SSH" then args[#args + 1] = "--exclude-tags=ssh" end
  if FILTER then args[#args + 1] = "--filter=" .. FILTER end
  args[#args + 1] = job.path
  return args
end

-- Each has a session of its own: a signal reaches all of it, and no terminal does.
local function start(job)
  job.log = ("%s/%s.log"):format(FOLDER, (job.path:gsub("[/.]", "_")))
  job.began = uv.hrtime()
  local fd = assert(uv.fs_open(job.log, "w", tonumber("644", 8)))
  -- Minutes of nested guests are not to pass in silence: their progress on standard error is seen at once.
  local options = { args = command(job), detached = true, stdio = { nil, fd, NESTED and 2 or fd } }
  local handle, pid = uv.spawn("busted", options, function(code, signal) on_exit(job, code, signal) end)
  uv.fs_close(fd)
  job.handle, job.pid = assert(handle, pid), pid
  running[job] = true
  job.timer = uv.new_timer()
  job.timer:start(LIMIT * 1000, GRACE * 1000, function()
    uv.kill(-job.pid, job.late and "sigkill" or "sigterm")
    job.late = true
  end)
end

local look = uv.new_timer() -- whether there is memory now

function start_some()
  if stopping then return end
  local busy = 0
  for _ in pairs(running) do busy = busy + 1 end
  while busy < JOBS do
    local job = next_job()
    if not job then break end
    start(job)
    busy = busy + 1
  end
  if busy == 0 and #waiting == 0 and #again > 0 then
    start(table.remove(again, 1))
  elseif busy == 0 and #waiting == 0 then
    uv.stop()
  end
end

-- SIGTERM for all, a while later SIGKILL; then this program ends of the same signal.
local function stop(name, number)
  if stopping then return end
  stopping = true
  signal_all "sigterm"
  local patience, ticks = uv.new_timer(), 0
  patience:start(0, 50, function()
    ticks = ticks + 1
    if ticks == GRACE * 20 then signal_all "sigkill" end
    if next(running) then return end
    say("stopped by %s", name)
    os.exit(128 + number)
  end)
end

local function watch_signals()
  for name, number in pairs { SIGTERM = 15, SIGINT = 2, SIGHUP = 1 } do
    uv.new_signal():start(name:lower(), function() stop(name, number) end)
  end
end

local function summary()
  local sum = { 0, 0, 0 }
  table.sort(done, function(a, b) return a.seconds > b.seconds end)
  print "the slowest:"
  for i = 1, math.min(SLOWEST, #done) do say("  %5.1f s  %s", done[i].seconds, done[i].path) end
  for _, job in ipairs(done) do
    for i = 1, 3 do sum[i] = sum[i] + job.counts[i] end
    if job.counts[2] > 0 then say("failed: %s (%s)", job.path, job.log) end
  end
  if sum[1] + sum[2] + sum[3] == 0 then
    print "no spec was found"
    sum[2] = 1
  end
  say("%d passed, %d failed, %d skipped", table.unpack(sum))
  return sum[2] == 0
end

assert(os.execute("mkdir -p " .. FOLDER))
durations = read_durations()
waiting = plan(#arg > 0 and arg or find_specs(), durations)
total = #waiting
watch_signals()
look:start(1000, 1000, start_some)
start_some()
if next(running) then uv.run() end
write_durations(durations)
os.exit(summary())
