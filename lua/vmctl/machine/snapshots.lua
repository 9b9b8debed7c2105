--- Snapshots of a whole guest, memory and writable disks, in a qcow2 image. QEMU makes the image when it is first needed, in a file
--- of which it gets the descriptor; no disk has to be there.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local options = require "vmctl.base.options"

local M = {}

local TIMEOUT = 120                     -- seconds for saving or loading
local NODE, FILE = "vmctl-snapshots", "vmctl-snapshots-file"    -- of the image, in QEMU
local SIZE = 1 << 20                    -- bytes of the image's virtual disk, which is not used

local known = { timeout = "number", path = "string" }

-- Waits for the end of a job. QEMU sends an event for each state; the result must be queried.
local function finish_job(client, id, following, deadline)
  while true do
    local event, err, code = following()
    if not event then return nil, err, code end
    if event.event == "JOB_STATUS_CHANGE" and event.data.id == id and event.data.status == "concluded" then break end
    if core.now() >= deadline then return errors.fail("ETIMEDOUT", "the job did not end in time") end
  end
  local jobs, err, code = client:execute "query-jobs"
  if not jobs then return nil, err, code end
  client:execute("job-dismiss", { id = id })
  for _, job in ipairs(jobs) do
    if job.id == id and job.error then return nil, job.error, "EREMOTE" end
  end
  return true
end

-- Executes a command that becomes a job of QEMU, and waits for its end.
local function run_job(self, client, name, arguments, deadline)
  self._jobs = self._jobs + 1
  local id = "vmctl-job" .. self._jobs
  arguments["job-id"] = id
  local following = client:events { timeout = math.max(deadline - core.now(), 0) } -- before its first event can come
  local ok, err, code, problem = client:execute(name, arguments, { timeout = math.max(deadline - core.now(), 0) })
  if ok == nil then return nil, err, code, problem end
  return finish_job(client, id, following, deadline)
end

local function add_image(client)
  return client:execute("blockdev-add", { driver = "qcow2", ["node-name"] = NODE, file = FILE })
end

-- QEMU opens the file; one that is new becomes an image first.
local function open(self, client, name, is_new, deadline)
  local ok, err, code, problem = client:execute("blockdev-add", { driver = "file", ["node-name"] = FILE, filename = name })
  if not ok then return nil, err, code, problem end
  if is_new then
    ok, err, code = run_job(self, client, "blockdev-create", { options = { driver = "qcow2", file = FILE, size = SIZE } }, deadline)
  end
  if ok then ok, err, code = add_image(client) end
  if not ok then client:execute("blockdev-del", { ["node-name"] = FILE }) end
  return ok and true, err, code
end

-- The file that `path` names holds the guest's memory: it must be ours, and nobody else may read it. Without a path it has no name,
-- and is gone when QEMU is. `file` is open for reading and writing.
local function find_file(path)
  if not path then
    local file, err, code = core.fs.unnamed(os.getenv "TMPDIR" or "/tmp")
    if not file then return nil, err, code end
    return file, 0
  end
  local written <close>, size, code = core.fs.private(path)
  if not written then return nil, size, code end
  local file, err, how = written:reopen "rw"
  if not file then return nil, err, how end
  return file, size
end

local function attach(self, client, path, deadline)
  if self._attached then
    if not path or path == self._attached then return true end
    return errors.fail("EINVAL", "its snapshots are in %s already", self._attached)
  end
  local existed = path and core.fs.stat(path, true)
  local file <close>, size, code = find_file(path)
  if not file then return nil, size, code end
  local ok, err, how = self._control:with_file(file, function(_, name) return open(self, client, name, size == 0, deadline) end)
  if ok then
    self._attached = path or "a file of its own"
  elseif path and not existed then
    core.fs.remove(path)
  end
  return ok, err, how
end

-- The image and every writable disk of the guest: a snapshot without the disks would not match them.
local function nodes(client)
  local list, err, code = client:execute "query-block"
  if not list then return nil, err, code end
  local names = { NODE }
  for _, device in ipairs(list) do
    local inserted = device.inserted
    if inserted and not inserted.ro then names[#names + 1] = inserted["node-name"] end
  end
  return names
end

-- Checks first that the snapshot exists: QEMU stops the guest before it looks for the snapshot, and leaves it stopped.
local function find(client, name)
  local list, err, code = client:execute("query-named-block-nodes", { flat = true })
  if not list then return nil, err, code end
  for _, node in ipairs(list) do
    for _, snapshot in ipairs(node["node-name"] == NODE and node.image.snapshots or {}) do
      if snapshot.name == name then return true end
    end
  end
  return errors.fail("ENOENT", "there is no such snapshot")
end

local function absolute(path)
  if not path or path:sub(1, 1) == "/" then return path end
  return core.fs.real "." .. "/" .. path
end

local function perform(self, command, name, opts)
  local deadline = core.now() + (opts.timeout or TIMEOUT)
  local client, err, code = self._control:qmp()
  if not client then return nil, err, code end
  local ok
  ok, err, code = attach(self, client, absolute(opts.path), deadline)
  if ok and command ~= "snapshot-save" then ok, err, code = find(client, name) end
  local devices
  if ok then devices, err, code = nodes(client) end
  if not devices then return nil, err, code end
  local arguments = { tag = name, devices = devices }
  if command ~= "snapshot-delete" then arguments.vmstate = NODE end
  return run_job(self, client, command, arguments, deadline)
end

local function check(opts, name, where)
  if type(name) ~= "string" or name == "" then error(where .. ": a name expected", 3) end
  return options.check(opts, known, where, 4)
end

---@class vmctl.Snapshots
local methods = {}
local mt = { __name = "vmctl.Snapshots", __index = methods }

---@param control vmctl.Control of the machine
function M.new(control)
  return setmetatable({ _control = control, _jobs = 0 }, mt)
end

local function failed(self, what, name, err, code, problem)
  return nil, ("%s '%s' of %s: %s"):format(what, name, self._control:name(), err), code, problem
end

--- Saves the guest: see vmctl.Machine.snapshot.
function methods:save(name, opts)
  local ok, err, code, problem = perform(self, "snapshot-save", name, check(opts, name, "snapshot"))
  if not ok then return failed(self, "snapshot", name, err, code, problem) end
  return true
end

--- Restores the guest: see vmctl.Machine.restore.
function methods:load(name, opts)
  local ok, err, code, problem = perform(self, "snapshot-load", name, check(opts, name, "restore"))
  if not ok then return failed(self, "restore", name, err, code, problem) end
  return true
end

--- Removes a snapshot: see vmctl.Machine.delete_snapshot.
function methods:delete(name, opts)
  local ok, err, code, problem = perform(self, "snapshot-delete", name, check(opts, name, "delete_snapshot"))
  if not ok then return failed(self, "delete snapshot", name, err, code, problem) end
  return true
end

return M
