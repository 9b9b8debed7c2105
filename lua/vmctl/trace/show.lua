--- Formats a trace for people: times from its beginning, sessions by short numbers, arrows, names of types, and messages as texts without
--- terminal escapes. No function here waits.
local core = require "vmctl.core"
local json = require "vmctl.json"
local log = require "vmctl.log"
local protocols = require "vmctl.trace.protocols"
local texts = require "vmctl.text"

local M = {}

local WIDTH = 100 -- bytes of a message that are shown

local ARROWS = { ["in"] = "<-", out = "->" }

---@class vmctl.TraceView  lines depend on the records before them
local methods = {}
local mt = { __name = "vmctl.TraceView", __index = methods }

--- Begins a view of one trace.
---@param opts? { width: integer? } bytes of a message that are shown
function M.new(opts)
  return setmetatable({ _sessions = {}, _count = 0, _width = opts and opts.width or WIDTH }, mt)
end

-- An id comes back when processes do: each opening counts as a new session.
local function session_of(self, record)
  local session = self._sessions[record.s]
  if not session or record.ev == "open" then
    self._count = self._count + 1
    session = { number = self._count }
    self._sessions[record.s] = session
  end
  session.protocol = record.protocol or session.protocol
  return session
end

local function safe(text, width)
  return log.one_line(text or "", width)
end

-- Requests of the exec protocol carry their words in base64.
local function words_of(payload)
  local request = payload:find('"argv_b64"', 1, true) and json.decode(payload)
  if type(request) ~= "table" or type(request.argv_b64) ~= "table" then return payload end
  local words = json.array {}
  for i, word in ipairs(request.argv_b64) do
    words[i] = type(word) == "string" and core.base64_decode(word) or "?"
    if not utf8.len(words[i]) then words[i] = words[i]:gsub("[\128-\255]", "?") end
  end
  request.argv_b64, request.argv = nil, words
  return json.encode(request) or payload
end

local function contents(self, record, session)
  if record.payload and record.payload ~= "" then
    local payload = session.protocol == "exec" and words_of(record.payload) or record.payload
    local shown = safe(payload, self._width)
    return (record.cut and "%s … (cut)" or "%s"):format(shown)
  end
  return (record.size or 0) > 0 and (record.masked and "(hidden)" or "(not recorded)") or ""
end

local function message(self, record, session)
  local what = record.ev
  if record.ev == "frame" then
    what = record.type and protocols.type_name(session.protocol, record.type) or "frame"
    if record.stream then what = ("%s[%d]"):format(what, record.stream) end
  end
  local call = record.call and safe(record.call, self._width) .. " " or ""
  return ("%s %-14s %7d  %s%s"):format(ARROWS[record.dir] or "??", what, record.size or 0, call, contents(self, record, session))
end

local function told(record)
  local parts = { safe(record.ev, 40) }
  local function add(text, value) if value ~= nil then parts[#parts + 1] = text:format(value) end end
  add("%s", record.how and safe(record.how, 40))
  add("%s", record.address and safe(record.address, 200))
  add("(%s)", record.protocol and safe(record.protocol, 40))
  add("%s", record.dir and (record.dir == "in" and "of input" or "of output"))
  add("%s", record.code and safe(record.code, 200))
  add("in %d bytes", record.bytes_in)
  add("out %d bytes", record.bytes_out)
  add("%d records", record.ev == "dropped" and record.count or nil)
  add("pid %d", record.pid)
  add("at %s", record.time and safe(record.time, 40))
  return table.concat(parts, " ")
end

local messages = { frame = true, line = true, bytes = true, handshake = true }

--- A record as one line, without a line feed.
---@param record vmctl.TraceRecord
---@return string
function methods:format(record)
  if record.ev == "broken" then return ("            line %d is no record"):format(record.line or 0) end
  self._start = self._start or record.t
  local session = record.s and session_of(self, record)
  local what = messages[record.ev] and session and message(self, record, session) or told(record)
  what = texts.trim_end(what)
  return ("%11.6f %-4s %s"):format(record.t - self._start, session and "#" .. session.number or "", what)
end

return M
