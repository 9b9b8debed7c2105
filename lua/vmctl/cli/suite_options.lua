--- The options of `vmctl test` that run spec files side by side, and their combinations.
local errors = require "vmctl.errors"
local units = require "vmctl.cli.units"

local M = {}

local NAMES = { "jobs", "shard", "rerun_failed", "fail_fast", "list", "filter", "junit", "tap", "memory", "cpus", "file_limit",
  "no_rerun_code", "pass_stderr", "on", "slurm", "copy", "resume", "slurm_task", "suite_task" }

local function count(option, least)
  return function(text)
    local number = math.tointeger(tonumber(text))
    if not number or number < least then return nil, ("%s: a whole number from %d expected, got '%s'"):format(option, least, text) end
    return number
  end
end

local function shard(text)
  local index, total = text:match "^(%d+)/(%d+)$"
  index, total = math.tointeger(tonumber(index)), math.tointeger(tonumber(total))
  if not index or not total or index < 1 or index > total then
    return nil, ("--shard: I/N with I from 1 to N expected, such as 2/4, got '%s'"):format(text)
  end
  return { index, total }
end

local function mebibytes(option)
  local convert = units.bytes(option)
  return function(text)
    local bytes, err = convert(text)
    return bytes and bytes // (1 << 20), err
  end
end

-- Name, description, the word for its value, and its converter.
local OPTIONS = {
  { "-j --jobs", "Spec files at a time, each in a process of its own (one for each processor).", "N", count("--jobs", 1) },
  { "--memory", "What the machines of files that run at a time may have together (what is free).", "SIZE", mebibytes "--memory" },
  { "--cpus", "The virtual processors that they may have together (two for each processor).", "N", count("--cpus", 1) },
  { "--shard", "Only the I-th of N parts of the files, which take about as long as each other.", "I/N", shard },
  { "--rerun-failed", "Tests that failed run up to N times more, alone; one that then passes is flaky.", "N", count("--rerun-failed", 0) },
  { "--no-rerun-code", "But not a file that ended with this exit code, a sanitizer's.", "CODE", count("--no-rerun-code", 1) },
  { "--filter", "Only tests whose full name has this Lua pattern.", "PATTERN" },
  { "--junit", "Write the results as JUnit's XML ('-': on standard output).", "FILE" },
  { "--tap", "Write the results as TAP ('-': on standard output).", "FILE" },
  { "--on", "Where files run: here; as tasks of Slurm, on nodes that share this folder; on hosts that get a copy of it.", "slurm|ssh:A,B" },
  { "--slurm", "More words for sbatch, or srun with --copy: '-p long --constraint kvm'.", "WORDS" },
  { "--resume", "Collect the results of a run of Slurm's whose script was lost.", "DIR" },
  { "--file-limit", "The most that a spec file may take (an hour).", "SECONDS", units.seconds "--file-limit" },
}

--- Adds them to a command of argparse.
function M.describe(command)
  for _, option in ipairs(OPTIONS) do
    local added = command:option(option[1], option[2]):argname(option[3])
    if option[4] then added:convert(option[4]) end
  end
  command:option("--slurm-task"):hidden(true) -- a node runs this
  command:option("--suite-task"):hidden(true) -- a host runs this
  command:flag("--copy", "With --on slurm: nodes share no folder, and get a copy of this one.")
  command:flag("--pass-stderr", "What tests write to standard error is seen at once.")
  command:flag("--fail-fast", "End at the first failure.")
  command:flag("--list", "Print the names of the tests, and run none.")
end

--- Tells if one of them was given.
function M.given(opts)
  for _, name in ipairs(NAMES) do
    if opts[name] ~= nil then return true end
  end
  return false
end

local function words_of(text)
  local words = {}
  for word in (text or ""):gmatch "%S+" do words[#words + 1] = word end
  return words
end

local function names_of(text)
  local names = {}
  for name in text:gmatch "[^,%s]+" do
    if name:sub(1, 1) == "-" or name:find "/" then return nil end -- parallel would read it as an option or a group
    names[#names + 1] = name
  end
  return #names > 0 and names
end

--- Tells where files run.
---@return { engine: "here"|"slurm"|"copy"|"ssh", slurm: string[]?, hosts: string[]?, most: integer? }|nil place slurm: words for sbatch or
-- srun; most: files at a time
---@return string? message, string? code EINVAL
function M.place(opts)
  local on = opts.on or (opts.resume and "slurm")
  if on ~= "slurm" then
    if opts.slurm or opts.copy then return errors.fail("EINVAL", "--slurm and --copy go with --on slurm") end
    if not on then return { engine = "here" } end
    local hosts = on:match "^ssh:" and names_of(on:sub(5))
    if not hosts then return errors.fail("EINVAL", "--on: 'slurm' or 'ssh:HOST,…' expected, got '%s'", on) end
    return { engine = "ssh", hosts = hosts, most = opts.jobs }
  end
  if opts.resume and opts.copy then return errors.fail("EINVAL", "--resume: a run with --copy leaves nothing to collect") end
  return { engine = opts.copy and "copy" or "slurm", slurm = words_of(opts.slurm), most = opts.jobs }
end

--- Splits the words behind the options: paths, and options for busted with the rest of the line.
---@param rest string[]
---@return string[]|nil paths, string[]|string words or message, string? code
function M.split(rest)
  local paths, words = {}, {}
  for i, word in ipairs(rest) do
    if word:sub(1, 1) == "-" then
      table.move(rest, i, #rest, 1, words)
      break
    end
    paths[#paths + 1] = word
  end
  for _, word in ipairs(words) do
    if word == "-o" or word:find "^%-%-output" then
      return errors.fail("EINVAL", "test: '%s' does not go with --jobs: the output is that of all files; see --tap and --junit", word)
    end
  end
  return paths, words
end

return M
