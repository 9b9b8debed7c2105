--- Passes requests for files, commands and the network on to the agent in the guest. The helper's handles have numbers of their own,
--- which the five kinds share, and which end with the instance.
local decoder = require "vmctl.cc.decoder"
local failure = require "vmctl.cc.backend.failure"
local fields = require "vmctl.cc.backend.fields"
local wire = require "vmctl.cc.wire"

local M = {}

local pack, unpack = string.pack, string.unpack

local KINDS = { FILE = "file", CMD = "cmd", LISTENER = "listener", CONN = "conn" }
local MAKES = { FS_OPEN = "file", FS_CREATE = "file", FS_OPEN_FILE = "file", CMD_NEW = "cmd", CMD_ENTRYPOINT = "cmd",
  NET_LISTEN = "listener", LISTENER_ACCEPT = "conn" }
local FREES = { FILE_CLOSE = true, CMD_FREE = true, CMD_KILL = true, LISTENER_CLOSE = true, CONN_CLOSE = true }
local LENIENT = { CMD_FREE = true, CMD_KILL = true }
local BROKEN = { EOF = true, EPIPE = true, ECONNRESET = true, ERESET = true, ECONNREFUSED = true, ECLOSED = true }

-- A handle's object: the number that the guest has for it. The object behind it ends with the guest.
local remote = { __index = { close = function() return true end } }

-- The properties of each request that is passed on.
local function describe()
  local plans = {}
  for name in pairs(fields.fields) do
    local family = name:match "^%u+"
    if name ~= "FS_SNAPSHOT" and (KINDS[family] or family == "FS" or family == "NET") then
      plans[wire.types[name]] = { name = name, makes = MAKES[name], frees = FREES[name], decode = fields.decode(name),
        kind = not (name == "CMD_NEW" or name == "CMD_ENTRYPOINT") and KINDS[family] or nil }
    end
  end
  return plans
end

local function refuse(op, body)
  local err = decoder.new(body):error()
  if not err then return failure.say(op, "", "the agent's answer makes no sense", "EPROTO") end
  return nil, err.message, err.code, { op = err.op, path = err.path }
end

local function lost(op, message, code)
  if BROKEN[code] then return failure.say(op, "", "the guest is gone", wire.codes.NOT_RUNNING) end
  return failure.of(op, "", message, code)
end

-- Sends one request to the guest, and returns its answer.
local function ask(pool, plan, kind, payload)
  local op = plan.name:lower()
  local answer, body, code = pool:call(kind, payload)
  if not answer then return lost(op, body, code) end
  if answer == wire.types.ERROR then return refuse(op, body) end
  if answer ~= wire.types.RESPONSE or body == "" then return failure.say(op, "", "the agent's answer makes no sense", "EPROTO") end
  return body
end

local function relay(self, plan, kind, payload)
  local ok, handle, code = plan.decode(decoder.new(payload))
  if not ok then return nil, handle, code end
  local pool, err
  if plan.kind then
    local object
    object, err, code = self._handles[plan.frees and "take" or "get"](self._handles, plan.kind, handle)
    if not object and LENIENT[plan.name] then return true end
    if not object then return nil, err, code end
    pool, payload = object.pool, pack(">I8", object.number) .. payload:sub(9)
  else
    pool, err, code = self._find_pool()
    if not pool then return nil, err, code end
  end
  if plan.makes then
    ok, err, code = self._handles:room(plan.makes)
    if not ok then return nil, err, code end
  end
  local body, where
  body, err, code, where = ask(pool, plan, kind, payload)
  if not body or not plan.makes then return body, err, code, where end
  if #body < 9 then return failure.say(plan.name:lower(), "", "the agent's answer makes no sense", "EPROTO") end
  handle, err, code = self._handles:add(plan.makes, setmetatable({ number = unpack(">I8", body, 2), pool = pool }, remote))
  if not handle then return nil, err, code end
  return pack(">I1I8", 0, handle)
end

--- Makes a handler that passes requests about the inside of the instance on, and leaves all others to `otherwise`.
---@param handles vmctl.CcHandles
---@param find_pool fun(): vmctl.CcPool|nil, string?, integer? of the instance
---@param otherwise function|vmctl.CcRouter
---@return fun(kind: integer, payload: string, context: table): ...
function M.handler(handles, find_pool, otherwise)
  local self, plans = { _handles = handles, _find_pool = find_pool }, describe()
  return function(kind, payload, context)
    local plan = plans[kind]
    if not plan then return otherwise(kind, payload, context) end
    return relay(self, plan, kind, payload)
  end
end

--- Sends a request of the helper's own to the guest. Waits.
---@param pool vmctl.CcPool
---@param name string for messages
---@param kind integer
---@param payload string
---@return vmctl.CcDecoder|nil answer its fields, string?, integer?, table?
function M.ask(pool, name, kind, payload)
  local body, err, code, where = ask(pool, { name = name }, kind, payload)
  if not body then return nil, err, code, where end
  return decoder.new(body, 2)
end

return M
