--- Shared by the specs of copies: an agent of ours on this machine that finds a tar of the spec's choice.
local assert = require "luassert"
local support = require "spec.support"
local vmctl = require "vmctl"
local writer = require "vmctl.tar.write"

local M = {}

--- Runs a shell script on this machine; its output.
---@return string
function M.sh(script, ...)
  local command = { "sh", "-ec", script, "sh", ... }
  command.check = true
  return assert(vmctl.host:run(command)).stdout
end

--- Makes an archive of entries, whose missing fields are those of a plain file of root's.
---@param entries table[] as vmctl.tar.write takes them, with their `content`
---@param mtime? integer of those without one (0)
---@param knows? "pax"|"vmctl" as vmctl.tar.write has it
---@return string
function M.archive(entries, mtime, knows)
  local parts = {}
  local function write(bytes)
    parts[#parts + 1] = bytes
    return true
  end
  for _, entry in ipairs(entries) do
    for name, value in pairs { mode = 420, uid = 0, gid = 0, mtime = mtime or 0, size = #(entry.content or "") } do
      entry[name] = entry[name] or value
    end
    local content = entry.content
    assert(writer.entry(write, entry, function() return content end, knows))
  end
  assert(writer.finish(write))
  return table.concat(parts)
end

-- A client that is given the revision does not ask if the agent packs files itself.
local BY_TAR = { revision = "vmctl" }
local BUSYBOX = "tar stat find xargs sha256sum mv mkdir rm cat id sh rmdir"

--- Calls fn(client, folder) with a client of an agent whose PATH begins with a folder that holds `tools`.
---@param tools? "busybox"|table<string, string> busybox' programs, or shell scripts by name: then the agent does not pack by itself
---@param fn fun(client: vmctl.ExecClient, folder: string)
function M.with_agent(tools, fn)
  local folder = support.tmpdir()
  M.sh('mkdir "$1/bin"', folder)
  if tools == "busybox" then
    M.sh('for tool in $2; do ln -s "$(command -v busybox)" "$1/bin/$tool"; done', folder, BUSYBOX)
  else
    for name, script in pairs(tools or {}) do
      local file = assert(io.open(folder .. "/bin/" .. name, "w"))
      file:write("#!/bin/sh\n", script)
      file:close()
      M.sh('chmod 755 "$1"', folder .. "/bin/" .. name)
    end
  end
  local program <close> = assert(vmctl.process.spawn { -- luacheck: ignore
    os.getenv "VMCTL_AGENT" or "build/vmctl-agent", "--listen",
    "unix:" .. folder .. "/agent", env = { PATH = folder .. "/bin:" .. os.getenv "PATH" }, stdin = "null", stderr = "inherit",
    death_signal = "KILL" })
  assert(assert(vmctl.exec.client("unix:" .. folder .. "/agent")):ready(30))
  local client = assert(vmctl.exec.client("unix:" .. folder .. "/agent", tools and BY_TAR or nil))
  fn(client, folder)
end

return M
