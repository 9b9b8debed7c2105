--- The client: calls and streams over one connection, from any number of tasks (docs/wire/ttrpc.md#call-sequences).
local address = require "vmctl.net.address"
local calls = require "vmctl.ttrpc.client_call"
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local options = require "vmctl.base.options"
local service = require "vmctl.ttrpc.service"
local connections = require "vmctl.ttrpc.client_connection"
local streams = require "vmctl.ttrpc.client_stream"
local wire = require "vmctl.ttrpc.wire"

local M = {}

local TIMEOUT = 60 -- seconds of a call that names none: the protocol has no other way to end one

---@class vmctl.TtrpcClient
local methods = {}
local mt = { __name = "vmctl.TtrpcClient", __index = methods }

local known = {
  timeout = "number>0", dial_timeout = "number>0", services = "table", metadata = "table", first_id = "integer>=1<=4294967295",
}
local call_options = { timeout = "number", metadata = "table", request_type = "string", response_type = "string" }
local stream_options = {
  timeout = "number", metadata = "table", request_type = "string", response_type = "string", client_stream = "boolean",
  server_stream = "boolean",
}

local function new(stream, opts, where)
  local usable, err, code = wire.encode_request { service = "", method = "" } -- is there a protobuf?
  if not usable then return nil, err, code end
  local connection = connections.new(stream)
  if opts.first_id then connection:continue(opts.first_id | 1) end
  return setmetatable({
    _connection = connection, _timeout = opts.timeout or TIMEOUT, _metadata = opts.metadata,
    _services = service.table_of(opts.services, where),
  }, mt)
end

--- Makes a client of a connected stream, which it takes; either end may have dialled. Does not wait.
---@param stream vmctl.Stream
---@param opts? { timeout: number?, services: vmctl.TtrpcService[]?, metadata: table?, first_id: integer? } seconds for a call (60);
-- descriptions of services (nerdbox's are known); metadata that each request carries; the first stream id, made odd, of a connection
-- that has had earlier ones (1)
---@return vmctl.TtrpcClient|nil, string?, string? code ENOTSUP: there is no protobuf here
function M.new(stream, opts)
  return new(stream, options.check(opts, known, "ttrpc.client"), "ttrpc.client")
end

--- Connects. Waits.
---@param where string|table|function an address
---@param opts? table as for `new`, and dial_timeout (seconds, 10)
---@return vmctl.TtrpcClient|nil, string?, string? as vmctl.dial; ENOTSUP
function M.connect(where, opts)
  opts = options.check(opts, known, "ttrpc.connect")
  local at, stream, err, code
  at, err, code = address.parse(where)
  if not at then return nil, err, code end
  stream, err, code = dial.dial(at, opts.dial_timeout)
  if not stream then return nil, err, code end
  local client
  client, err, code = new(stream, opts, "ttrpc.connect")
  if not client then stream:close() end
  return client, err, code
end

local function failed(what, name, err, code, extra)
  return nil, ("%s %s: %s"):format(what, name, err), code, extra
end

local deadline_of = core.deadline -- when a call must be done: its time-out, or an earlier limit around it

local function metadata_of(self, given)
  local base = self._metadata
  if not base and not given then return nil end
  return wire.pairs_of(base and given and options.merge(base, given) or base or given)
end

local NONE = {}

-- The types of a method: those of its description, or of the options.
local function described(self, service_name, method_name, opts)
  local spec = service.method(self._services, service_name, method_name) or NONE
  return opts.request_type or spec.request, opts.response_type or spec.response, spec
end

local function call_failed(service_name, method, ...)
  return failed("call", service_name .. "/" .. method, ...)
end

-- The results of a call for its caller: payloads are tables already, or bytes.
local function concluded(service_name, method, response_type, payload, err, code, refused)
  if not payload then return call_failed(service_name, method, err, code, refused) end
  if type(payload) == "table" then return payload end
  local response
  response, err, code = service.decode(response_type, payload)
  if response == nil then return call_failed(service_name, method, "the answer: " .. tostring(err), code) end
  return response
end

local function check_names(service_name, method_name, what)
  if type(service_name) ~= "string" or type(method_name) ~= "string" then
    error(what .. ": a service and a method expected, as strings", 3)
  end
end

--- Calls a method. Waits for its answer. The protocol cannot cancel a call: after a time-out, or when the task was cancelled,
--- the server may still finish it. The server is told the time-out.
---@param service_name string with its package
---@param method string
---@param request? table|string a table by the method's type; bytes go as they are; nil: the empty message
---@param opts? number|{ timeout: number?, metadata?: table<string, string|string[]>, request_type: string?,
--- response_type: string? } types: for a method that is not described
---@return table|string|nil response a table, or bytes where no type is known
---@return string? message
---@return string? code of an answer the status' name (NOT_FOUND …), the fourth value is the status; of this side: ETIMEDOUT,
-- ECANCELED, ERESET (the connection was lost; the call may have been done or not), ECLOSED, ETOOBIG, EPROTO, EINVAL, EOVERFLOW, ENOTSUP
---@return { code: integer, message: string, details: table[] }? status
function methods:call(service_name, method, request, opts)
  check_names(service_name, method, "call")
  opts = opts and options.check(opts, call_options, "ttrpc call") or NONE
  local deadline = deadline_of(opts.timeout or self._timeout)
  local request_type, response_type = described(self, service_name, method, opts)
  local has_metadata = self._metadata or opts.metadata
  if request_type and response_type and not has_metadata and type(request) == "table" then
    local outcome, answer, code, refused =
      self._connection:call(service_name, method, request, request_type, response_type, deadline)
    if outcome == "answered" then return answer end
    if outcome == "envelope" then return concluded(service_name, method, response_type, calls.opened(answer, response_type)) end
    if not outcome then return call_failed(service_name, method, answer, code, refused) end
  end
  local envelope = { service = service_name, method = method, payload = nil, metadata = nil, timeout_nano = nil }
  if has_metadata then envelope.metadata = metadata_of(self, opts.metadata) end
  if not request_type or type(request) ~= "table" then
    local err, code
    envelope.payload, err, code = service.encode(request_type, request)
    if not envelope.payload then return call_failed(service_name, method, err, code) end
    request_type = nil
  end
  return concluded(service_name, method, response_type,
    calls.exchange(self._connection, deadline, response_type, envelope, request_type, request))
end

-- Which sides stream: by the description or the options; without both, a call with a request streams from the server only.
local function stream_spec(self, service_name, method, request, opts)
  local request_type, response_type, spec = described(self, service_name, method, opts)
  local from_client, to_client = opts.client_stream, opts.server_stream
  if from_client == nil then from_client = spec.client_stream end
  if to_client == nil then to_client = spec.server_stream end
  if from_client == nil and to_client == nil and not spec.request then
    from_client, to_client = request == nil, true
  end
  return {
    name = service_name .. "/" .. method, request = request_type, response = response_type,
    client_stream = from_client or false, server_stream = to_client or false,
  }
end

--- Opens a stream. Waits only for room to send the request: the server does not answer it. To be sure that the
--- server has it, make any call afterwards.
---@param service_name string
---@param method string
---@param request? table|string the argument of a method that takes no stream; else a first message
---@param opts? number|{ timeout: number?, metadata: table?, request_type: string?, response_type: string?, client_stream: boolean?,
--- server_stream: boolean? } timeout: of the stream as a whole, which the server is told, too; none by default
---@return vmctl.TtrpcStream|nil stream with send, close_send, recv, messages, close; string?, string? as `call`
function methods:stream(service_name, method, request, opts)
  check_names(service_name, method, "stream")
  opts = options.check(opts, stream_options, "ttrpc stream")
  local spec = stream_spec(self, service_name, method, request, opts)
  local payload, err, code = service.encode(spec.request, request)
  if not payload then return failed("open", spec.name, err, code) end
  local limit = opts.timeout and deadline_of(opts.timeout) or math.huge
  local stream = streams.new(self._connection, spec, self._timeout, limit)
  local flags = spec.client_stream and wire.REMOTE_OPEN or wire.REMOTE_CLOSED
  if spec.client_stream and payload == "" then flags = flags | wire.NO_DATA end -- else ttrpc-rust takes it for a message
  local ok
  ok, err, code = self._connection:open(stream, flags, math.min(limit, deadline_of(self._timeout)), limit, {
    service = service_name, method = method, payload = payload, metadata = metadata_of(self, opts.metadata),
  })
  if not ok then return failed("open", spec.name, err, code) end
  self._connection:attend()
  return stream
end

--- Counts of the connection's calls and streams. Does not wait.
---@return { live: integer, in_core: integer, held: integer } stats live: calls and streams that have not ended; in_core: those of them
-- that are unary calls made by the core in one step; held: received bytes that were not read yet
function methods:stats()
  return self._connection:stats()
end

--- Tells if the connection is known to have ended, and why.
---@return boolean, string?, string?
function methods:closed()
  return self._connection.over ~= nil, self._connection.over, self._connection.code
end

--- Ends the connection: all calls and streams fail with ECLOSED, and so do later ones. Idempotent, never waits.
function methods:close()
  self._connection:close()
  return true
end

mt.__close = methods.close
mt.__gc = methods.close

function mt:__tostring()
  return ("vmctl.TtrpcClient(%s)"):format(self._connection.frames.label)
end

return M
