--- InstanceNew to InstanceExec: one instance at a time, which a given function makes.
local core = require "vmctl.core"
local failure = require "vmctl.cc.backend.failure"
local fields = require "vmctl.cc.backend.fields"
local random = require "vmctl.base.random"
local wire = require "vmctl.cc.wire"

local M = {}

local pack = string.pack

local codes = wire.codes
local SOURCES = { [0] = true, true, true }

--- Holds the instance of a helper. An instance has the methods is_running(), wait(), close(), set_console(cols, rows),
--- set_network(enabled), exec(name, args) and snapshot(options); wait, close, exec and snapshot may wait; a failure has the values of a
--- handler's.
---@class vmctl.CcInstances
local methods = {}
local mt = { __name = "vmctl.CcInstances", __index = methods }

--- Makes the holder, without an instance. Does not wait.
---@param make fun(source: table): table|nil, ... makes an instance; may wait
---@return vmctl.CcInstances
function M.new(make)
  return setmetatable({ _make = make }, mt)
end

-- A random id in the usual form, 8-4-4-4-12.
local function new_id()
  local hex = assert(random.bytes(16)):gsub(".", function(byte) return ("%02x"):format(byte:byte()) end)
  return ("%s-%s-%s-%s-%s"):format(hex:sub(1, 8), hex:sub(9, 12), hex:sub(13, 16), hex:sub(17, 20), hex:sub(21))
end

--- The instance.
---@return table|nil, string?, integer?
function methods:get()
  if self._instance then return self._instance end
  return nil, "no instance", codes.INVALID_HANDLE
end

local function read_source(d)
  return { type = d:uint8(), path = d:string(), reference = d:string(), cache_dir = d:string(), options = d:instance_options() }
end

local function check_source(source)
  if not SOURCES[source.type] then return failure.argument("unknown source type: %d", source.type) end
  for _, text in ipairs { source.path, source.reference, source.cache_dir, source.options.user } do
    if text:find("\0", 1, true) then return failure.argument "a NUL byte in a path or an argument" end
  end
  return true
end

function methods:_new(d)
  local source = read_source(d)
  if d:failed() then return nil, "unexpected EOF", codes.UNKNOWN end
  local ok, err, code = check_source(source)
  if not ok then return nil, err, code end
  if self._instance or self._making then return failure.argument "instance already exists" end
  self._making = true
  local instance, where
  ok, instance, err, code, where = pcall(self._make, source)
  self._making = false
  if not ok then error(instance, 0) end
  if not instance then return nil, err, code, where end
  self._instance, self._id = instance, new_id()
  self:_limit(instance, source.options.timeout_ns)
end

-- Starts the time limit of an instance, if it has one.
function methods:_limit(instance, timeout_ns)
  if timeout_ns == 0 then return end
  local seconds = timeout_ns > 0 and timeout_ns / 1e9 or 2.0 ^ 63 / 1e9
  self._limiter = require("vmctl.base.background").spawn("cc instance's time", function()
    if core.sleep(seconds) and self._instance == instance then instance:expire() end
  end)
end

--- Ends the instance, if there is one. Waits for its end.
function methods:close()
  local instance = self._instance
  if self._limiter then self._limiter:cancel() end
  self._instance, self._limiter = nil, nil
  if not instance then return true end
  if self._on_close then self._on_close() end
  return instance:close()
end

--- Has a function called when an instance is closed.
function methods:on_close(fn)
  self._on_close = fn
end

-- Requests that need an instance and return no value.
local plain = {
  INSTANCE_CLOSE = function(self) return self:close() end,
  INSTANCE_WAIT = function(self) return self._instance:wait() end,
  INSTANCE_SET_CONSOLE = function(self, cols, rows) return self._instance:set_console(cols, rows) end,
  INSTANCE_SET_NETWORK = function(self, enabled) return self._instance:set_network(enabled) end,
  INSTANCE_EXEC = function(self, name, args) return self._instance:exec(name, args) end,
}

--- Registers the handlers.
---@param router vmctl.CcRouter
function methods:install(router)
  -- Returns the first field, or true where there is none: nil would be a failure.
  local function guard(first)
    local instance, err, code = self:get()
    if not instance then return nil, err, code end
    if first == nil then return true end
    return first
  end
  router:handle(wire.types.INSTANCE_NEW, function(d) return self:_new(d) end)
  fields.on(router, "INSTANCE_IS_RUNNING", function() return true end, function()
    local instance = self._instance
    return instance and instance:is_running() and "\0\1" or "\0\0"
  end)
  fields.on(router, "INSTANCE_ID", guard, function() return pack(">I1s4", 0, self._id) end)
  for kind, fn in pairs(plain) do
    fields.on(router, kind, guard, function(...)
      local ok, err, code, where = fn(self, ...)
      if not ok then return nil, err, code, where end
    end)
  end
end

return M
