--- Makes functions of requests: they check and pack their arguments by a signature, and make the call.
local mode = require "vmctl.base.go_mode"
local wire = require "vmctl.cc.wire"

local M = {}

local pack = string.pack

local function integer(low, high)
  return function(value)
    local n = math.type(value) and math.tointeger(value)
    if n and n >= low and n <= high then return n end
    return nil, ("an integer from %d to %d"):format(low, high)
  end
end

local function text(value)
  if type(value) == "string" then return value end
  return nil, "a string"
end

-- Refuses a NUL in a path or a word for the kernel, which would cut it there.
local function word(value)
  if type(value) ~= "string" then return nil, "a string" end
  return value, nil, value:find("\0", 1, true) ~= nil
end

-- The kinds of fields: the packing format and the check. The check's third result is true for a string with a NUL.
local kinds = {
  handle = { "I8", integer(math.mininteger, math.maxinteger) },
  u32 = { "I4", integer(0, 0xffffffff) },
  i32 = { "i4", integer(-0x80000000, 0x7fffffff) },
  id = { "i4", integer(-1, 0x7fffffff) }, -- of a user or a group
  i64 = { "i8", integer(math.mininteger, math.maxinteger) },
  bytes = { "s4", text },
  word = { "s4", word },
  bool = { "I1", function(value)
    if type(value) == "boolean" then return value and 1 or 0 end
    return nil, "a boolean"
  end },
  time = { "i8", function(value)
    local seconds = type(value) == "number" and math.tointeger(math.floor(value))
    if seconds then return seconds end
    return nil, "Unix seconds"
  end },
  mode = { "I4", function(value)
    if math.type(value) == "integer" and value >= 0 and value <= 4095 then return mode.from_posix(value) end
    return nil, "a mode from 0 to 4095 (octal 7777)"
  end },
}

local function parse(signature)
  local fields, format = {}, ">"
  for name, kind in signature:gmatch "(%w+):(%w+)" do
    fields[#fields + 1] = { name = name, check = kinds[kind][2] }
    format = format .. kinds[kind][1]
  end
  return fields, format
end

--- Makes a function of a request: fn(client, timeout, …) with the fields' values calls it and returns the results of client:call.
--- A value of the wrong type raises at the line that called the function's caller; a forbidden NUL is EINVAL.
---@param name string of vmctl.cc.types
---@param signature? string "name:kind name:kind …"
---@param method? "call_for_bytes" of the client in place of `call`: the answer is bytes, which the function gives as a string
---@return fun(client: vmctl.CcClient, timeout: number?, ...): vmctl.CcDecoder|nil, string?, string?, table?
function M.define(name, signature, method)
  method = method or "call"
  local kind, what = wire.types[name], name:lower()
  local fields, format = parse(signature or "")
  local count = #fields
  -- The level for `error` is that of the line that called the function's caller, plus one for `checked` itself.
  local function checked(field, value)
    local fit, wanted, has_nul = field.check(value)
    if fit == nil then
      local given = type(value) == "number" and tostring(value) or type(value)
      error(("cc %s: %s: %s expected, got %s"):format(what, field.name, wanted, given), 4)
    elseif has_nul then
      return nil, ("cc %s: %s: holds a NUL"):format(what, field.name), "EINVAL"
    end
    return fit
  end
  if count == 0 then return function(client, timeout) return client:call(kind, "", timeout) end end
  if count == 1 then
    local only = fields[1]
    return function(client, timeout, value)
      local fit, err, code = checked(only, value)
      if fit == nil then return nil, err, code end
      return client[method](client, kind, pack(format, fit), timeout)
    end
  end
  return function(client, timeout, ...)
    local values = { ... }
    for i = 1, count do
      local fit, err, code = checked(fields[i], values[i])
      if fit == nil then return nil, err, code end
      values[i] = fit
    end
    return client[method](client, kind, pack(format, table.unpack(values, 1, count)), timeout)
  end
end

--- Checks words for a program. Raises at the line that `level` names if it is no list of strings.
---@return true|nil, string?, string? code EINVAL
function M.check_words(words, what, level)
  for i, each in ipairs(words) do
    if type(each) ~= "string" then error(("%s: entry %d: a string expected, got %s"):format(what, i, type(each)), level) end
    if each:find("\0", 1, true) then return nil, ("%s: entry %d: holds a NUL"):format(what, i), "EINVAL" end
  end
  return true
end

--- Reads a call's answer by a method of the decoder: `return request.field("string", call(…))`. An answer that is too short
--- is EPROTO.
---@param name string
---@return any|nil, string?, string?, table?
function M.field(name, d, err, code, more)
  if not d then return nil, err, code, more end
  local value, why = d[name](d)
  if value ~= nil then return value end
  return nil, "cc: the answer is too short: " .. why, "EPROTO"
end

--- As `field`, for an answer without fields: true.
---@return true|nil, string?, string?, table?
function M.done(d, err, code, more)
  if not d then return nil, err, code, more end
  return true
end

return M
