--- StereOS' control plane on the wire: one JSON object a line, `{"type": …, "payload": …}`, checked on the way in and out
--- (docs/wire/stereos.md#framing, docs/wire/stereos.md#messages). No function here waits.
local errors = require "vmctl.errors"
local json = require "vmctl.json"
local ports = require "vmctl.net.agent_ports"

local math_type, next, type = math.type, next, type

local M = {
  PORT = ports.STEREOS, GUEST_CID = 3, DEFAULT_TIMEOUT = 10, -- the reference's
  MAX_LINE = 1 << 20, -- bytes with the line feed
}

M.types = {
  PING = "ping", GET_HEALTH = "get_health", SET_CONFIG = "set_config", INJECT_SECRET = "inject_secret",
  INJECT_SSH_KEY = "inject_ssh_key", MOUNT = "mount", SHUTDOWN = "shutdown",
  PONG = "pong", HEALTH = "health", ACK = "ack", LIFECYCLE = "lifecycle",
}

M.states = { BOOTING = "booting", READY = "ready", HEALTHY = "healthy", DEGRADED = "degraded", SHUTDOWN = "shutdown" }

local U32, I64 = 0xffffffff, math.maxinteger

-- The type of each member, and the value of an absent one: the reference leaves out empty members, except those that are
-- sent `always`. A member with neither `absent` nor `optional` is required.
local text, flag = { kind = "string" }, { kind = "boolean" }
local optional_text, optional_flag = { kind = "string", absent = "" }, { kind = "boolean", absent = false }
local mode = { kind = "integer", least = 0, most = U32, absent = 0 }
local seconds = { kind = "integer", least = 0, most = I64, absent = 0, always = true }
local count = { kind = "integer", least = math.mininteger, most = I64, absent = 0, always = true }
local state = { kind = "string", absent = "", always = true }

local agent = {
  name = text, running = { kind = "boolean", absent = false, always = true }, session = optional_text, restarts = count,
  error = optional_text,
}

-- `name`: the payload's name in the reference's errors; `optional`: the payload itself may be absent.
local shapes = {
  set_config = { name = "config", members = { content = text } },
  inject_secret = { name = "secret", members = { name = text, value = text, mode = mode } },
  inject_ssh_key = { name = "SSH key", members = { user = text, public_key = text } },
  mount = { name = "mount", members = { tag = text, guest_path = text, fs_type = text, read_only = optional_flag } },
  shutdown = { name = "shutdown", optional = true, members = { reason = optional_text } },
  health = { name = "health", optional = true, members = {
    state = state, agents = { kind = "list", of = agent }, uptime_seconds = seconds } },
  -- `code` and `changed` (the request had to change something) are ours; others ignore them
  ack = { name = "ack", members = { reply_to = { kind = "string", absent = "", always = true }, ok = flag,
    error = optional_text, code = optional_text, changed = { kind = "boolean", optional = true } } },
  lifecycle = { name = "lifecycle", members = { state = text, message = optional_text } },
}

local check_members

-- These checks return the checked value, or nil, the mistake ("%s" stands for the member) and that member's path. The path is made for
-- mistakes only, because thousands of messages a second have none. `own`: the tables are ours, and are changed in place, because new
-- ones are work for the collector.
local function check_list(list, members, own)
  if list == nil then return json.array {} end
  if type(list) ~= "table" or next(list) ~= nil and not json.is_array(list) then
    return nil, "'%s' is no list", ""
  end
  local checked = own and next(list) ~= nil and list or json.array {}
  for i, entry in ipairs(list) do
    local why, path
    checked[i], why, path = check_members(entry, members, own)
    if why then return nil, why, ("[%d].%s"):format(i, path) end
  end
  return checked
end

local function check_member(value, spec, own)
  local kind = spec.kind
  if kind == "list" then return check_list(value, spec.of, own) end
  if value == nil then
    if spec.absent == nil and not spec.optional then return nil, "member '%s' is missing", "" end
    return spec.absent
  end
  local found = math_type(value) or type(value)
  if found ~= kind then return nil, ("json: member '%%s': %s expected, got %s"):format(kind, found), "" end
  if spec.least and (value < spec.least or value > spec.most) then
    return nil, ("json: member '%%s': %d is out of range"):format(value), ""
  end
  return value
end

local function drop_unknown(payload, members)
  for name in next, payload do
    if members[name] == nil then payload[name] = nil end
  end
end

--- A table with the known members alone, the absent ones filled in: a new one, unless it is our own.
function check_members(payload, members, own)
  if type(payload) ~= "table" or json.is_array(payload) then
    return nil, "json: an object expected", ""
  end
  if own then drop_unknown(payload, members) end
  local checked = own and payload or {}
  for name, spec in next, members do
    local value, why, path = check_member(payload[name], spec, own)
    if why then return nil, why, name .. path end
    checked[name] = value
  end
  return checked
end

-- The checked payload of a message, or nil and its mistake.
local function check_payload(kind, payload, own)
  local shape = shapes[kind]
  if not shape then return payload end
  if payload == nil then
    if not shape.optional then return nil, ("decode %s payload: envelope %s has no payload"):format(shape.name, kind) end
    payload = {}
  end
  local checked, why, path = check_members(payload, shape.members, own)
  if not checked then return nil, ("decode %s payload: %s"):format(shape.name, why:format(path)) end
  return checked
end

local function without_empty(payload, members)
  local sent = json.object {}
  for name, value in pairs(payload) do
    local spec = members[name]
    if spec.kind == "list" then
      for i, entry in ipairs(value) do value[i] = without_empty(entry, spec.of) end
      if value[1] ~= nil then sent[name] = value end
    elseif spec.always or value ~= spec.absent then
      sent[name] = value
    end
  end
  return sent
end

local function encode(kind, payload)
  local shape = shapes[kind]
  if shape and (payload ~= nil or not shape.optional) then
    local checked, why = check_payload(kind, payload)
    if not checked then return errors.fail("EINVAL", "encode %s: %s", kind, why) end
    payload = without_empty(checked, shape.members)
  end
  local name, err, code = json.encode(kind)
  if name and payload == nil then return ('{"type":%s}'):format(name) end
  local body
  if name then body, err, code = json.encode(shape and payload or json.object(payload)) end
  if not body then return nil, ("encode %s: %s"):format(kind, err), code end
  return ('{"type":%s,"payload":%s}'):format(name, body)
end

--- A message as its line, without the line feed.
---@param kind string one of `types`, or a type of your own
---@param payload? table members by the JSON's names; unknown members of a known type are left out
---@return string|nil line, string?, string? code EINVAL: a member is missing, of the wrong type, or not UTF-8
function M.envelope(kind, payload)
  if type(kind) ~= "string" then error("stereos.envelope: a type expected, got " .. type(kind), 2) end
  if payload ~= nil and type(payload) ~= "table" then
    error("stereos.envelope: a table expected as payload, got " .. type(payload), 2)
  end
  return encode(kind, payload)
end

-- Short lines without a payload come again and again: the results of parsing them are kept.
local SIMPLE_LENGTH, SIMPLE_COUNT = 40, 64
local simple, simple_count = {}, 0

-- A member of the envelope, beside type and payload, by which a client says that it copes with lifecycle lines at any time
-- (docs/wire/stereos.md#what-vmctl-adds).
local HEARS = ',"lifecycle":true}'

--- The same line, with the member that asks for lifecycle lines.
---@param line string of `envelope`, with its line feed
---@return string
function M.hearing(line)
  return line:sub(1, -3) .. HEARS .. "\n"
end

local function remember(line, kind)
  if #line > SIMPLE_LENGTH or shapes[kind] and not shapes[kind].optional then return end
  if simple_count >= SIMPLE_COUNT then simple, simple_count = {}, 0 end
  simple[line], simple_count = kind, simple_count + 1
end

local function malformed(why)
  return nil, "malformed JSON: " .. why, "EPROTO", ""
end

local function parse(line)
  local message, err = json.decode(line)
  if message == nil then return malformed((err:gsub("^decode JSON: ", ""))) end
  if type(message) ~= "table" or json.is_array(message) then
    if message == json.null then return "" end -- as {}: a message without a type
    return malformed "not an object"
  end
  local kind, payload = message.type, message.payload
  if kind == nil then kind = "" end
  if type(kind) ~= "string" then return malformed "'type' is no string" end
  local hears = message.lifecycle == true or nil
  if payload == nil and not shapes[kind] then
    if not hears then remember(line, kind) end
    return kind, nil, hears
  end
  local checked, why = check_payload(kind, payload, true)
  if why then return nil, why, "EPROTO", kind end
  return kind, checked, hears
end

--- Reads a line: its type and its checked payload, absent members filled in (the payload of an unknown type is not
-- checked). The fourth value of a failure is the `reply_to` of the ack: "" if the line cannot be parsed.
---@param line string without its line feed
---@return string|nil type, table|string|nil payload_or_message
---@return boolean|string|nil hears_or_code true: the sender copes with lifecycle lines; or "EPROTO"
---@return string? reply_to
function M.parse(line)
  local kind = simple[line]
  if kind then return kind end
  return parse(line)
end

--- Reads a line, as `parse`.
---@param line string without its line feed
---@return { type: string, payload: table? }|nil envelope, string? message, string? code "EPROTO", string? reply_to
function M.decode(line)
  local kind, payload, code, reply_to = M.parse(line)
  if not kind then return nil, payload, code, reply_to end
  return { type = kind, payload = payload }
end

--- Tells if a message of the guest answers a request: pong and health answer their own, an ack the type that it names; an ack
-- that names none and is not ok answers the oldest request (docs/wire/stereos.md#ack-rules).
---@param request string
---@param kind string
---@param payload? table
---@return boolean
function M.answers(request, kind, payload)
  if kind == "ack" then
    local says = payload.reply_to
    if payload.ok then return says == request and request ~= "ping" and request ~= "get_health" end
    return says == request or says == ""
  end
  return kind == "pong" and request == "ping" or kind == "health" and request == "get_health"
end

return M
