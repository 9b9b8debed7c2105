--- Configuration push: brings a guest into a declared state (users, mounts, files, ssh keys, secrets, units, its configuration). The set is
--- validated as a whole and then applied step by step; a step whose result is already there changes nothing. Steps go through the
--- StereOS control plane, or through commands when the guest has no control plane or an old one.
local check = require "vmctl.config.check"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local jcard_apply = require "vmctl.config.jcard_apply"
local log = require "vmctl.log"
local mounts = require "vmctl.config.mounted"
local options = require "vmctl.base.options"
local reports = require "vmctl.config.report"
local shell = require "vmctl.config.shell"
local target = require "vmctl.base.target"

local M = {}

local TIMEOUT = 120      -- seconds for a whole push
local KNOCK = 5          -- seconds for the first answer of a control plane

local known = {
  timeout = "number", dry_run = "boolean", keep_secrets = "boolean", keep_going = "boolean", jcard_apply = "boolean",
  on_step = "callable", root = "string",
}

-- Does one step through the control plane.
local requests = {
  secret = function(client, step, opts) return client:inject_secret(step.name, step.content, step.mode, opts) end,
  ssh_key = function(client, step, opts) return client:inject_ssh_key(step.user, step.content, opts) end,
  config = function(client, step, opts) return client:set_config(step.content, opts) end,
  mount = function(client, step, opts)
    return client:mount({ tag = step.tag, guest_path = step.path, fs_type = step.fs_type, read_only = step.read_only }, opts)
  end,
}

-- True for the answer of a guest that does not know a request.
local function is_unknown(err, code, ack)
  if code ~= "EREMOTE" then return false end
  return type(ack) == "table" and ack.code == "ENOSYS" or err:find("unknown message type", 1, true) ~= nil
end

local function left(job)
  return math.max(0, job.deadline - core.now())
end

-- Guests of the reference mount a second time without an error, so existing mounts are looked up first, when the target runs commands.
local function is_mounted(job, step)
  if step.kind ~= "mount" or not job.shell then return nil end
  local there, err, code = job.shell:mounted(step, job.deadline)
  if there == nil and (code == "ETIMEDOUT" or code == "EBUSY") then return nil, err, code end
  return there
end

-- Does a step through the control plane. Returns true and `changed`; or nil, message, code, and true if commands may succeed.
local function by_stereos(job, step)
  local there, err, why = is_mounted(job, step)
  if why then return nil, err, why end
  if there then return true, false end
  local ok, changed, code, ack = requests[step.kind](job.stereos, step, { timeout = left(job) })
  if ok then
    if changed == nil and there == false then changed = true end
    if step.kind == "mount" then mounts.note(job.stereos, step) end
    return true, changed
  end
  if not job.shell and mounts.may_be_there(step, changed, code, ack) then
    if mounts.was_there(job.stereos, step, left(job)) then return true, false end
    step.doubtful, changed = true, mounts.DOUBT:format(changed)
  end
  return nil, changed, code, is_unknown(changed, code, ack)
end

local function do_step(job, step)
  if job.stereos and requests[step.kind] and not step.by_exec and not job.unknown[step.kind] then
    local ok, result, code, unknown = by_stereos(job, step)
    if ok then return "stereos", result end
    if not unknown or not job.shell then return nil, result, code end
    job.unknown[step.kind] = true
    table.insert(job.report.notes, ("the guest's control plane does not know %s requests: through commands"):format(step.kind))
  end
  if not job.shell then return errors.fail("ENOTSUP", "the target runs no commands") end
  local ok, result, code = job.shell:step(step, job.deadline)
  if ok then return "exec", result end
  return nil, result, code
end

-- Finds out if there is a control plane, for sets that commands alone cannot apply.
local function choose_ways(job, ways, opts)
  if opts.root then return true end -- the control plane only knows the guest's own root folder
  local client, err, code = ways.stereos, nil, nil
  if not client and ways.machine then client, err, code = ways.machine:stereos() end
  if client and job.shell then
    local ok
    ok, err, code = client:ping { timeout = math.min(KNOCK, left(job)) }
    if not ok then client = nil end
  end
  if client then
    job.stereos = client
  elseif code == "ECLOSED" or code == "ECANCELED" then
    return nil, err, code
  elseif err then
    table.insert(job.report.notes, "no control plane, so through commands: " .. err)
  end
  return true
end

-- Notes a failure.
local function note_failure(job, err, code, step)
  err = errors.mask(tostring(err), job.secrets)
  local failure = { kind = step and step.kind, name = step and step.name, message = err, code = code }
  job.report.failed = job.report.failed or failure
  table.insert(job.report.failures, failure)
end

-- The results of a push in which something has failed: the first failure.
local function failed(job)
  local first, more = job.report.failed, #job.report.failures - 1
  local where = first.kind and ("%s %s: "):format(first.kind, first.name) or ""
  local others = more > 0 and (" (and %d more steps failed)"):format(more) or ""
  return nil, ("push configuration to %s: %s%s%s"):format(job.report.target, where, first.message, others), first.code, job.report
end

local function fail(job, err, code, step)
  note_failure(job, err, code, step)
  return failed(job)
end

-- After these the next step would fail likewise.
local ENDS = { ECLOSED = true, ECANCELED = true, ETIMEDOUT = true, ERESET = true }

local function note_of(step)
  if step.removed then return "[secrets] was taken out of it" end
end

local function run_steps(job, steps, opts)
  for i, step in ipairs(steps) do
    local begin = core.now()
    log.progress(("configuring %s: %d of %d, %s %s"):format(job.report.target, i, #steps, step.kind, step.name))
    local via, result, code = do_step(job, step)
    if via then
      local entry = { kind = step.kind, name = step.name, changed = result, via = via, seconds = core.now() - begin,
        note = note_of(step) }
      reports.add(job.report, entry)
      local how = result and "changed" or result == nil and "done" or "as it was"
      log.info("%s: %s %s: %s", job.report.target, step.kind, step.name, how)
      if opts.on_step then opts.on_step(entry) end
    else
      note_failure(job, result, code, step)
      if ENDS[code] or not (opts.keep_going or step.doubtful) then break end
    end
  end
  if job.report.failed then return failed(job) end
  return job.report
end

local hidden_mt = { __close = function(list)
  log.progress(nil)
  for _, secret in ipairs(list) do log.unhide(secret) end
end }

local function hide_secrets(steps)
  local list = setmetatable({}, hidden_mt)
  for _, step in ipairs(steps) do
    if step.kind == "secret" and step.content ~= "" then
      list[#list + 1] = step.content
      log.hide(step.content)
    end
  end
  return list
end

local function make_shell(ways, opts)
  local exec = ways.exec
  if ways.machine then
    local err, code
    exec, err, code = ways.machine:_client()
    if not exec then return nil, err, code end
  end
  return exec and shell.new(exec, opts.root)
end

-- A dry run: finds the steps that would change something. Without commands that is not known, and `changed` of each step is nil.
local function plan(job, steps)
  job.report.planned = true
  for _, step in ipairs(steps) do
    local would, err, code
    if job.shell then
      would, err, code = job.shell:compare(step, job.deadline)
      if would == nil then return fail(job, err, code, step) end
    end
    reports.add(job.report, { kind = step.kind, name = step.name, changed = would, note = note_of(step) })
  end
  if not job.shell then job.report.changed = nil end
  return job.report
end

-- Units that systemd does not take are refused before anything has changed.
local function check_units(job, steps)
  for _, step in ipairs(steps) do
    if step.kind == "unit" then return job.shell:verify(steps, job.deadline) end
  end
  return true
end

local function apply(job, ways, steps, opts)
  local secrets <close> = hide_secrets(steps)
  job.secrets = secrets
  local err, code
  job.shell, err, code = make_shell(ways, opts)
  if not job.shell and code then return fail(job, err, code) end
  local ok
  ok, err, code = check_units(job, steps)
  if not ok then return fail(job, err, code) end
  if opts.dry_run then return plan(job, steps) end
  ok, err, code = choose_ways(job, ways, opts)
  if not ok then return fail(job, err, code) end
  return run_steps(job, steps, opts)
end

--- Brings a guest into a declared state. The set is validated before the first step, so an invalid one changes nothing. The order
-- is: groups, users, mounts (later paths may be on them), files, ssh keys, secrets, units, and the configuration last, because the
-- guest acts on it at once. Steps are idempotent. Waits.
--
-- Users and groups that are there stay, and get the groups that they lack; false in place of the table removes them. Units are read by
-- the guest's systemd before anything is changed (systemd-analyze verify): one with a line that it would ignore is refused. All are
-- written, then enabled, started, and waited for; a changed one that is active is started again, and one that does not come up is a
-- failure with the tail of its journal.
--
-- Secrets are kept in the guest's memory, are masked in the log during the push, and are in no error. The
-- configuration is a file that every user of the guest may read: [secrets] is removed from it, unless `keep_secrets` is set.
--
-- The control plane does the steps that it knows; files and other steps go through commands, if the target runs any. Commands
-- compare contents in the guest, receive them on standard input, and replace files as a whole, with owner and mode. The limits of
-- a shell are in vmctl.config.shell_scripts.
---@param where vmctl.Machine|vmctl.ExecClient|vmctl.StereosClient|table a machine, a client, vmctl.host, or { exec =, stereos = }
---@param set { groups: table?, users: table?, units: table?, files: table?, secrets: table?, ssh_keys: table?, mounts: table?,
--- config: string? } groups: a map from name to { gid =, system = }. users: a map from name to { uid =, groups =, home =, shell =,
--- system = }. units: a map from name to a text or { content = or sections, enable =, start =, runtime = }. files: a list of { path =,
--- content = or source = (a file here), mode =, owner = "user:group" } or a map from path to content or to the rest of such a
-- table; without mode and owner an old file keeps its own. secrets: a map from name to value or { value =, mode = }. ssh_keys:
-- a map from user to a key or a list of keys: the user gets no others. mounts: a list of { tag =, guest_path =, fs_type =
--- "virtiofs" or "9p", read_only = }. config: the jcard.toml
---@param opts? { timeout: number?, dry_run: boolean?, keep_secrets: boolean?, keep_going: boolean?, jcard_apply: boolean?,
--- on_step: function?, root: string? } seconds for all (120); dry_run: check, compare with what the guest has, and change nothing;
-- keep_going: do the steps behind one that failed as well; jcard_apply: apply the configuration's [secrets], with ${VAR} of this
-- environment, and [[shared]], as 9p of the tags share0, share1 …, as the reference's host does; on_step(step) is called after each;
-- root: a folder of the guest that is taken for its / (of an image that is being built, for example), through commands only
---@return { changed: boolean, steps: table[], notes: string[], target: string, planned: boolean? }|nil report each step: kind,
-- name, changed (nil: the guest does not say), via ("stereos" or "exec"), seconds, note; tostring gives text for people
---@return string? message, string? code EINVAL, ETOOBIG, EREMOTE (with the guest's message), ENOTSUP, ETIMEDOUT …
---@return table? report up to the failed step: `failed` has message and code, and kind and name if a step failed; `failures`
-- lists all failed steps. A mount that this client has done before stays as it was. One that a guest without commands refuses, and
-- which may be there already, is a failure that does not end the push
function M.push(where, set, opts)
  opts = options.check(opts, known, "config.push")
  local ways = target.resolve(where, "config.push", 3)
  if opts.root and not ways.exec then error("config.push: 'root' needs a target that runs commands", 2) end
  local job = { report = reports.new(ways.label), deadline = core.now() + (opts.timeout or TIMEOUT), unknown = {}, secrets = {} }
  local can = { exec = ways.exec ~= nil, stereos = not opts.root and (ways.stereos or ways.machine) ~= nil }
  local whole, err, code = set, nil, nil
  if opts.jcard_apply then whole, err, code = jcard_apply.apply(set) end
  if not whole then return fail(job, err, code) end
  local steps
  steps, err, code = check.steps(whole, can, opts, 3)
  if not steps then return fail(job, err, code) end
  return apply(job, ways, steps, opts)
end

return M
