-- lua5.4 tools/specs.lua [FILE ...]: the project's specs by its own `vmctl test`, each file in a process of its own, several side by
-- side. The last line is "N passed, N failed, N skipped".
-- A mistake in vmctl test must not let failures vanish: busted itself counts in each file (tools/spec-witness.lua), and a file that has
-- not ended, that failed, or whose counts are others than those of vmctl test is a failure, whatever that says.
--
-- Environment:
--   JOBS          files at a time (two for each processor)
--   FILTER        a Lua pattern: only tests whose name (of `describe` and `it`) has it
--   SPEC_SECONDS  the most that a file may take
--   SPEC_RETRY    where everything takes several times as long, limits of time are missed now and then: a test that failed has
--                 a second chance, alone, and both are shown. A sanitizer's report is not retried.
--   SPEC_RUNNER   another program than vmctl test (its spec)
--   VMCTL_NESTED  tests tagged "nested" as well
--   VMCTL_SLURM   tests tagged "slurm" as well
--   VMCTL_SSH     tests tagged "ssh" as well
--   VMCTL_INSTALL tests tagged "install" as well
--   VMCTL_PAGES   tests tagged "pages" as well
--   VMCTL_DISTRIBUTIONS  the distributions for tests tagged "distribution", which need their disks
-- Durations, results and what scenarios leave stay in build/specs (or $VMCTL_BUILD/specs).
local uv = require "luv"

local NESTED = os.getenv "VMCTL_NESTED"
local FOLDER = (os.getenv "VMCTL_BUILD" or "build") .. "/specs"
local TAGS = { nested = "VMCTL_NESTED", distribution = "VMCTL_DISTRIBUTIONS", slurm = "VMCTL_SLURM", ssh = "VMCTL_SSH",
  install = "VMCTL_INSTALL", pages = "VMCTL_PAGES" }
local SANITIZER = 99      -- its exit code
local SIGNALS = 128       -- exit codes from here are those of signals
local FOR_EACH_PROCESSOR = 2 -- files at a time: most of them wait for half of their time
local PROCESSORS = 1000   -- virtual ones of guests at a time: here memory alone is a limit

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

local function command(paths, tap)
  local words = { "test", "--artefacts", FOLDER, "--jobs", os.getenv "JOBS" or tostring(FOR_EACH_PROCESSOR * uv.available_parallelism()),
    "--cpus", tostring(PROCESSORS), "--no-rerun-code", tostring(SANITIZER), "--tap", tap }
  local function add(...)
    for _, word in ipairs { ... } do words[#words + 1] = word end
  end
  add("--file-limit", os.getenv "SPEC_SECONDS" or ((NESTED or os.getenv "VMCTL_DISTRIBUTIONS") and "1800" or "600"))
  if os.getenv "SPEC_RETRY" then add("--rerun-failed", "1") end
  if os.getenv "FILTER" then add("--filter", os.getenv "FILTER") end
  if NESTED then add "--pass-stderr" end -- minutes of nested guests are not to pass in silence
  add(table.unpack(paths))
  add("--", "--helper=tools/spec-witness.lua")
  for tag, variable in pairs(TAGS) do
    if not os.getenv(variable) then add("--exclude-tags=" .. tag) end
  end
  return words
end

-- Runs it in a group of its own, and passes signals on. Returns its exit code.
local function run(words, witness)
  local program, result = os.getenv "SPEC_RUNNER", nil
  if not program then
    table.insert(words, 1, "tools/command-line.lua")
    program = uv.exepath()
  end
  uv.os_setenv("SPEC_WITNESS", witness)
  local handle, pid = uv.spawn(program, { args = words, detached = true, stdio = { nil, 1, 2 } }, function(code, signal)
    result = signal ~= 0 and 128 + signal or code
    uv.stop()
  end)
  if not handle then error(("%s: %s"):format(program, pid)) end
  for _, name in ipairs { "sigterm", "sigint", "sighup" } do
    uv.new_signal():start(name, function() handle:kill(name) end)
  end
  uv.run()
  return result
end

-- Reads busted's own counts: for each file, those of its runs.
local function read_witness(path)
  local runs = {}
  for name, passed, failed, skipped in read_all(path):gmatch "(%S+) (%d+) (%d+) (%d+)\n" do
    runs[name] = runs[name] or {}
    table.insert(runs[name], { tonumber(passed), tonumber(failed), tonumber(skipped) })
  end
  return runs
end

-- Reads the counts of vmctl test, by file.
local function read_results(path)
  local by_path = {}
  for line in read_all(path):gmatch "[^\n]+" do
    local no, name = line:match "^(n?o?t? ?)ok %d+ %- (.-): "
    if name then
      local counts = by_path[name] or { 0, 0, 0 }
      local which = no ~= "" and 2 or line:find("[^\\]# SKIP") and 3 or 1
      counts[which] = counts[which] + 1
      by_path[name] = counts
    end
  end
  return by_path
end

-- The reason why a file has failed that passed for vmctl test, or nil.
local function objection(runs, said)
  if not runs then return "its busted did not get to its end" end
  local last = runs[#runs]
  if last[2] > 0 then return ("its busted has counted %d failures"):format(last[2]) end
  said = said or { 0, 0, 0 }
  if #runs == 1 and table.concat(said, " ") ~= table.concat(last, " ") then
    return ("its busted has counted %s passed, failed and skipped, the results have %s"):format(table.concat(last, ", "),
      table.concat(said, ", "))
  end
end

local function check(paths, runs, said)
  local passed, wrong = 0, 0
  for _, path in ipairs(paths) do
    local why = objection(runs[path], said[path])
    for _, counts in ipairs(runs[path] or {}) do passed = passed + counts[1] + counts[3] end
    if why then
      wrong = wrong + 1
      print(("%s: vmctl test says that nothing failed, but %s"):format(path, why))
    end
  end
  if wrong > 0 then print(("%d passed, %d failed"):format(passed, wrong)) end
  return wrong == 0
end

-- A failure without one that is counted: no test was found, or vmctl test itself failed.
local function explain(code, said)
  for _, counts in pairs(said) do
    if counts[2] > 0 then return end
  end
  print(code == 1 and "no spec was found" or ("vmctl test ended with exit code %d"):format(code))
  print "0 passed, 1 failed"
end

assert(os.execute("mkdir -p " .. FOLDER))
local witness, tap = ("%s/witness-%d"):format(FOLDER, uv.os_getpid()), ("%s/tap-%d"):format(FOLDER, uv.os_getpid())
local paths = #arg > 0 and arg or find_specs()
local code = run(command(paths, tap), witness)
local said = read_results(tap)
local right = code == 0 and check(paths, read_witness(witness), said)
if code ~= 0 and code < SIGNALS then explain(code, said) end
os.remove(witness)
os.remove(tap)
os.exit(code ~= 0 and code or right)
