--- The wire of QMP and of the guest agent: one JSON object a line, checked on the way in and out
--- (docs/wire/qmp-qga.md#qmp-start, docs/wire/qmp-qga.md#qmp-messages). No function here waits.
local errors = require "vmctl.errors"
local json = require "vmctl.json"
local log = require "vmctl.log"

local M = {
  MAX_REQUEST = 32 << 20, -- bytes: QEMU ends a token at 64 MiB, and says so without an id
}

local CODES = { DeviceNotFound = "ENODEV", CommandNotFound = "ENOTSUP", KVMMissingCap = "ENOTSUP" }
local DESC = 1000 -- bytes of the other side's text in our messages

local function is_object(value)
  return type(value) == "table" and not json.is_array(value)
end

--- A request as its bytes, without a line feed: QEMU needs none (servers that read lines do).
---@param name string the command
---@param arguments? table by the JSON's names
---@param id? integer which the answer repeats
---@param verb? "execute"|"exec-oob"
---@return string|nil text, string?, string? code EINVAL: the arguments are no object, or not JSON; ETOOBIG
function M.encode(name, arguments, id, verb)
  local text, err, code = json.encode(name)
  if not text then return nil, err, code end
  local parts = { ('{"%s":%s'):format(verb or "execute", text) }
  if arguments and next(arguments) ~= nil then
    if not is_object(arguments) then return errors.fail("EINVAL", "the arguments are a list, not members by name") end
    text, err, code = json.encode(arguments)
    if not text then return nil, err, code end
    parts[2] = ',"arguments":' .. text
  end
  if id then parts[#parts + 1] = (',"id":%d'):format(id) end
  text = table.concat(parts) .. "}"
  if #text > M.MAX_REQUEST then
    return errors.fail("ETOOBIG", "a request of %d bytes, the limit is %d", #text, M.MAX_REQUEST)
  end
  return text
end

local function malformed(why)
  return nil, "malformed QMP: " .. why, "EPROTO"
end

local function check_greeting(greeting)
  local version = is_object(greeting) and is_object(greeting.version) and greeting.version.qemu
  if not is_object(version) then return malformed "a greeting without a version" end
  for _, name in ipairs { "major", "minor", "micro" } do
    if math.type(version[name]) ~= "integer" then return malformed "a greeting without a version" end
  end
  local capabilities = greeting.capabilities
  if capabilities ~= nil and type(capabilities) ~= "table" then return malformed "capabilities that are no list" end
  return "greeting"
end

local function check_error(problem)
  if not is_object(problem) or type(problem.class) ~= "string" or type(problem.desc) ~= "string" then
    return malformed "an error without 'class' and 'desc'"
  end
  return "error"
end

local function check_event(message)
  if type(message.event) ~= "string" then return malformed "an event without a name" end
  if message.data == nil then message.data = json.object {} end
  if not is_object(message.data) then return malformed "an event whose data are no object" end
  if message.timestamp ~= nil and not is_object(message.timestamp) then return malformed "an event's odd timestamp" end
  return "event"
end

--- Parses a line: the kind of the message, and the message (an event's `data` is never nil).
---@param line string
---@return "greeting"|"return"|"error"|"event"|nil kind, table|string message, string? code "EPROTO"
function M.parse(line)
  local message, err = json.decode(line)
  if message == nil then return malformed((err:gsub("^decode JSON: ", ""))) end
  if not is_object(message) then return malformed "not an object" end
  local kind, why, code
  if message.event ~= nil then
    kind, why, code = check_event(message)
  elseif message.error ~= nil then
    kind, why, code = check_error(message.error)
  elseif message["return"] ~= nil then
    kind = "return"
  elseif message.QMP ~= nil then
    kind, why, code = check_greeting(message.QMP)
  else
    return malformed "neither return, error nor event"
  end
  if not kind then return nil, why, code end
  return kind, message
end

--- An error of the other side as a failure of ours.
---@param problem { class: string, desc: string }
---@return nil, string message its text, string code ENODEV, ENOTSUP: there is no such device, no such command; else EREMOTE
---@return { class: string, desc: string } problem
function M.failure(problem)
  return nil, log.one_line(problem.desc, DESC), CODES[problem.class] or "EREMOTE", problem
end

return M
