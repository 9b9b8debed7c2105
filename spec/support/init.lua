--- Shared by the specs: bodies that run as tasks with a limit, and leave nothing open.
local assert = require "luassert"
local lfs = require "lfs"
local core = require "vmctl.core"
local vmctl = require "vmctl"

local M = {}

--- How many times as long as on a quiet machine everything may take: VMCTL_SPEC_SCALE, 1 where it is not set.
M.scale = tonumber(os.getenv "VMCTL_SPEC_SCALE") or 1

local LIMIT = 30    -- seconds that a body may take at least: a limit against hanging, no promise
local WITHIN = 30 -- seconds until a condition must hold, likewise
local PAUSE = 0.002 -- seconds between two looks at it
local STEP = 0.002  -- seconds of a virtual clock in which nothing happens

-- The descriptor by which worker threads tell of their ends stays with the loop: it is there before anything is counted.
assert(core.work(math.huge, "stat", core.fs.stat, "/"))

local folders = {}

--- The file descriptors of this process: a set of texts like "7 socket:[1234]".
---@return table<string, true>
function M.fds()
  local set = {}
  for fd in lfs.dir "/proc/self/fd" do
    local target = lfs.symlinkattributes("/proc/self/fd/" .. fd, "target")
    local listing = target and target:match "^/proc/%d+/fd$" -- this very look at the folder
    local kept = target and target:find "^/sys/fs/cgroup/" -- of commands: the loop keeps their cgroups for the next ones
    if target and fd:match "^%d+$" and not listing and not kept then set[fd .. " " .. target] = true end
  end
  return set
end

--- The children of this process, zombies included: a set of texts like "child 77 (sleep)".
---@return table<string, true>
function M.children()
  local set = {}
  local _, _, own = core.fs.identity()
  for pid in lfs.dir "/proc" do
    local file = pid:match "^%d+$" and io.open("/proc/" .. pid .. "/stat")
    if file then
      local name, parent = (file:read "a" or ""):match "^%d+ (%b()) %a (%d+)"
      file:close()
      if tonumber(parent) == own then set[("child %s %s"):format(pid, name)] = true end
    end
  end
  return set
end

--- The third result: the code of a failed call.
---@return string|nil
function M.code(...)
  return (select(3, ...))
end

--- Waits until `fn` gives something true, and gives it back; fails when that takes longer than half a minute.
function M.eventually(fn, what)
  local last = vmctl.now() + WITHIN * M.scale
  while true do
    local value = fn()
    if value then return value end
    if vmctl.now() > last then error(what or "a condition that should come true did not", 2) end
    assert(vmctl.sleep(PAUSE))
  end
end

--- Waits until the tasks and streams of this process have done all that they can do without time passing. Of other processes
-- it knows nothing: for what these do there is `eventually`.
function M.settle()
  vmctl.clock.virtual(function()
    repeat
      local before, real = vmctl.now(), core.unix_time()
      assert(vmctl.sleep(STEP))
      local leapt = vmctl.now() - before - (core.unix_time() - real) / 1e9
    until leapt > STEP / 2 -- the clock leaps only where nothing is left to do
  end, { grace = 0 })
end

--- Runs `fn` on a virtual clock and gives the seconds that passed there, then its results. Where only this process takes part
-- they say which time-out has ended it, on the busiest machine: one of ten minutes passes at once.
---@return number seconds, any ...
function M.passed(fn, ...)
  local arguments = table.pack(...)
  local begin = vmctl.now()
  local results = table.pack(vmctl.clock.virtual(function() return fn(table.unpack(arguments, 1, arguments.n)) end, { grace = 0 }))
  return vmctl.now() - begin, table.unpack(results, 1, results.n)
end

--- Two connected streams.
---@param options? { format: any }
function M.pair(options)
  local a, b = vmctl.pair(options)
  assert(a, b)
  return a, b
end

local function remove(path)
  if lfs.symlinkattributes(path, "mode") == "directory" then
    for name in lfs.dir(path) do
      if name ~= "." and name ~= ".." then remove(path .. "/" .. name) end
    end
  end
  os.remove(path)
end

--- A private folder, removed when the body that asked for it has ended; one that no body of `run` asked for, with the file.
---@return string path
function M.tmpdir()
  local path = assert(core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-spec"))
  folders[#folders + 1] = path
  return path
end

local function new_ones(now, before)
  local list = {}
  for text in pairs(now) do
    if not before[text] then list[#list + 1] = text end
  end
  return list
end

-- The collector may close handles, and the loop reap children, a little later: that is no leak.
local function check_nothing_left(fds, children)
  local left
  local function clean()
    collectgarbage()
    left = new_ones(M.fds(), fds)
    if #left == 0 then left = new_ones(M.children(), children) end
    return #left == 0
  end
  if not pcall(M.eventually, clean) then error("left open: " .. table.concat(left, ", "), 0) end
end

local function remove_folders()
  for _, path in ipairs(folders) do remove(path) end
  folders = {}
  return nil, true
end

local busted = package.loaded.busted -- not there in programs beside the specs, which use this as well
if busted then busted.subscribe({ "file", "end" }, remove_folders) end

--- The body of an `it`: runs `fn` as a task, no wait of which lasts beyond `limit` seconds (30, and never less), and fails
-- when a file descriptor or a child is left open.
---@param fn fun()
---@param limit? number seconds
---@return fun()
function M.run(fn, limit)
  return function()
    collectgarbage()
    local fds, children = M.fds(), M.children()
    local ok, err = pcall(vmctl.run, vmctl.timeout, math.max(limit or 0, LIMIT) * M.scale, fn)
    remove_folders()
    if not ok then error(err, 0) end
    check_nothing_left(fds, children)
  end
end

--- The body of an `it` that shares with others what outlives it, such as a host: like `run`, but it may leave things behind.
---@param fn fun()
---@param limit number seconds
---@return fun()
function M.shared(fn, limit)
  return function() vmctl.run(vmctl.timeout, limit * M.scale, fn) end
end

return M
