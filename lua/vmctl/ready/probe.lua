--- The class of probes, with functions for all kinds of them.
local target = require "vmctl.base.target"

local M = {}

---@class vmctl.Probe
---@field label string
---@field kind string
local mt = { __name = "vmctl.Probe", __tostring = function(self) return self.label end }

--- Tells if a value is a probe object. Does not wait.
---@param value any
---@return boolean
function M.is_probe(value) return getmetatable(value) == mt end

--- Makes one. Does not wait.
---@param kind string
---@param label string
---@param attempt fun(self: vmctl.Probe, timeout: number): any, string?, string? gives a value, or nil, message, code; a code that
-- retry.lua takes for "never" ends the wait
---@param fields? table more of its fields
---@return vmctl.Probe
function M.make(kind, label, attempt, fields)
  local self = fields or {}
  self.kind, self.label, self.attempt = kind, label, attempt
  return setmetatable(self, mt)
end

--- A probe that fails when it is asked. A wrong address is no mistake of the program, as it may come from elsewhere. Does not wait.
---@param label string
---@param err string
---@param code string
---@return vmctl.Probe
function M.never(label, err, code)
  return M.make("fn", label, function() return nil, err, code end)
end

--- The kind of address by which a client reaches its guest. Does not wait.
---@param client table
---@return string|nil
function M.transport(client)
  local at = client.address
  return type(at) == "table" and at.kind or nil
end

--- The client of a target that runs commands, its label, and the machine, if it is one. Anything else raises. Does not wait.
---@param value any
---@param where string the function's name
---@return vmctl.ExecClient|vmctl.Machine client, string label, vmctl.Machine? machine
function M.resolve_exec(value, where)
  if not target.is_exec(value) then value = target.resolve(value, where, 4).exec end
  if not value then error(where .. ": a target that runs commands expected", 3) end
  return value, target.label(value), target.is_machine(value) and value or nil
end

return M
