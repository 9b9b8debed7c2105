--- Runs spec files on hosts that ssh reaches, by GNU parallel: it sends the working folder once to each, gives each host its files, and
--- those of a host that dies to another one. Nothing is left on the hosts.
local artefacts = require "vmctl.scenario.artefacts"
local copies = require "vmctl.suite.copies"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local host = require "vmctl.host"
local log = require "vmctl.log"
local process = require "vmctl.process"
local schedule = require "vmctl.suite.schedule"
local task = require "vmctl.base.task"
local text = require "vmctl.text"

local M = {}

local ATTEMPTS = 4      -- a host may die
local LIMIT = 60        -- seconds for a short command
local GRACE = 30        -- seconds until stopped tasks are killed
local LINE = 64 << 10   -- bytes of a line of parallel's

-- A host that is silent for 15 seconds is dead.
local SSH = { "ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3" }

---@class vmctl.SshRun
local methods = {}
local mt = { __name = "vmctl.SshRun", __index = methods }

--- A run that has not begun.
---@param opts table as for vmctl.suite.runner, and: hosts (names for ssh), most (files at a time on each), task_command (the command that
-- runs a task there)
---@return vmctl.SshRun
function M.new(opts)
  return setmetatable({ _opts = opts, _files = {} }, mt)
end

local function looks_for_programs()
  local said = host:run { "parallel", "--version", timeout = LIMIT }
  if not said or said.exit_code ~= 0 or not said.stdout:find "^GNU parallel" then
    return errors.fail("ENOENT", "--on ssh: GNU parallel does it, which is not here (Debian: apt install parallel)")
  end
  said = host:run { "rsync", "--version", timeout = LIMIT }
  if not said or said.exit_code ~= 0 then
    return errors.fail("ENOENT", "--on ssh: rsync takes the folder there, which is not here (Debian: apt install rsync)")
  end
  return true
end

-- Lists the hosts that answer. Others are reported, and left out.
local function find_hosts(self)
  local hosts, why = {}, nil
  local answers = task.map(self._opts.hosts, function(name)
    local command = table.move(SSH, 1, #SSH, 1, {})
    command[#command + 1], command[#command + 2], command.timeout = name, "true", LIMIT
    local said, err = host:run(command)
    return { ok = said and said.exit_code == 0, why = said and log.last_words(said.stderr) or err }
  end, { concurrency = #self._opts.hosts })
  for i, name in ipairs(self._opts.hosts) do
    if answers[i].ok then
      hosts[#hosts + 1] = name
    else
      why = ("%s: %s"):format(name, answers[i].why)
      log.write(("ssh: left out: %s\n"):format(why))
    end
  end
  if #hosts == 0 then return errors.fail("EHOSTUNREACH", "--on ssh: no host answers; %s", why) end
  self._hosts = table.concat(hosts, ",")
  return true
end

local function parallel(self, ...)
  return { "parallel", "--plain", "--will-cite", "--ssh", table.concat(SSH, " "), "--sshlogin", self._hosts, "--tmpdir", self._folder, ... }
end

local function spawn(self)
  local command = parallel(self, "--workdir", self._name, "--basefile", self._folder .. "/./bundle.tar", "--files",
    "--jobs", tostring(self._opts.most or 1), "--retries", tostring(ATTEMPTS), "--termseq", "TERM,10000,KILL",
    copies.line("bundle.tar", "{}", self._opts.task_command))
  command.stdin, command.stdout, command.stderr, command.death_signal = "pipe", "pipe", "pipe", "TERM"
  return process.spawn(command)
end

-- Takes the archives that tasks have written: parallel tells their names. An archive without a result is that of a task whose last
-- attempt failed.
local function take_all(self, stream)
  for archive in function() return (stream:read_line(LINE, math.huge)) end do
    local file, job = copies.take(archive, self._left, self._opts.artefacts)
    os.remove(archive)
    if file then
      self:_end(job, file)
      for path, other in pairs(self._left) do
        if other == job then self._left[path] = nil end
      end
    end
  end
end

local function read_complaints(self, stream)
  self._complaints = ""
  for bytes in function() return (stream:read(LINE, math.huge)) end do
    if bytes == "" then return end
    self._complaints = (self._complaints .. bytes):sub(-LINE)
  end
end

function methods:_end(job, file)
  self._files[#self._files + 1] = file
  self._opts.on("end", job, file)
end

-- Gives parallel the tasks, and takes their archives until it ends.
local function drive(self, texts)
  local child <close>, err, code = spawn(self) -- luacheck: ignore
  if not child then return nil, err, code end
  self._child = child
  if self._stopped then self:_kill() end
  task.scope(function()
    task.spawn(read_complaints, self, child.stderr)
    task.spawn(function()
      child.stdin:write(table.concat(texts, "\n") .. "\n", math.huge)
      child.stdin:close()
    end)
    take_all(self, child.stdout)
  end)
  child:wait(math.huge)
  self._child = nil
  return true
end

-- Leftovers of a host that died, or of an interrupt. The folder's name is ours alone.
local function clean(self)
  host:run(parallel(self, "--nonall", "--jobs", "0", "--timeout", tostring(LIMIT),
    ("rm -rf %s 2>/dev/null || { sleep 2; rm -rf %s; }"):format(self._name, self._name)))
end

--- Runs jobs, and takes their results as they come. Waits.
---@param jobs vmctl.SuiteJob[]
---@return vmctl.SuiteFile[]|nil files in the order of their names
---@return string?, string? code ENOENT where a program is missing, EHOSTUNREACH
function methods:run(jobs)
  local opts = self._opts
  local ok, err, code = looks_for_programs()
  if ok then ok, err, code = find_hosts(self) end
  if not ok then return nil, err, code end
  local sorted = table.move(jobs, 1, #jobs, 1, {})
  schedule.sort(sorted)
  local texts, by_path, how = copies.tasks(sorted, opts)
  if not texts then return nil, by_path, how end
  self._left = by_path
  self._folder, err, code = core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-suite")
  if not self._folder then return nil, err, code end
  self._name = "." .. text.base(self._folder)
  ok, err, code = copies.pack(self._folder, opts.artefacts)
  if ok then
    ok, err, code = drive(self, texts)
    clean(self)
  end
  artefacts.remove(self._folder)
  if not ok then return nil, err, code end
  local why = self._stopped and "it was ended" or "no host has brought its result"
  for _, job in pairs(self._left) do self:_end(job, copies.failed(job.path, why, self._complaints)) end
  table.sort(self._files, function(a, b) return a.path < b.path end)
  return self._files
end

-- By TERM parallel ends its tasks; it gets time for that.
function methods:_kill()
  local child = self._child
  child:kill("TERM", true)
  task.spawn(function()
    if not child:wait(GRACE) then child:kill "KILL" end
  end)
end

--- Ends all tasks; `run` returns when they have ended. A second call kills parallel. Does not wait.
---@param signal string
function methods:stop(signal)
  if self._stopped then
    if self._child then self._child:kill "KILL" end
    return
  end
  self._stopped = signal
  if self._child then self:_kill() end
end

--- The signal by which it was stopped, if it was.
---@return string|nil
function methods:stopped()
  return self._stopped
end

return M
