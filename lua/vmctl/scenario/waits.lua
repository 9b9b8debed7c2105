--- A scenario's verbs that wait for something in a guest.
local options = require "vmctl.base.options"
local poll = require "vmctl.scenario.poll"
local ready = require "vmctl.ready"

local M = {}

local ATTEMPT = 5 -- seconds for one attempt to connect
local wait_options = { timeout = "number", interval = "number>0" }
local port_options = options.merge(wait_options, { host = "string" })

--- Waits until a path exists; the file may be of any type.
---@param path string
---@param opts? { timeout: number?, interval: number? }|number seconds
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

--- Waits until a TCP port accepts connections from inside the guest.
---@param port integer
---@param opts? { timeout: number?, interval: number?, host: string? }|number host: 127.0.0.1 by default
function M:wait_for_open_port(port, opts)
  opts = options.check(opts, port_options, "wait_for_open_port")
  local probe, what = port_probe(self, "wait_for_open_port", port, opts)
  poll.wait(self, "wait_for_open_port", what, opts, function(left) return probe:attempt(math.min(left, ATTEMPT)) end)
end

-- Codes of a closed port. ETIMEDOUT is not among them.
local REFUSED = { ECONNREFUSED = true, ECONNRESET = true, EREMOTE = true }

--- Waits until a TCP port refuses connections from inside the guest.
---@param port integer
---@param opts? { timeout: number?, interval: number?, host: string? }|number
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

--- Waits until a Unix stream socket accepts connections.
---@param path string
---@param opts? { timeout: number?, interval: number? }|number seconds
function M:wait_for_open_unix_socket(path, opts)
  opts = options.check(opts, wait_options, "wait_for_open_unix_socket")
  local vm = self:_running "wait_for_open_unix_socket"
  poll.wait(self, "wait_for_open_unix_socket", "socket " .. path, opts, function(left)
    local stream, err, code = vm:connect({ kind = "unix", path = path }, math.min(left, ATTEMPT))
    if not stream then return nil, err, code end
    stream:close()
    return true
  end)
end

local event_options = { timeout = "number" }

--- Waits for an event of QEMU. Events since the first use of the monitor count; earlier ones are lost, so call `vm:qmp` before the
--- step that causes the event.
---@param what string|fun(event: table): boolean "RESET", "STOP", "GUEST_PANICKED" …, or a function that returns true for the event
---@param opts? { timeout: number? }|number seconds
---@return table event as QEMU sent it: event, data, timestamp
function M:wait_for_qmp_event(what, opts)
  opts = options.check(opts, event_options, "wait_for_qmp_event")
  local vm = self:_running "wait_for_qmp_event"
  local event, err = vm:wait_event(what, { timeout = opts.timeout or self._run.timeout })
  if not event then self:_fail("wait_for_qmp_event", err) end
  self._run:note("%s: wait_for_qmp_event %s", self.name, event.event)
  return event
end

return M
