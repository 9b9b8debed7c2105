--- vmctl stop: ends guests that `vmctl run` or `vmctl start` has started.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local instance = require "vmctl.instance"
local json = require "vmctl.json"
local output = require "vmctl.cli.output"
local share = require "vmctl.machine.share"
local share_client = require "vmctl.machine.share_client"
local store = require "vmctl.instance.store"
local targets = require "vmctl.cli.targets"
local task = require "vmctl.base.task"
local units = require "vmctl.cli.units"

local M = {}

function M.describe(command)
  command:summary "Stop guests."
  command:description("Powers guests off that `vmctl run --name` or `vmctl start` keeps, and waits until they have gone.\n" ..
    "  vmctl stop web\n  vmctl stop --all")
  command:argument("target", "Guests' names."):argname("NAME"):args "*"
  command:flag("--all", "All guests of this user.")
  command:option("--timeout", "Seconds for all of them (30)."):argname("SECONDS"):convert(units.seconds "--timeout"):default "30"
end

local function stop(name, deadline)
  if store.folder(name) then return instance.stop(name, { timeout = math.max(deadline - core.now(), 0.001) }) end
  local ok, err, code = targets.socket(name, "stop")
  if not ok then return nil, err, code end
  return share_client.stop(name, deadline)
end

local function names_of(opts)
  if not opts.all then return opts.target end
  local names = {}
  for _, guest in ipairs(share.list()) do names[#names + 1] = guest.name end
  return names
end

function M.run(opts)
  if #opts.target == 0 and not opts.all then return errors.fail("EINVAL", "the name of a guest expected, or --all") end
  local deadline = core.now() + opts.timeout
  local names, failed = names_of(opts), nil
  local stopped = json.array {}
  task.all(names, function(name)
    local ok, err, code = stop(name, deadline)
    if ok then
      stopped[#stopped + 1] = name
    else
      failed = failed or { err, code }
    end
  end)
  if failed then return nil, failed[1], failed[2], { stopped = stopped } end
  table.sort(stopped)
  output.result(opts, { stopped = stopped }, #stopped > 0 and table.concat(stopped, "\n") or "no guest runs")
  return 0
end

return M
