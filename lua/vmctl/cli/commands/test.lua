--- vmctl test: runs scenarios with busted, in one process or side by side.
local busted_command = require "vmctl.suite.busted_command"
local children = require "vmctl.suite.child"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local guest_command = require "vmctl.cli.guest_command"
local interrupt = require "vmctl.cli.interrupt"
local junit = require "vmctl.suite.junit"
local output = require "vmctl.cli.output"
local process = require "vmctl.process"
local progress = require "vmctl.suite.progress"
local results = require "vmctl.suite.results"
local signals = require "vmctl.signals"
local slurm = require "vmctl.suite.slurm"
local suite = require "vmctl.suite"
local suite_options = require "vmctl.cli.suite_options"
local tap = require "vmctl.suite.tap"
local task_run = require "vmctl.suite.task_run"

local M = { words = "any" } -- options stand before paths and behind them

local GRACE, FILE_LIMIT = 0.5, 3600 -- seconds until a signal is passed on; for a spec file
local ARTEFACTS = "build/artefacts"

function M.describe(command)
  command:summary "Run test scenarios with busted."
  command:description("Runs busted on files of scenarios, with this Lua and these modules; its options go behind --.\n" ..
    "  vmctl test scenarios/\n  vmctl test -o junit -- scenarios/ --filter partition\n" ..
    "With --jobs, or another option of those below it, each spec file runs in a process of its own, several at a time:\n" ..
    "  vmctl test --jobs 4 --rerun-failed 1 --junit results.xml scenarios/")
  command:option("-o --output", "busted's output: TAP, junit, json, utfTerminal …"):argname "HANDLER"
  command:option("--artefacts", "Where logs, consoles, screenshots and captures of failures go (build/artefacts)."):argname "DIR"
  suite_options.describe(command)
end

-- Passes a signal to busted, unless busted ends by itself: a terminal or a shell sends signals to the whole group. Kills a busted that
-- does not end in time.
local function end_child(child, name)
  if name == "INT" and child:wait(GRACE) then return end
  children.stop(child, name)
end

local function wait_for(child)
  local ended_by
  local guard <close> = interrupt.handle(function(name) -- luacheck: ignore
    if ended_by then return child:kill "KILL" end
    ended_by = name
    end_child(child, name)
  end)
  local record, err, code = child:wait(math.huge)
  if ended_by then return 128 + signals.number(ended_by) end
  if not record then return nil, err, code end
  if record.signal then return guest_command.status(record) end
  return record.exit_code == 0 and 0 or 1
end

local function run_one(opts)
  local command, err, code = busted_command.words()
  if not command then return nil, err, code end
  if opts.output or opts.json then table.insert(command, "--output=" .. (opts.output or "json")) end
  for _, word in ipairs(opts.rest) do table.insert(command, word) end
  command.stdin, command.stdout, command.stderr = "inherit", "inherit", "inherit"
  command.group, command.death_signal = false, "TERM" -- it shares our terminal, and ends with us
  command.env = busted_command.environment()
  command.env.VMCTL_ARTEFACTS = opts.artefacts
  local child <close>, why, how = process.spawn(command) -- luacheck: ignore
  if not child then return nil, why, how end
  return wait_for(child)
end

local function list(opts, jobs, words, concurrency)
  local lists = suite.list(jobs, words, concurrency)
  if opts.json then
    output.json { files = lists }
    return 0
  end
  for _, file in ipairs(lists) do
    for _, name in ipairs(file.tests) do output.write(file.path, ": ", name, "\n") end
  end
  return 0
end

local function write_report(path, text)
  if path == "-" then
    output.write(text)
    return true
  end
  local ok, err, code = core.fs.replace(path, text)
  if not ok then return nil, ("%s: %s"):format(path, err), code end
  return true
end

-- Writes the reports that were asked for. All are tried; returns the last failure.
local function write_reports(opts, files)
  local failure
  for name, format in pairs { junit = junit, tap = tap } do
    local ok, err, code = true, nil, nil
    if opts[name] then ok, err, code = write_report(opts[name], format.encode(files)) end
    if not ok then failure = { err, code } end
  end
  if failure then return nil, table.unpack(failure) end
  return true
end

local function status_of(files, run)
  if run:stopped() and not run.failed_fast then return 128 + signals.number(run:stopped()) end
  local sum = results.sum(files)
  return (sum.failed == 0 and sum.passed + sum.skipped > 0) and 0 or 1
end

local function document(files)
  local sum = results.sum(files)
  return { passed = sum.passed, failed = sum.failed, skipped = sum.skipped, flaky = sum.flaky, files = files }
end

-- The words that run this program again, for a task on another machine. In a copy of the working folder its path is the same.
local function own_command(option)
  local first = 0
  while arg[first - 1] do first = first - 1 end
  local words = {}
  for i = first, 0 do words[#words + 1] = arg[i]:find "^%.%./" and core.fs.real(arg[i]) or arg[i] end
  words[#words + 1], words[#words + 2] = "test", option
  return words
end

local function run_jobs(opts, jobs, known, words, budget, artefacts, place)
  local quiet = opts.json or opts.tap == "-" or opts.junit == "-"
  local write = quiet and function(text) io.stderr:write(text) end or output.write
  local shown = progress.new(write, #jobs, core.isatty(quiet and 2 or 1), opts.filter ~= nil)
  local running
  local guard <close> = interrupt.handle(function(name) if running then running:stop(name) end end) -- luacheck: ignore
  local files, run, code = suite.run(jobs, known, {
    engine = place.engine, slurm = place.slurm, hosts = place.hosts, most = place.most, resume = opts.resume,
    env = busted_command.environment(),
    command = own_command "--slurm-task", task_command = own_command "--suite-task",
    budget = budget, artefacts = artefacts, limit = opts.file_limit or FILE_LIMIT, words = words, fail_fast = opts.fail_fast,
    running = function(it) running = it end, rerun = opts.rerun_failed, on = function(what, job, about) shown:on(what, job, about) end,
    no_rerun_code = opts.no_rerun_code, pass_stderr = opts.pass_stderr, only_some = opts.filter ~= nil,
  })
  if not files then return nil, run, code end
  shown:finish(files)
  local ok, err
  ok, err, code = write_reports(opts, files)
  if not ok then return nil, err, code end
  if opts.json then output.json(document(files)) end
  return status_of(files, run)
end

local function run_suite(opts)
  local paths, words, code = suite_options.split(opts.rest)
  if not paths then return nil, words, code end
  local place, err, how = suite_options.place(opts)
  if not place then return nil, err, how end
  if opts.output then return errors.fail("EINVAL", "test: --output does not go with --jobs: see --tap and --junit") end
  if #paths == 0 and not opts.resume then return errors.fail("EINVAL", "test: a file or folder of scenarios expected") end
  if opts.filter then words[#words + 1] = "--filter=" .. opts.filter end
  local budget, artefacts = suite.budget(), opts.artefacts or os.getenv "VMCTL_ARTEFACTS" or ARTEFACTS
  for name in pairs(budget) do budget[name] = opts[name] or budget[name] end
  local jobs, known = {}, nil
  if not opts.resume then
    jobs, err, how, known = suite.plan(paths, { artefacts = artefacts, words = words, shard = opts.shard, jobs = budget.jobs,
      remote = place.engine ~= "here" })
    if not jobs then return nil, err, how end
  end
  if opts.list then return list(opts, jobs, words, budget.jobs) end
  return run_jobs(opts, jobs, known or {}, words, budget, artefacts, place)
end

function M.run(opts)
  if opts.slurm_task then
    local ok, err, code = slurm.run_task(opts.slurm_task)
    if not ok then return nil, err, code end
    return 0
  end
  if opts.suite_task then
    local ok, err, code = task_run.run_text(opts.suite_task, opts.artefacts)
    if not ok then return nil, err, code end
    return 0
  end
  return (suite_options.given(opts) and run_suite or run_one)(opts)
end

return M
