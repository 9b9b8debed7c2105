--- Spec files on machines that share no folder with this one: each task gets a copy of the working folder, and its result and its
--- artefacts come back as an archive.
local artefacts = require "vmctl.scenario.artefacts"
local cjson = require "cjson"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local host = require "vmctl.host"
local log = require "vmctl.log"
local record = require "vmctl.suite.record"
local base_name = require "vmctl.text".base

local M = {}

local MOST = 256 << 20      -- bytes of a result
local SAID = 64 << 10       -- bytes of the output of a task's program that are shown
local LIMIT = 3600          -- seconds to pack the folder, or to unpack a result

-- A machine's script: unpacks the folder into one of the task's own, from the file $1 in the folder where it begins, or from standard
-- input ("-"). The task's folder is removed when the task ends. Behind $1 are the task and the command that runs it.
local SCRIPT = [[
set -u
umask 077
if [ "$1" = - ]; then base=${TMPDIR:-/tmp}; else base=$PWD; fi
dir=$(mktemp -d "$base/vmctl-task.XXXXXX") || exit 100
pid=
trap 'rm -rf "$dir"' EXIT
trap '[ -z "$pid" ] || { kill "$pid"; wait "$pid"; } 2>/dev/null; exit 143' HUP INT TERM
mkdir "$dir/project" "$dir/out" || exit 100
tar -x --no-same-owner -C "$dir/project" -f "$1" || exit 100
task=$2
shift 2
cd "$dir/project" || exit 100
"$@" "$task" --artefacts "$dir/out" >"$dir/out/task.log" 2>&1 </dev/null &
pid=$!
wait "$pid" || { cat "$dir/out/task.log" >&2; [ -f "$dir/out/result.json" ] || exit 101; }
tar -c -C "$dir/out" -f - .
]]

local function quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

--- The words that run a task.
---@param bundle string the file with the folder, as that machine names it; "-": it comes on standard input
---@param text string of the task
---@param command string[] the command that runs a task: the task's text is the next word
---@return string[]
function M.words(bundle, text, command)
  return { "sh", "-c", SCRIPT, "sh", bundle, text, table.unpack(command) }
end

--- The same as one line for a shell, with `place` where the text is.
---@param bundle string
---@param place string
---@param command string[]
---@return string
function M.line(bundle, place, command)
  local words = {}
  for _, word in ipairs { "sh", "-c", SCRIPT, "sh", bundle } do words[#words + 1] = quote(word) end
  words[#words + 1] = place
  for _, word in ipairs(command) do words[#words + 1] = quote(word) end
  return table.concat(words, " ")
end

-- The path of a file below the working folder; nil for one that is elsewhere.
local function relative(path, here)
  if path:sub(1, 1) ~= "/" then return not ("/" .. path .. "/"):find("/../", 1, true) and path:gsub("^%./+", "") or nil end
  return path:sub(1, #here + 1) == here .. "/" and path:sub(#here + 2) or nil
end

--- The tasks of jobs: texts, by which `take` knows their results. Their spec files are below the working folder.
---@param jobs vmctl.SuiteJob[]
---@param opts { limit: number, words: string[]?, rerun: integer?, no_rerun_code: integer? }
---@return string[]|nil texts, table<string, vmctl.SuiteJob>|string by_path or message: the jobs by their paths there; string? code EINVAL
function M.tasks(jobs, opts)
  local here, texts, by_path = core.fs.real ".", {}, {}
  for i, job in ipairs(jobs) do
    local path = relative(job.path, here)
    if not path then return errors.fail("EINVAL", "test: %s is not below this folder, which is what is copied", job.path) end
    by_path[path] = job
    texts[i] = cjson.encode { job = { path = path, expected = job.expected, memory = job.memory, cpus = job.cpus }, limit = opts.limit,
      words = opts.words, rerun = opts.rerun, no_rerun_code = opts.no_rerun_code }
  end
  return texts, by_path
end

--- Packs the working folder, without .git and the artefacts. Waits.
---@param folder string where bundle.tar is written
---@param root string the artefacts' folder
---@return string|nil path, string?, string?
function M.pack(folder, root)
  local path = folder .. "/bundle.tar"
  local command = { "tar", "-c", "-f", path, "--exclude=./.git", timeout = LIMIT }
  local inside = relative(core.fs.real(root), core.fs.real ".")
  if inside then command[#command + 1] = "--exclude=./" .. inside end
  command[#command + 1] = "."
  local done, err, code = host:run(command)
  if not done then return nil, err, code end
  -- With exit code 1 a file has changed meanwhile; the archive has it nevertheless.
  if done.exit_code > 1 then return errors.fail("EIO", "tar: %s", log.last_words(done.stderr)) end
  return path
end

local function read_result(folder)
  local file = io.open(folder .. "/result.json", "rb")
  if not file then return nil end
  local text = file:read(MOST) or ""
  file:close()
  local ok, result = pcall(cjson.decode, text)
  return ok and record.is_file(result) and result or nil
end

-- Moves the artefacts of a file to the folder that they would have if it had run here.
local function place(file, path, from, root)
  local target = root .. "/" .. artefacts.file_name(path)
  local came = from .. "/" .. artefacts.file_name(file.path)
  artefacts.remove(target)
  if core.fs.stat(came, true) then -- a file without guests leaves none
    local ok, err = core.fs.rename(came, target)
    if not ok then log.error("the artefacts of %s stay away: %s", path, err) end
  end
  for _, test in ipairs(file.tests) do
    test.artefacts = type(test.artefacts) == "string" and target .. "/" .. base_name(test.artefacts) or target
  end
  file.path = path
end

--- Unpacks the archive of a task: its result and artefacts. Waits.
---@param archive string a file
---@param by_path table<string, vmctl.SuiteJob> the jobs that have no result yet
---@param root string the artefacts' folder
---@return vmctl.SuiteFile|nil file, vmctl.SuiteJob|string job or message, string? code EPROTO
function M.take(archive, by_path, root)
  local folder, err, code = core.fs.temporary(root .. "/copy")
  if not folder then return nil, err, code end
  local done = host:run { "tar", "-x", "--no-same-owner", "-C", folder, "-f", archive, timeout = LIMIT }
  local file = done and done.exit_code == 0 and read_result(folder)
  local job = file and by_path[file.path]
  if job then place(file, job.path, folder, root) end
  artefacts.remove(folder)
  if not job then return errors.fail("EPROTO", "no result came back") end
  return file, job
end

--- The result of a file that could not run.
---@param path string
---@param why string
---@param said string?
---@return vmctl.SuiteFile
function M.failed(path, why, said)
  return { path = path, tests = {}, mistakes = {}, output = (said or ""):sub(-SAID), seconds = 0, ended = why }
end

return M
