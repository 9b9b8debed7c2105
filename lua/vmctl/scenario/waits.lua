--- A scenario's verbs that wait for something in a guest.
local options = require "vmctl.base.options"
local poll = require "vmctl.scenario.poll"
local ready = require "vmctl.ready"

local M = {}

local ATTEMPT = 5 -- seconds for one look at a port
local wait_options = { timeout = "number", interval = "number>0" }
local port_options = options.merge(wait_options, { host = "string" })

--- Waits until a file, of any kind, is there.
---@param path string
---@param opts? { timeout: number, interval: number }|number seconds
function M:wait_for_file(path, opts)
  opts = options.check(opts, wait_options, "wait_for_file")
  local probe = ready.file(self:_running "wait_for_file", path)
  poll.wait(self, "wait_for_file", path, opts, function(left) return probe:attempt(left) end)
end

local function port_probe(self, verb, port, opts)
  local vm = self:_running(verb)
  local host = opts.host or "127.0.0.1"
  return ready.port(vm, port, host), ("port %s:%d"):format(host, port)
end

--- Waits until a TCP port accepts connections, as the guest sees it.
---@param port integer
---@param opts? { timeout: number, interval: number, host: string }|number host: 127.0.0.1 by default
function M:wait_for_open_port(port, opts)
  opts = options.check(opts, port_options, "wait_for_open_port")
  local probe, what = port_probe(self, "wait_for_open_port", port, opts)
  poll.wait(self, "wait_for_open_port", what, opts, function(left) return probe:attempt(math.min(left, ATTEMPT)) end)
end

-- What says that nobody listens. A time-out does not.
local REFUSED = { ECONNREFUSED = true, ECONNRESET = true, EREMOTE = true }

--- Waits until nobody accepts connections to a TCP port any more.
---@param port integer
---@param opts? { timeout: number, interval: number, host: string }|number
function M:wait_for_closed_port(port, opts)
  opts = options.check(opts, port_options, "wait_for_closed_port")
  local probe, what = port_probe(self, "wait_for_closed_port", port, opts)
  poll.wait(self, "wait_for_closed_port", what .. " to be closed", opts, function(left)
    local open, err, code = probe:attempt(math.min(left, ATTEMPT))
    if open then return nil, "it accepts connections" end
    if REFUSED[code] then return true end
    return nil, err, code
  end)
end

-- $1: the unit. What it says that it is; exit code 99: no systemd in this guest.
local UNIT = [[command -v systemctl >/dev/null 2>&1 || exit 99
systemctl show --no-pager -p ActiveState -p SubState -p Result -p Job -- "$1"]]

local function look_at_unit(vm, unit, left)
  local record, err, code = vm:run { "sh", "-c", UNIT, "sh", unit, timeout = left }
  if not record then return nil, err, code end
  if record.exit_code == 99 then return nil, "this guest has no systemctl", "ENOTSUP" end
  local state = record.stdout:match "ActiveState=(%S+)"
  if state == "active" then return true end
  local seen = record.stdout:gsub("%s+", " "):gsub(" $", "")
  if state == "failed" then return nil, seen, "EINVAL" end
  if state == "inactive" and (record.stdout:match "Job=(%d+)" or "0") == "0" then
    return nil, seen .. " (inactive, and nothing is about to start it)", "EINVAL"
  end
  return nil, seen ~= "" and seen or record.stderr
end

--- Waits until a unit of systemd is active. One that failed, or that nothing is about to start, ends the wait at once.
---@param unit string
---@param opts? { timeout: number, interval: number }|number
function M:wait_for_unit(unit, opts)
  opts = options.check(opts, wait_options, "wait_for_unit")
  local vm = self:_running "wait_for_unit"
  poll.wait(self, "wait_for_unit", unit, opts, function(left) return look_at_unit(vm, unit, left) end)
end

--- Waits until the console shows a Lua pattern, in what it has kept or in what comes. Of a machine that began with a snapshot it
--- keeps what came since.
---@param pattern string
---@param opts? { timeout: number, plain: boolean }|number
---@return string match
function M:wait_for_console_text(pattern, opts)
  opts = options.check(opts, { timeout = "number", plain = "boolean" }, "wait_for_console_text")
  local vm = self:_running "wait_for_console_text"
  local found, err = vm:wait_console(pattern, { timeout = opts.timeout or self._run.timeout, plain = opts.plain })
  if not found then self:_fail("wait_for_console_text", err) end
  return found
end

return M
