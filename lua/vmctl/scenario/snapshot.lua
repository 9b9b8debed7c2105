--- Snapshots of booted guests, from which tests start. A template boots once with its memory in a file; QEMU then writes the state
--- of its devices to another file and ends. Each copy maps the memory file privately (only pages that it changes cost memory), loads
--- the devices' state, and continues where the template stopped.
local core = require "vmctl.core"

local M = {}

local POLL = 0.003      -- seconds between two queries of QEMU's state
local LOAD = 20         -- seconds until the state is loaded

-- The state leaves RAM out: the memory file has it.
local SHARED = { capabilities = { { capability = "x-ignore-shared", state = true } } }

-- Quotes a path for QEMU's "exec:", which runs a shell.
local function quoted(path)
  return "'" .. path:gsub("'", "'\\''") .. "'"
end

local function memory_of(spec)
  local memory = spec.memory or "256M"
  return math.type(memory) == "integer" and ("%dM"):format(memory) or memory
end

--- QEMU's arguments for a template, or a copy.
---@param spec table the machine's options
---@param folder string of the snapshot
---@param is_copy boolean
---@return string[]
function M.arguments(spec, folder, is_copy)
  local args = table.move(spec.args or {}, 1, #(spec.args or {}), 1, {})
  local object = ("memory-backend-file,id=ram,size=%s,mem-path=%s/ram,share=%s"):format(memory_of(spec),
    (folder:gsub(",", ",,")), is_copy and "off" or "on")
  local more = { "-object", object, "-machine", "memory-backend=ram" }
  if is_copy then table.move({ "-incoming", "defer" }, 1, 2, #more + 1, more) end
  return table.move(more, 1, #more, #args + 1, args)
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

local function execute_all(qmp, list)
  for _, each in ipairs(list) do
    local answer, err, code = qmp:execute(each[1], each[2])
    if not answer then return nil, err, code end
  end
  return true
end

local function migrated(answer)
  if answer.status == "completed" then return true end
  if answer.status == "failed" or answer.status == "cancelled" then return nil, answer["error-desc"] or answer.status end
end

--- Stops a template, writes its state, and ends it. Waits.
---@param vm vmctl.Machine started with `arguments`
---@param folder string
---@return true|nil, string?, string?
function M.take(vm, folder)
  local qmp, err, code = vm:qmp()
  if not qmp then return nil, err, code end
  local ok
  ok, err, code = execute_all(qmp, {
    { "stop" }, { "migrate-set-capabilities", SHARED },
    { "migrate", { uri = ("exec:cat > %s"):format(quoted(folder .. "/state")) } },
  })
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
---@param vm vmctl.Machine started with `arguments`
---@param folder string
---@param timeout number seconds
---@return true|nil, string?, string?
function M.resume(vm, folder, timeout)
  local qmp, err, code = vm:qmp()
  if not qmp then return nil, err, code end
  local ok
  ok, err, code = execute_all(qmp, {
    { "migrate-set-capabilities", SHARED },
    { "migrate-incoming", { uri = ("exec:cat %s"):format(quoted(folder .. "/state")) } },
  })
  if ok then ok, err, code = poll(qmp, "query-status", loaded) end
  if ok then ok, err, code = execute_all(qmp, { { "cont" } }) end
  if not ok then return nil, ("start %s from its snapshot: %s"):format(vm.name, err), code end
  ok, err, code = vm:wait_ready(timeout)
  if not ok then return nil, err, code end
  vm:sync_clock { timeout = timeout, reseed = true } -- it logs its own failures
  return true
end

return M
