--- Tells if a message is the recorded one. JSON is compared by its values; a masked value matches any. No function
--- here waits.
local json = require "vmctl.json"
local log = require "vmctl.log"
local mask = require "vmctl.trace.mask"
local protocols = require "vmctl.trace.protocols"

local M = {}

local WIDTH = 200 -- bytes of a message that errors show

local function agrees(want, got)
  if want == mask.MASK then return true end
  if type(want) ~= "table" or type(got) ~= "table" then return want == got end
  for key, value in pairs(want) do
    if got[key] == nil or not agrees(value, got[key]) then return false end
  end
  for key in pairs(got) do
    if want[key] == nil then return false end
  end
  return true
end

-- The kind of a line protocol's message, without its content.
local function kind_of(message)
  if type(message) ~= "table" then return nil end
  return message.type or message.execute or message["return"] ~= nil and "return" or message.error ~= nil and "error"
    or message.event
end

local function same_bytes(want, got, strict)
  if want.fill or want.cut then return true end
  if not want.payload then return want.masked or not strict or want.size == #got end
  if want.payload == got then return true end
  local wanted, given = json.decode(want.payload), json.decode(got)
  if type(wanted) ~= "table" or type(given) ~= "table" then return not strict or want.masked end
  if not strict then return kind_of(wanted) == kind_of(given) end
  return agrees(wanted, given)
end

--- Tells if they are the same.
---@param want vmctl.TraceRecord a message
---@param got { payload: string, type: integer?, stream: integer?, flags: integer? }
---@param strict boolean false: only its type
---@return boolean
function M.same(want, got, strict)
  if want.type ~= got.type then return false end
  if strict and (want.stream ~= got.stream or want.flags ~= got.flags) then return false end
  return same_bytes(want, got.payload, strict) and true or false
end

--- A received message for errors, masked as in a trace.
---@param protocol string?
---@param want vmctl.TraceRecord the expected message
---@param got table
---@return table
function M.without_secrets(protocol, want, got)
  local session = { protocol = protocol, raw = want.payload ~= nil }
  local shown
  if want.ev == "frame" then
    shown = mask.frame(session, got.payload, got.type, got.stream)
  else
    shown = mask.line(session, got.payload)
  end
  return { type = got.type, stream = got.stream, flags = got.flags, size = #got.payload, payload = shown }
end

--- A message as errors show it.
---@param protocol string?
---@param message table a record, or a received message
---@return string
function M.describe(protocol, message)
  local what = message.type and protocols.type_name(protocol, message.type) or "a message"
  local payload = message.payload
  local shown = payload and log.mask(log.one_line(payload, WIDTH)) or "(not recorded)"
  return ("%s of %d bytes %s"):format(what, message.size or #(payload or ""), shown)
end

return M
