--- Our agent on a Unix socket, in this process or in one of its own, while a function runs.
local core = require "vmctl.core"
local exec = require "vmctl.exec"
local process = require "vmctl.process"
local vmctl = require "vmctl"

local M = {}

local WAIT = 5 -- seconds for an agent process to begin

local function with_folder(fn)
  local folder = assert(core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-agent"))
  local path = folder .. "/agent.sock"
  local ok, err = xpcall(fn, debug.traceback, "unix:" .. path)
  os.remove(path)
  os.remove(folder)
  if not ok then error(err, 0) end
end

--- Serves in this process while `fn(client, address)` runs; nothing may be left when it ends.
---@param fn fun(client: vmctl.ExecClient, address: string)
---@param opts? table of exec.serve
function M.serve(fn, opts)
  with_folder(function(address)
    local listener = assert(vmctl.listen(address))
    vmctl.scope(function(scope)
      local server = vmctl.spawn_in(scope, exec.serve, listener, opts)
      local ok, err = xpcall(fn, debug.traceback, assert(exec.client(address)), address)
      listener:close()
      server:join()
      if not ok then error(err, 0) end
    end)
  end)
end

--- Runs the agent program while `fn(client, address, pid)` runs.
function M.program(fn)
  with_folder(function(address)
    local program = os.getenv "VMCTL_AGENT" or "build/vmctl-agent"
    local child <close> = assert(process.spawn { program, "--listen", address, stdin = "null", stdout = "null",
      stderr = "inherit", death_signal = "KILL" })
    local client = assert(exec.client(address))
    assert(client:ready(WAIT))
    fn(client, address, child.pid)
  end)
end

--- Tells if a process has ended. A zombie has.
function M.has_ended(pid)
  local file = io.open(("/proc/%s/stat"):format(pid))
  local state = file and (file:read "a" or ""):match "%) (%a)"
  if file then file:close() end
  return state == nil or state == "Z" or state == "X"
end

--- A number of /proc/PID/status, such as "VmHWM" (the most memory ever resident, in KiB).
---@param pid integer|"self"
function M.status(pid, name)
  local file = assert(io.open(("/proc/%s/status"):format(pid)))
  local text = file:read "a"
  file:close()
  return math.tointeger(tonumber(text:match(name .. ":%s*(%d+)")))
end

--- The most bytes that the agent may have: 2 MiB with the static libraries of Debian 12; those of other systems are larger.
---@return integer
function M.most_bytes()
  local file = io.open "/etc/os-release"
  local release = file and file:read "a" or ""
  if file then file:close() end
  return release:find "VERSION_CODENAME=bookworm" and 2 << 20 or 9 << 18
end

return M
