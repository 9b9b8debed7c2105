--- Confines QEMU, in case a guest takes it over: a filter of system calls, no capabilities, no new privileges, and no core dumps (which
--- would contain the guest's memory).
local M = {}

local SANDBOX = "on,obsolete=deny,elevateprivileges=deny,resourcecontrol=deny,spawn="
local FILTERED = "2" -- of /proc/PID/status: Seccomp

--- Adds the confinement to QEMU's command line and to the options of its process.
---@param argv table as for vmctl.process.spawn
---@param programs boolean it may start programs, as migration by exec: does
function M.apply(argv, programs)
  argv[#argv + 1] = "-sandbox"
  argv[#argv + 1] = SANDBOX .. (programs and "allow" or "deny")
  argv.confine = true
end

local function read(path)
  local file = io.open(path)
  local text = file and file:read "a" or ""
  if file then file:close() end
  return text
end

--- The restrictions of a process, read from the kernel. Does not wait.
---@param pid integer
---@return { sandbox: boolean, no_new_privileges: boolean, capabilities: boolean, core_dumps: boolean, uid: integer }|nil
-- sandbox: a filter of system calls; capabilities: it has some, or could get them; uid: the user that it runs as
function M.of(pid)
  local status, limits = read(("/proc/%d/status"):format(pid)), read(("/proc/%d/limits"):format(pid))
  local uid = math.tointeger(tonumber(status:match "\nUid:%s+%d+%s+(%d+)"))
  if not uid then return nil end
  local effective, permitted = status:match "\nCapEff:%s*(%x+)", status:match "\nCapPrm:%s*(%x+)"
  local none = "^0+$"
  return {
    sandbox = status:match "\nSeccomp:%s*(%d)" == FILTERED, no_new_privileges = status:match "\nNoNewPrivs:%s*(%d)" == "1",
    capabilities = not (effective and effective:find(none) and permitted:find(none)), uid = uid,
    core_dumps = limits:match "Max core file size%s+(%S+)" ~= "0",
  }
end

return M
