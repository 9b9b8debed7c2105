--- vmctl stop: ends guests that `vmctl run` has started.
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local errors = require "vmctl.errors"
local json = require "vmctl.json"
local output = require "vmctl.cli.output"
local share = require "vmctl.machine.share"
local targets = require "vmctl.cli.targets"
local task = require "vmctl.base.task"
local units = require "vmctl.cli.units"

local M = {}

local LOOK = 0.05      -- seconds between two checks of its folder
local MOST_LINE = 1000 -- bytes of the answer of `vmctl run`

function M.describe(command)
  command:summary "Stop guests."
  command:description("Powers guests off that `vmctl run --name` keeps, and waits until they have gone.\n" ..
    "  vmctl stop web\n  vmctl stop --all")
  command:argument("target", "Guests' names."):argname("NAME"):args "*"
  command:flag("--all", "All guests of this user.")
  command:option("--timeout", "Seconds for all of them (30)."):argname("SECONDS"):convert(units.seconds "--timeout"):default "30"
end

-- Asks the `vmctl run` of a guest to power it off. That program removes the guest's folder at its end.
local function stop(name, deadline)
  local at, err, code = targets.socket(name, "stop")
  if not at then return nil, err, code end
  local stream <close>, why, how = dial.dial(at, deadline - core.now()) -- luacheck: ignore
  if not stream then return nil, why, how end
  local line
  line, err, code = stream:read_line(MOST_LINE, deadline - core.now())
  if not line and code ~= "EOF" then return nil, ("stop %s: %s"):format(name, err), code end
  if line and line ~= "stopped" then return errors.fail("EREMOTE", "stop %s: %s", name, line) end
  while core.fs.stat(share.folder(name), true) do
    if core.now() >= deadline then return errors.fail("ETIMEDOUT", "stop %s: it still runs", name) end
    local ok
    ok, err, code = core.sleep(LOOK)
    if not ok then return nil, err, code end
  end
  return true
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
