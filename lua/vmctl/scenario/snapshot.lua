--- Snapshots of booted guests, from which tests start. A template boots once with its memory in a file; QEMU then writes the state
--- of its devices to another file and ends. Each copy maps the memory file privately (only pages that it changes cost memory), loads
--- the devices' state, and continues where the template stopped. A template's writes to a disk of its own are in a third file, on which
--- each copy has an overlay that is lost with it. The files have no names: QEMU gets their descriptors, and nothing is left of
--- them when this process has ended.
local core = require "vmctl.core"

local M = {}

local POLL = 0.003      -- seconds between two queries of QEMU's state
local LOAD = 20         -- seconds until the state is loaded

-- The state leaves RAM out: the memory file has it.
local SHARED = { capabilities = { { capability = "x-ignore-shared", state = true } } }

local function memory_of(spec)
  local memory = spec.memory or spec.root and "512M" or "256M"
  return math.type(memory) == "integer" and ("%dM"):format(memory) or memory
end

--- Makes the files of a snapshot, empty, in TMPDIR. Does not wait.
---@return { ram: userdata, state: userdata, disk: userdata, close: function }|nil, string?, string?
function M.files()
  local files = {}
  files.close = function()
    for _, name in ipairs { "ram", "state", "disk" } do
      if files[name] then files[name]:close() end
    end
  end
  for _, name in ipairs { "ram", "state", "disk" } do
    local err, code
    files[name], err, code = core.fs.unnamed(os.getenv "TMPDIR" or "/tmp")
    if not files[name] then
      files.close()
      return nil, err, code
    end
  end
  return files
end

local FIRST_FD = 4 -- QEMU's number of the first of `fds`

--- The options in which a template, or a copy, differs from its machine.
---@param spec table the machine's options
---@param files { ram: userdata, disk: userdata } of the snapshot
---@param is_copy boolean
---@return { args: string[], fds: integer[], memory: string?, layer: table? }
function M.options(spec, files, is_copy)
  local args = table.move(spec.args or {}, 1, #(spec.args or {}), 1, {})
  local fds = table.move(spec.fds or {}, 1, #(spec.fds or {}), 1, {})
  fds[#fds + 1] = assert(files.ram:fileno())
  local object = ("memory-backend-file,id=ram,size=%s,mem-path=/proc/self/fd/%d,share=%s"):format(memory_of(spec),
    FIRST_FD + #fds - 1, is_copy and "off" or "on")
  local more = { "-object", object, "-machine", "memory-backend=ram" }
  if is_copy then table.move({ "-incoming", "defer" }, 1, 2, #more + 1, more) end
  local layer = spec.root and { file = files.disk, is_new = not is_copy } or nil
  return { args = table.move(more, 1, #more, #args + 1, args), fds = fds, memory = spec.root and memory_of(spec), layer = layer }
end

-- Queries QEMU until `done(answer)` returns a value. Returns that, or nil, message, code.
local function poll(qmp, command, done)
  local deadline = core.now() + LOAD
  while core.now() < deadline do
    local answer, err, code = qmp:execute(command)
    if not answer then return nil, err, code end
    local value, why = done(answer)
    if value then return value end
    if why then return nil, why, "EIO" end
    local ok
    ok, err, code = core.sleep(POLL)
    if not ok then return nil, err, code end
  end
  return nil, ("%s: not done within %g s"):format(command, LOAD), "ETIMEDOUT"
end

local function migrated(answer)
  if answer.status == "completed" then return true end
  if answer.status == "failed" or answer.status == "cancelled" then return nil, answer["error-desc"] or answer.status end
end

-- The address by which QEMU migrates through a descriptor. Since 9.1 it takes those of plain files by a set of descriptors only.
local function hand_over(qmp, file)
  local version = qmp.version
  if version.major > 9 or version.major == 9 and version.minor >= 1 then
    local set, err, code = qmp:execute("add-fd", nil, { fd = file:fileno() })
    if not set then return nil, err, code end
    return ("file:/dev/fdset/%d"):format(set["fdset-id"])
  end
  local ok, err, code = qmp:execute("getfd", { fdname = "state" }, { fd = file:fileno() })
  if not ok then return nil, err, code end
  return "fd:state"
end

-- Executes a migration command on the state's file, opened anew, so that no two copies share a position in it.
local function migrate(qmp, command, state, how)
  local file <close>, err, code = state:reopen(how)
  if not file then return nil, err, code end
  local ok
  ok, err, code = qmp:execute("migrate-set-capabilities", SHARED)
  if not ok then return nil, err, code end
  local uri
  uri, err, code = hand_over(qmp, file)
  if not uri then return nil, err, code end
  return qmp:execute(command, { uri = uri })
end

--- Stops a template, writes its state, and ends it. Waits.
---@param vm vmctl.Machine started with `options`
---@param files table of the snapshot
---@return true|nil, string?, string?
function M.take(vm, files)
  local qmp, err, code = vm:qmp()
  if not qmp then return nil, err, code end
  local ok
  ok, err, code = qmp:execute "stop"
  if ok then ok, err, code = migrate(qmp, "migrate", files.state, "w") end
  if ok then ok, err, code = poll(qmp, "query-migrate", migrated) end
  if not ok then return nil, ("snapshot of %s: %s"):format(vm.name, err), code end
  return vm:kill()
end

local function loaded(answer)
  if answer.status == "inmigrate" then return nil end
  if answer.status == "paused" or answer.status == "running" then return true end
  return nil, "QEMU's state is " .. answer.status
end

--- Loads the state into a copy and lets it run. Waits until its agent answers.
---@param vm vmctl.Machine started with `options`
---@param files table of the snapshot
---@param timeout number seconds
---@return true|nil, string?, string?
function M.resume(vm, files, timeout)
  local qmp, err, code = vm:qmp()
  if not qmp then return nil, err, code end
  local ok
  ok, err, code = migrate(qmp, "migrate-incoming", files.state, "r")
  if ok then ok, err, code = poll(qmp, "query-status", loaded) end
  if ok then ok, err, code = qmp:execute "cont" end
  if not ok then return nil, ("start %s from its snapshot: %s"):format(vm.name, err), code end
  ok, err, code = vm:wait_ready(timeout)
  if not ok then return nil, err, code end
  vm:sync_clock { timeout = timeout, reseed = true } -- it logs its own failures
  return true
end

return M
