--- The client of a helper: one call at a time, in the order in which tasks make them (docs/wire/cc-ipc.md#call-close-isalive).
--- Nothing on the wire tells which request an answer belongs to: after a call that was given up, the connection is closed.
local address = require "vmctl.net.address"
local core = require "vmctl.core"
local answers = require "vmctl.cc.client_answer"
local dial = require "vmctl.net.dial"
local encoder = require "vmctl.cc.encoder"
local errors = require "vmctl.errors"
local naming = require "vmctl.base.stream_name"
local options = require "vmctl.base.options"
local waiters = require "vmctl.base.waiters"
local wire = require "vmctl.cc.wire"

local M = {}

local TIMEOUT = 60        -- seconds of a call that names none
local LONG_TIMEOUT = 3600 -- seconds of a call that may block (wire.may_block)
local BYTES = answers.BYTES

---@class vmctl.CcClient
local methods = {}
local mt = { __name = "vmctl.CcClient", __index = methods }

local known = { timeout = "number>0", long_timeout = "number>0", dial_timeout = "number>0", max_payload = "integer>=1<=4294967295" }
local call_options = { timeout = "number" }

local function new(stream, opts)
  local max = opts.max_payload or wire.MAX
  stream:set_format(wire.format_of(max))
  naming.name(stream, "cc")
  local self = setmetatable({
    _stream = stream, _label = stream:label(), _max = max, _timeout = opts.timeout or TIMEOUT,
    _long_timeout = opts.long_timeout or LONG_TIMEOUT, _waiters = waiters.new(), _calling = false, _unsupported = {},
  }, mt)
  self._turn = setmetatable({}, { __close = function() self._calling = self._waiters:serve() ~= nil end })
  return self
end

--- Makes a client of a connected stream, which it takes. Does not wait.
---@param stream vmctl.Stream
---@param opts? { timeout: number?, long_timeout: number?, max_payload: integer? } seconds for a call (60), and for one that may
-- block (an hour); bytes of a payload, either way (64 MiB)
---@return vmctl.CcClient
function M.new(stream, opts)
  return new(stream, options.check(opts, known, "cc.client"))
end

--- Connects to a helper that runs already: one attempt. Waits.
---@param where string|table the path of its socket, or an address
---@param opts? table as for `new`, and dial_timeout (seconds, 10)
---@return vmctl.CcClient|nil, string?, string? as vmctl.dial
function M.connect(where, opts)
  opts = options.check(opts, known, "cc.connect")
  if type(where) == "string" and not where:match "^%l+:" then where = { kind = "unix", path = where } end
  local at, err, code = address.parse(where)
  if not at then return nil, err, code end
  local stream
  stream, err, code = dial.dial(at, opts.dial_timeout)
  if not stream then return errors.wrap("cc helper", nil, err, code) end
  return new(stream, opts)
end

-- Calls

-- `split`: the answer is bytes.
local function exchange(self, kind, payload, timeout, split)
  local deadline = core.now() + timeout
  if self._calling then
    local ok, err, code = self._waiters:wait({}, timeout, "the calls before this one", function() self._turn:__close() end)
    if not ok then return answers.failed(self, kind, err, code) end
  end
  self._calling = true
  local turn <close> = self._turn -- luacheck: ignore
  if self._broken then return answers.failed(self, kind, self._broken, "ECLOSED") end
  local stream = self._stream
  local ok, err, code = stream:write_frame(kind, payload, deadline - core.now())
  if not ok then return answers.unsent(self, kind, err, code) end
  if split then return answers.read_bytes(self, kind, stream:read_frame(deadline - core.now(), BYTES)) end
  return answers.read_answer(self, kind, stream:read_frame(deadline - core.now()))
end

local function time_limit(self, kind, opts)
  if opts == nil then return wire.may_block[kind] and self._long_timeout or self._timeout end
  if type(opts) == "number" then return opts end
  return options.check(opts, call_options, "cc call", 4).timeout or time_limit(self, kind)
end

local function payload_of(payload)
  if payload == nil then return "" end
  if type(payload) ~= "function" then error("cc call: bytes or a function expected, got " .. type(payload), 3) end
  local e = encoder.new()
  payload(e)
  return e:bytes()
end

--- Sends a request and waits for its answer. After a time-out, or when the task was cancelled,
--- the connection is closed, unless the call was still queued: a late answer would be taken for that of the next call.
---@param kind integer one of vmctl.cc.types
---@param payload? string|fun(e: vmctl.CcEncoder) the request's fields
---@param opts? number|{ timeout: number? } seconds, the queue included
---@return vmctl.CcDecoder|nil answer its fields, the code byte is read
---@return string? message
---@return string? code EREMOTE: the helper has failed, the fourth value is its error (ETIMEDOUT and ECANCELED with a fourth
--- value: the helper's own); ENOTSUP: it does not know the request; of this side: ETIMEDOUT, ECANCELED, ERESET (the connection
--- was lost; the request may have been done or not), ECLOSED, EPROTO, ETOOBIG
---@return { code: integer, message: string, op: string, path: string }? error
function methods:call(kind, payload, opts)
  if math.type(kind) ~= "integer" then error("cc call: a request's type expected, got " .. tostring(kind), 2) end
  local timeout = time_limit(self, kind, opts)
  local unsupported = self._unsupported[kind]
  if unsupported then return answers.refused(self, kind, unsupported) end
  if type(payload) ~= "string" then payload = payload_of(payload) end
  return exchange(self, kind, payload, timeout)
end

--- As `call`, of a request whose answer is bytes alone. Waits.
---@param kind integer
---@param payload string
---@param timeout? number seconds
---@return string|nil bytes, string?, string?, table? as `call`
function methods:call_for_bytes(kind, payload, timeout)
  local unsupported = self._unsupported[kind]
  if unsupported then return answers.refused(self, kind, unsupported) end
  return exchange(self, kind, payload, timeout or time_limit(self, kind), BYTES)
end

-- Life

--- Tells if a call can be made: the client is not closed, and the helper is still there. Does not wait.
---@return boolean
function methods:alive()
  if self._broken then return false end
  local child = self._owned and self._owned.child
  if child and (child:wait(0)) then return false end
  return self._calling or not self._stream:hung_up() -- the running call will notice
end

--- Ends the connection; calls that wait fail with ECLOSED, and so do later ones. Waits only for a helper
--- that `spawn` started: it ends, or is killed after two seconds. Idempotent. (If the helper has other clients, its instance
--- goes on: close the instance first.)
---@return true
function methods:close()
  answers.give_up(self, "closed")
  local owned = self._owned
  self._owned = nil
  if owned then owned:close() end
  return true
end

mt.__close = methods.close

function mt:__gc()
  answers.give_up(self, "closed")
  if self._owned then self._owned:abandon() end
end

function mt:__tostring()
  return ("vmctl.CcClient(%s)"):format(self._label)
end

--- The most bytes of a payload.
function methods:max_payload()
  return self._max
end

-- Lets `close` also end a started helper.
function methods:_own(owned)
  self._owned = owned
  return self
end

-- Objects

--- Boots a machine in the helper. Waits. See vmctl.cc.instance.
---@param opts table
---@param timeout? number seconds
---@return vmctl.CcInstance|nil, string?, string?, table? as `call`
function methods:instance(opts, timeout)
  return require("vmctl.cc.instance").new(self, opts, timeout)
end

--- The machine that another client has booted in the helper. Does not wait, and does not ask the helper.
---@return vmctl.CcInstance
function methods:current_instance()
  return require("vmctl.cc.instance").attach(self)
end

--- Builds an image. Waits: minutes. See vmctl.cc.snapshot.
---@param opts table
---@param timeout? number seconds
---@return vmctl.CcSnapshot|nil, string?, string?, table? as `call`
function methods:build_dockerfile(opts, timeout)
  return require("vmctl.cc.snapshot").build(self, opts, timeout)
end

return M
