--- The control socket of a switch: another program changes its faults and reads its counters while it runs. Both ways an object of
--- JSON a line: { "op": "faults", "port": "a", "faults": { "loss": 0.1 } } is answered by { "value": … }, or by
--- { "error": { "message": …, "code": … } }.
local access = require "vmctl.net.access"
local accept = require "vmctl.net.server"
local background = require "vmctl.base.background"
local dial = require "vmctl.net.dial"
local errors = require "vmctl.errors"
local json = require "vmctl.json"
local options = require "vmctl.base.options"
local shape = require "vmctl.json.shape"

local M = {}

local LINE = 1 << 20     -- bytes of a request or an answer: counters of 256 ports and their pairs
local IDLE = 3600        -- seconds for which a client may be silent
local WRITE_TIMEOUT = 10 -- seconds
local CLIENTS = 16

local function object(value)
  return next(value) == nil and json.object {} or value
end

-- The requests of clients, by the name in `op`. They return the results of the switch's methods.
local operations = {}

function operations.counts(switch)
  local counts, err, code = switch:counts()
  if not counts then return nil, err, code end
  for from, row in pairs(counts.pairs) do counts.pairs[from] = object(row) end
  counts.total, counts.ports, counts.pairs = object(counts.total), object(counts.ports), object(counts.pairs)
  return counts
end

function operations.ports(switch)
  local list = {}
  for i, port in ipairs(switch:ports()) do
    local state, reason, epoch = port:state()
    list[i] = { name = port.name, state = state, reason = reason, connections = epoch, faulty = port:is_faulty() }
  end
  return json.array(list)
end

function operations.addresses(switch)
  local list, err, code = switch:addresses()
  if not list then return nil, err, code end
  return json.array(list)
end

function operations.forget(switch) return switch:forget() end

function operations.faults(switch, request)
  if not request.port then return switch:faults_of_all(request.faults) end
  if request.to then
    return switch:faults(request.port, request.to, request.faults, { direction = request.direction })
  end
  return switch:_resolve(request.port, 2):faults(request.faults, { direction = request.direction })
end

function operations.cut(switch, request) return switch:cut(request.port, request.to) end

function operations.heal(switch, request)
  if request.port then return switch:heal(request.port, request.to) end
  return switch:heal { faults = request.clear or false }
end

function operations.partition(switch, request) return switch:partition(request.groups) end

function operations.mirror(switch, request) return switch:mirror(request.port) end

function operations.link(switch, request)
  return switch:_resolve(request.port, 2):set_link(request.up)
end

function operations.disconnect(switch, request)
  return switch:_resolve(request.port, 2):disconnect()
end

-- The trunk lives on without its client: `disconnect` of its port ends it.
function operations.trunk(switch, request)
  local trunk, err, code = switch:trunk(request.where, request.options)
  if not trunk then return nil, err, code end
  return { port = trunk.name, networks = json.array(trunk:networks()) }
end

function operations.seed(switch, request)
  return switch:seed(request.seed)
end

-- The captures that clients have begun, by their paths.
function operations.capture(switch, request, control)
  local path = request.path
  if control._captures[path] and control._captures[path]:is_open() then
    return errors.fail("EEXIST", "%s is captured to already", path)
  end
  local capture, err, code = switch:capture(path, request.options)
  if not capture then return nil, err, code end
  control._captures[path] = capture
  return true
end

function operations.capture_end(_, request, control)
  local capture = control._captures[request.path]
  if not capture then return errors.fail("ENOENT", "no client has begun a capture to %s", request.path) end
  control._captures[request.path] = nil
  return capture:close()
end

local REQUEST = {
  op = "string", port = "string?", to = "string?", direction = "string?", path = "string?", clear = "boolean?", up = "boolean?",
  seed = "integer?", where = "string?", groups = "any?", faults = "any?", options = "any?",
}
local NEEDS = { -- members without which an operation makes no sense
  cut = { "port" }, partition = { "groups" }, link = { "port", "up" }, disconnect = { "port" },
  trunk = { "where" }, capture = { "path" }, capture_end = { "path" },
}

local function read_request(line)
  local request, err = json.decode(line)
  local why = type(request) ~= "table" and "a request is no object: " .. tostring(err or line:sub(1, 40))
  why = why or shape.wrong(request, REQUEST, "the request")
  if why then return errors.fail("EINVAL", "%s", why) end
  if not operations[request.op] then return errors.fail("EINVAL", "no operation is called '%s'", request.op) end
  for _, name in ipairs(NEEDS[request.op] or {}) do
    if request[name] == nil then return errors.fail("EINVAL", "%s: '%s' expected", request.op, name) end
  end
  return request
end

-- Mistakes raise in the switch's methods. Here they are the client's.
local function perform(self, line)
  local request, err, code = read_request(line)
  if not request then return nil, err, code end
  local results = table.pack(pcall(operations[request.op], self._switch, request, self))
  if results[1] then return table.unpack(results, 2, 4) end
  return nil, (tostring(results[2]):gsub("^[^:]+:%d+: ", "")), "EINVAL"
end

local function answer(self, line)
  local value, err, code = perform(self, line)
  local text
  if value ~= nil then text = json.encode { value = value } end
  return text or assert(json.encode { error = { message = err or "the answer cannot be told", code = code or "EINVAL" } })
end

local function serve(self, stream)
  local line = stream:read_line(LINE, IDLE)
  while line do
    if not stream:write(answer(self, line) .. "\n", WRITE_TIMEOUT) then break end
    line = stream:read_line(LINE, IDLE)
  end
  stream:close()
end

---@class vmctl.L2Control
local methods = {}
local mt = { __name = "vmctl.L2Control", __index = methods }

--- Serves a switch on a control socket, until the handle or the switch is closed. Only this user and root may connect. Does not wait.
---@param where string|table "unix:PATH"
---@return vmctl.L2Control|nil control with close(); string?, string? code EADDRINUSE, EINVAL, ECLOSED …
function M.serve(switch, where)
  if switch._closed then return switch:_fail_closed "control" end
  local listener, err, code = dial.listen(where)
  if not listener then return nil, err, code end
  local self = setmetatable({ _switch = switch, _listener = listener, _captures = {} }, mt)
  switch._links[self] = true
  self._task = background.spawn("l2: the control of " .. switch.name, accept.serve, listener,
    { allow = access.policy(), limit = accept.limit(CLIENTS) }, function(stream) serve(self, stream) end)
  return self
end

--- Ends it, and removes the socket. Idempotent; does not wait.
---@return true
function methods:close()
  self._listener:close()
  self._task:cancel()
  self._switch._links[self] = nil
  return true
end

mt.__close = methods.close

---@class vmctl.L2ControlClient
local client = {}
local client_mt = { __name = "vmctl.L2ControlClient", __index = client }

--- Connects to the control socket of a switch. Waits.
---@param where string|table|function "unix:PATH"
---@param opts? { timeout: number? } seconds (10)
---@return vmctl.L2ControlClient|nil, string?, string?
function M.connect(where, opts)
  opts = options.check(opts, { timeout = "number>=0" }, "l2.control")
  local stream, err, code = dial.dial(where, { timeout = opts.timeout })
  if not stream then return nil, err, code end
  return setmetatable({ _stream = stream }, client_mt)
end

local ANSWER = { value = "any?", error = { optional = true, message = "string", code = "string" } }

--- Asks for an operation: "counts", "ports", "addresses", "forget", "faults" (port, to, faults, direction; without a port: of all),
--- "cut" and "heal" (port, to; heal without a port ends all cuts, and with clear = true all faults), "partition" (groups), "mirror"
--- (port), "link" (port, up), "disconnect" (port), "seed" (seed), "capture" (path, options), "capture_end" (path). Waits.
---@param op string
---@param arguments? table
---@param timeout? number seconds (10)
---@return any|nil value, string?, string? code EINVAL, EPROTO, those of the switch's methods
function client:call(op, arguments, timeout)
  local request = options.merge(arguments or {}, { op = op })
  local ok, err, code = self._stream:write(assert(json.encode(request)) .. "\n", timeout or WRITE_TIMEOUT)
  if not ok then return nil, err, code end
  local line
  line, err, code = self._stream:read_line(LINE, timeout or WRITE_TIMEOUT)
  if not line then return nil, err, code end
  local reply = json.decode(line)
  local why = shape.wrong(reply, ANSWER, "the answer")
  if why then return errors.fail("EPROTO", "%s: %s", op, why) end
  if reply.error then return nil, reply.error.message, reply.error.code end
  return reply.value
end

--- Ends the connection; the switch goes on. Idempotent; does not wait.
---@return true
function client:close()
  self._stream:close()
  return true
end

client_mt.__close = client.close

return M
