--- Decides which parts of a message a trace may keep. Known secrets of a protocol's messages are replaced; of messages whose secrets cannot
--- be recognised, only the size is kept. No function here waits.
local core = require "vmctl.core"
local json = require "vmctl.json"
local log = require "vmctl.log"

local M = {}

--- The text that replaces a secret; in a replay it matches any value.
M.MASK = "***"

local MASK = M.MASK
local CALLS = 4096 -- ttrpc calls of one connection that are remembered

-- Members of JSON objects. all: each text in it, the names of its members stay; text: itself, if it is a text; base64: it
-- stays, without the texts of log.hide.
local exec_members = {
  env = "all", env_b64 = "all", stdin = "all", token = "all", argv_b64 = "base64", stdout = "base64", stderr = "base64",
}
local monitor_members = {
  password = "text", ["input-data"] = "text", ["buf-b64"] = "text", data = "text", secret = "text", env = "all", keys = "all",
  ["out-data"] = "base64", ["err-data"] = "base64",
}
local stereos_members = {
  inject_secret = { value = "all" }, set_config = { content = "all" }, inject_ssh_key = { public_key = "all" },
  mount = {}, shutdown = {}, ping = {}, get_health = {}, pong = {}, health = {}, ack = {}, lifecycle = {},
}

local function hide_all(value)
  if type(value) ~= "table" then return MASK end
  local copy = setmetatable({}, getmetatable(value))
  for key, each in pairs(value) do copy[key] = hide_all(each) end
  return copy
end

local function mask_base64(text)
  local bytes = core.base64_decode(text)
  if not bytes then return MASK end
  local masked = log.mask(bytes)
  return masked == bytes and text or core.base64_encode(masked)
end

-- A copy of a decoded JSON value without its secrets. `how`: the rule for this value itself.
local function clean(value, members, how)
  if how == "all" or how == "text" and type(value) == "string" then return hide_all(value) end
  if type(value) == "string" then return how == "base64" and mask_base64(value) or log.mask(value) end
  if type(value) ~= "table" then return value end
  local copy, listed = setmetatable({}, getmetatable(value)), how == "base64"
  for key, each in pairs(value) do copy[key] = clean(each, members, listed and how or members[key]) end
  return copy
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for key, value in pairs(a) do
    if not same(value, b[key]) then return false end
  end
  return true -- `clean` neither adds members nor takes any away
end

-- A text without its secrets; nil for a text that is no JSON.
local function clean_json(text, members)
  local value = json.decode(text)
  if value == nil then return nil end
  local masked = clean(value, members)
  if same(value, masked) then return text, false end
  return json.encode(masked), true
end

-- The whole payload without the texts of log.hide.
local function plain(payload)
  local masked = log.mask(payload)
  return masked, masked ~= payload
end

local function hidden()
  return nil, true
end

local frames, lines = {}, {}

local exec_shown
local function exec_rules()
  if exec_shown then return exec_shown end
  local T = require("vmctl.exec.wire").types
  local function request(payload) return clean_json(payload, exec_members) end
  exec_shown = {
    [T.EXEC] = request, [T.EXEC_TTY] = request, [T.EXEC_STREAM] = request, [T.EXEC_PIPE] = request,
    [T.EXEC_RESULT] = request, [T.STDOUT] = plain, [T.STDERR] = plain, [T.READY] = plain, [T.RESIZE] = plain,
    [T.EXIT] = plain, [T.READ_FILE] = plain, [T.LIST_FILES] = plain, [T.PORT_FORWARD] = plain,
    [T.STDIN] = function(payload) -- any bytes of that size do as well
      if payload == "" then return payload, false end
      return nil, true, true
    end,
    [T.SIGNAL] = function(payload) return payload:sub(1, 2), #payload > 2 end, -- then the token of a command
  }
  return exec_shown
end

function frames.exec(_, payload, type)
  local rule = exec_rules()[type] or hidden -- files' contents, and types of later revisions
  return rule(payload)
end

local function remember_call(session, id, known)
  if (session.call_count or 0) >= CALLS then session.calls = nil end
  session.call_count = session.calls and session.call_count + 1 or 1
  session.calls = session.calls or {}
  session.calls[id] = known
end

local function ttrpc_request(session, payload, id)
  local wire = require "vmctl.ttrpc.wire"
  local request = wire.decode_request(payload)
  if not request then return nil, true end
  local known = require("vmctl.ttrpc.nerdbox_services")[request.service] ~= nil
  remember_call(session, id, known)
  local call = request.service .. "/" .. request.method
  if not known then return nil, true, false, call end
  if not next(request.metadata or {}) then return payload, false, false, call end
  for _, pair in ipairs(request.metadata) do pair.value = MASK end
  return wire.encode_request(request), true, false, call
end

-- Only the messages of services that are known to carry no secrets.
function frames.ttrpc(session, payload, type, id)
  if type == 1 then return ttrpc_request(session, payload, id) end
  if session.calls and session.calls[id] then return plain(payload) end
  return nil, payload ~= ""
end

function lines.stereos(text)
  local message = json.decode(text)
  if type(message) ~= "table" or type(message.type) ~= "string" then return nil, true end
  local members = stereos_members[message.type]
  if not members then return clean_json(text, { payload = "all" }) end
  return clean_json(text, members)
end

function lines.qmp(text)
  return clean_json(text, monitor_members)
end

-- Its requests may begin with a mark that brings both sides back in step.
function lines.qga(text)
  return lines.qmp(text:match "^.*\xff(.*)$" or text)
end

--- Tells if the secrets of a protocol's messages can be recognised.
---@param protocol string?
function M.knows(protocol)
  return frames[protocol] ~= nil or lines[protocol] ~= nil
end

--- The part of a frame that may be recorded.
---@param session table the recorder's, where protocols keep what they must remember
---@return string|nil payload nil: only its size
---@return boolean masked something was taken away
---@return boolean? fill any bytes of that size would do as well
---@return string? call of ttrpc: "service/method"
function M.frame(session, payload, type, id)
  local rule = frames[session.protocol]
  if rule then return rule(session, payload, type, id) end
  if not session.raw then return nil, payload ~= "" end
  return plain(payload)
end

--- The part of a line, or of bytes that are no whole message, that may be recorded.
---@return string|nil text nil: only its size
---@return boolean masked
function M.line(session, text)
  local rule = lines[session.protocol]
  if text == "" then return text, false end
  if rule then
    local shown, masked = rule(text)
    return shown, shown == nil or masked
  end
  if not session.raw then return nil, true end
  return plain(text)
end

return M
