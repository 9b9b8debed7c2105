--- Lists the resources of a process: its descriptors, its children, the files in its temporary folder. Programs here look before and
-- after.
local lfs = require "lfs"
local core = require "vmctl.core"

local M = {}

local GRACE = 5    -- seconds in which a child that was ended may still be there
local PAUSE = 0.02

local function add_fds(set)
  for fd in lfs.dir "/proc/self/fd" do
    local target = lfs.symlinkattributes("/proc/self/fd/" .. fd, "target")
    -- Empty cgroups of commands are kept for the next ones, by the loop, the first ones with their file of events.
    local kept = target and target:gsub("/cgroup%.events$", ""):find "/vmctl%-%d+/c%d+$"
    if target and not target:find "^/proc/%d+/fd$" and not kept then set["fd " .. fd .. " " .. target] = true end
  end
end

local function add_children(set, pid)
  for task in lfs.dir(("/proc/%d/task"):format(pid)) do
    local file = task:find "^%d" and io.open(("/proc/%d/task/%s/children"):format(pid, task))
    local text = file and file:read "a" or ""
    if file then file:close() end
    for child in text:gmatch "%d+" do set["child " .. child] = true end
  end
end

local function add_files(set, folder)
  for name in lfs.dir(folder) do
    if name ~= "." and name ~= ".." then set["file " .. folder .. "/" .. name] = true end
  end
end

--- A set of texts.
---@param folder string the temporary one
---@return table<string, true>
function M.look(folder)
  local set = {}
  add_fds(set)
  add_children(set, select(3, core.fs.identity()))
  add_files(set, folder)
  return set
end

--- Waits until nothing is there that was not there before.
---@return string|nil names what is left
function M.settled(folder, before)
  local last = core.now() + GRACE
  while true do
    local more = {}
    for text in pairs(M.look(folder)) do
      if not before[text] then more[#more + 1] = text end
    end
    if #more == 0 then return nil end
    if core.now() > last then return table.concat(more, ", ") end
    core.sleep(PAUSE)
  end
end

--- The memory of a process, in KiB.
---@param pid? integer
function M.resident(pid)
  local file <close> = assert(io.open(("/proc/%s/status"):format(pid or "self")))
  return tonumber(file:read "a":match "VmRSS:%s*(%d+)")
end

return M
