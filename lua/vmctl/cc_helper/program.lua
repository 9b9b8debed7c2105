--- vmctl-cc-helper: its command line and its main loop: one session, or many; a signal ends it at any time.
local arguments = require "vmctl.base.arguments"
local core = require "vmctl.core"
local helper = require "vmctl.cc_helper"
local server = require "vmctl.cc.server"
local signals = require "vmctl.signals"
local task = require "vmctl.base.task"

local M = {}

M.USAGE = [[
vmctl-cc-helper -socket PATH [options]      serves cc-helper's protocol on a Unix socket

  -socket PATH        the socket to make
  --local DIR         the instance is this folder of this machine, and no virtual machine: its commands run here, with this
                      user's rights, and are not kept inside the folder
  --kernel FILE       the kernel that guests boot ($VMCTL_KERNEL, build/kernel/vmlinuz)
  --modules DIR       the kernel's modules, as /lib/modules/VERSION holds them ($VMCTL_MODULES)
  --agent FILE        the static agent that is put into guests ($VMCTL_AGENT, build/vmctl-agent)
  --cache DIR         where snapshots are kept when a request names no folder
  --keep              serve everybody who connects, until a signal comes; the instance ends when the last client has gone.
                      Without it the first connection is the only one, and its end is the end of the program
  --help
]]

local known = {
  ["-socket"] = { into = "socket" }, ["--socket"] = { into = "socket" }, ["--local"] = { into = "root" },
  ["--kernel"] = { into = "kernel" }, ["--modules"] = { into = "modules_dir" }, ["--agent"] = { into = "agent" },
  ["--cache"] = { into = "cache_dir" }, ["--keep"] = { into = "keep", flag = true }, ["--help"] = { into = "help", flag = true },
}

--- Reads the command line.
---@param args string[]
---@return table|nil options, string? message
function M.parse(args)
  local opts, err = arguments.parse(args, known)
  if not opts then return nil, err end
  if not opts.help and not opts.socket then return nil, "-socket PATH is needed" end
  return opts
end

local function fail(message)
  io.stderr:write("vmctl-cc-helper: ", tostring(message), "\n")
  return 1
end

local function serve(srv, opts)
  if opts.keep then return srv:serve() end
  return srv:serve_one()
end

-- Serves until the session or a signal ends it. A second signal has its default effect.
local function run(srv, served, opts, wakeup)
  return task.scope(function(scope)
    task.spawn_in(scope, function()
      if not wakeup:read(nil, math.huge) then return end
      srv:close()
      scope:cancel()
    end)
    local ok, err, code = serve(srv, opts)
    if code == "ECANCELED" then ok = true end
    scope:cancel()
    served:close()
    return ok, err
  end)
end

local function live(opts)
  local wakeup, mask = core.signals { signals.number "TERM", signals.number "INT" }
  if not wakeup then return fail(mask) end
  local held <close> = mask -- luacheck: ignore
  local guard <close> = wakeup -- luacheck: ignore
  local served, err = helper.new {
    root = opts.root, kernel = opts.kernel, modules_dir = opts.modules_dir, agent = opts.agent, cache_dir = opts.cache_dir,
    on_output = function(bytes)
      if io.stdout:write(bytes) then io.stdout:flush() end
    end,
  }
  if not served then return fail(err) end
  local srv
  srv, err = server.new(opts.socket, served:handler(), { on_idle = opts.keep and function() served:reset() end or nil })
  if not srv then return fail(err) end
  local ok
  ok, err = run(srv, served, opts, wakeup)
  srv:close()
  return ok and 0 or fail(err)
end

--- The program's main function.
---@param args string[]
---@return integer exit status
function M.main(args)
  assert(core.open_standard_fds())
  local opts, err = M.parse(args)
  if not opts then return fail(err) end
  if opts.help then
    io.stdout:write(M.USAGE)
    return 0
  end
  return task.run(live, opts)
end

return M
