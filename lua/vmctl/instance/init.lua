--- Instances: guests that have a name and keep their writes between their starts. A started instance runs in the background, in a
--- process of its own, and is reached by its name as the guests of `vmctl run` are.
local core = require "vmctl.core"
local create = require "vmctl.instance.create"
local errors = require "vmctl.errors"
local image_makers = require "vmctl.instance.image_makers"
local images = require "vmctl.instance.images"
local options = require "vmctl.base.options"
local share_client = require "vmctl.machine.share_client"
local start = require "vmctl.instance.start"
local store = require "vmctl.instance.store"
local task = require "vmctl.base.task"

local M = {}

local STOP_TIMEOUT, LOOK = 30, 0.05 -- seconds

--- The images of this user. As vmctl.instance.images.list and remove have them.
M.images, M.remove_image = images.list, images.remove

--- Images get names. As vmctl.instance.image_makers.pull, import and build have them.
M.pull_image, M.import_image, M.build_image = image_makers.pull, image_makers.import, image_makers.build

--- Creates an instance: checks its root, makes an image of it if needed, and writes its description. After a failure nothing of it is
--- left. Waits.
---@param name string letters, digits, "_", "-" and ".", 40 at most
---@param opts vmctl.MachineOptions with a root; `keep` and the writes "discard" are not of instances, nor are descriptors and network
-- cards of this process
---@return true|nil, string? message, string? code EEXIST: there is one, or a guest of that name runs; EINVAL, ENOENT; EBUSY: another
-- process writes the disk; as vmctl.rootfs.image
M.create = create.create

--- Starts an instance, and waits until its guest is ready. It goes on when this process ends.
---@param name string
---@param opts? { timeout: number?, target: "agent"|"system"|nil } timeout: seconds in which the guest has to be ready, 120 by default;
-- target: as for wait_ready of a machine
---@return { name: string, pid: integer, folder: string, ready: number }|nil started pid: QEMU's; folder: of its sockets; ready: seconds
---@return string? message, string? code ENOENT: there is none; EBUSY: it runs already, or its disk is used; ETIMEDOUT; as
-- vmctl.machine.launch
function M.start(name, opts)
  opts = options.check(opts, { timeout = "number>0", target = { "agent", "system" } }, "instance.start")
  return start.start(name, opts.timeout, opts.target)
end

-- Waits until the owner has ended.
local function await_end(folder, name, deadline)
  while true do
    local state = store.state(folder)
    if state.phase ~= "running" and state.phase ~= "starting" then return true end
    if core.now() >= deadline then return errors.fail("ETIMEDOUT", "stop %s: it still runs", name) end
    local ok, err, code = task.sleep(LOOK)
    if ok == nil then return nil, err, code end
  end
end

--- Powers an instance off, and waits for its end.
---@param name string
---@param opts? { timeout: number? } seconds, 30 by default
---@return true|nil, string?, string? code ENOENT: there is none, or it does not run; ETIMEDOUT; EREMOTE: its power-off has failed
function M.stop(name, opts)
  opts = options.check(opts, { timeout = "number>0" }, "instance.stop")
  local folder, err, code = store.folder(name)
  if not folder then return nil, err, code end
  local deadline = core.now() + (opts.timeout or STOP_TIMEOUT)
  local ok
  local misses = 0
  while true do
    local phase = store.state(folder).phase
    if phase ~= "running" and phase ~= "starting" then return errors.fail("ENOENT", "the instance '%s' does not run", name) end
    ok, err, code = share_client.stop(name, deadline)
    if ok or code ~= "ENOENT" or core.now() >= deadline then break end
    if store.state(folder).phase == "running" and misses > 0 then return store.unreachable(name, folder) end
    misses = misses + (phase == "running" and 1 or 0)
    task.sleep(LOOK) -- it has no sockets yet, or none any more
  end
  if not ok then return nil, err, code end
  return await_end(folder, name, deadline)
end

-- Ends an instance that is to be removed, if it runs.
local function stop_if_live(name, folder)
  local phase = store.state(folder).phase
  if phase ~= "running" and phase ~= "starting" then return true end
  local ok, err, code = M.stop(name)
  if ok or code == "ENOENT" then return true end
  return nil, err, code
end

--- Removes an instance with all its writes. Waits.
---@param name string
---@param opts? { force: boolean? } stops it before that if it runs
---@return true|nil, string?, string? code ENOENT; EBUSY: it runs
function M.remove(name, opts)
  opts = options.check(opts, { force = "boolean" }, "instance.remove")
  local folder, err, code = store.folder(name)
  if not folder then return nil, err, code end
  local ok
  if opts.force then
    ok, err, code = stop_if_live(name, folder)
    if not ok then return nil, err, code end
  end
  ok, err, code = store.remove(folder) -- it looks at the lock itself: before, the lock may be that of another removal
  if ok then return true end
  if code == "EBUSY" then
    return errors.fail("EBUSY", "the instance '%s' runs (vmctl stop %s ends it, vmctl rm --force both)", name, name)
  end
  if code == "ENOENT" then return errors.fail("ENOENT", "there is no instance '%s'", name) end
  return nil, err, code
end

local function describe(name)
  local folder = store.folder(name)
  if not folder then return nil end
  local state, spec, err = store.state(folder), store.read(name)
  if not spec then return { name = name, state = "failed", error = err, root = "", created = 0 } end
  return { name = name, state = state.phase, error = state.error, pid = state.phase == "running" and state.pid or nil, since = state.at,
    created = spec.created, root = spec.root.from or "", digest = spec.image and spec.image.digest or nil }
end

--- The instances of this user, by their names. Waits for the file system alone.
---@return { name: string, state: string, created: integer, since: integer?, root: string,
--- digest: string?, pid: integer?, error: string? }[] list
-- state: "created", "starting", "running", "stopped" or "failed"; error: why it has failed; since: seconds of the epoch; root: what it
-- was made of; digest: of its image; pid: QEMU's
function M.list()
  local list = {}
  for _, name in ipairs(store.names()) do list[#list + 1] = describe(name) end
  return list
end

--- Opens an instance that runs: a client for its commands and files. Does not wait.
---@param name string
---@return vmctl.ExecClient|nil, string?, string? code ENOENT: there is none, or it does not run; EACCES
function M.open(name)
  local folder, err, code = store.folder(name)
  if not folder then return nil, err, code end
  local at
  at, err, code = share_client.agent(name, require("vmctl.exec").PORT)
  if not at and code == "ENOENT" then return store.unreachable(name, folder) end
  if not at then return nil, err, code end
  return require("vmctl.exec").client(at)
end

return M
