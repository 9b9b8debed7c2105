--- Writes the messages of streams to a file, a line of JSON an event. Never waits, and never makes a recorded call fail: events that
--- cannot be written are counted, and the count is written when that is possible.
local core = require "vmctl.core"
local encode = require("vmctl.trace.event").encode
local log = require "vmctl.log"
local mask = require "vmctl.trace.mask"
local naming = require "vmctl.base.stream_name"
local protocols = require "vmctl.trace.protocols"
local texts = require "vmctl.text"

local M = {}

local MAX_SIZE = 256 << 20 -- bytes of the file
local DATA_MAX = 1 << 20   -- bytes of a message that are kept
local RESERVE = 4096       -- bytes over the limit for saying that it was reached
local REST = 1 << 20       -- bytes of a line that is written in pieces

---@class vmctl.Recorder
local methods = {}
local mt = { __name = "vmctl.Recorder", __index = methods }

local function drop(self, code)
  self.dropped, self._unsaid = self.dropped + 1, self._unsaid + 1
  self._why = code
  if self.dropped == 1 then log.error("trace to %s: %s: what comes is missing from it", self.path, code) end
end

local function append(self, line, most)
  if self._size + #line > most then return false, "EFBIG" end
  local ok, _, code = self._file:append(line)
  if ok then self._size = self._size + #line end
  return ok, code
end

local function say_dropped(self)
  if self._unsaid == 0 then return end
  local line = encode("dropped", { t = core.now(), pid = self._pid, count = self._unsaid, code = self._why })
  if append(self, line, self._max + RESERVE) then self._unsaid = 0 end
end

-- Ends recording at the limit, also for events that would fit: a trace has a beginning and an end, and no gaps.
local function fill_up(self)
  self._full = true
  append(self, encode("full", { t = core.now(), pid = self._pid }), self._max + RESERVE)
end

local function emit(self, ev, record)
  if self._full then return drop(self, "EFBIG") end
  record.t = core.now()
  local line = encode(ev, record)
  if self._unsaid > 0 then say_dropped(self) end
  local ok, code = append(self, line, self._max)
  if ok then
    self.records = self.records + 1
  else
    drop(self, code)
    if code == "EFBIG" then fill_up(self) end
  end
end

local function is_text(bytes)
  return not bytes:find "[%z\1-\8\11-\31\127]" and utf8.len(bytes) ~= nil
end

local function put_payload(self, record, bytes)
  if not bytes then return end
  if #bytes > self._data_max then
    bytes, record.cut = bytes:sub(1, self._data_max), true
  end
  if is_text(bytes) then record.text = bytes else record.data = core.base64_encode(bytes) end
end

local function text(value)
  return log.mask(log.one_line(value, 1000))
end

local function open(self, stream, how)
  self._count = self._count + 1
  local session = { id = ("%d.%d"):format(self._pid, self._count), raw = self._raw, label = stream:label() }
  self._sessions[stream] = session
  emit(self, "open", { s = session.id, how = how, address = text(session.label) })
  return session
end

local function name(self, stream, session, protocol)
  session.protocol, session.label = protocol, stream:label()
  emit(self, "name", { s = session.id, protocol = protocol, address = text(session.label) })
end

-- Also of streams that were open when recording began.
local function session_of(self, stream)
  return self._sessions[stream] or open(self, stream, "earlier")
end

-- `id` and `flags`: of formats that have them.
local function frame(self, dir, stream, payload, type, id, flags)
  local session = session_of(self, stream)
  if not session.protocol then
    local protocol = protocols.of_format(core.format_of(stream))
    if protocol then name(self, stream, session, protocol) end
  end
  local shown, masked, fill, call = mask.frame(session, payload, type, id)
  local record = { s = session.id, dir = dir, type = type, stream = id, flags = flags, size = #payload,
    masked = masked or nil, fill = fill or nil, call = call }
  put_payload(self, record, shown)
  emit(self, "frame", record)
end

local function message(self, ev, dir, session, bytes)
  local shown, masked = mask.line(session, bytes)
  local record = { s = session.id, dir = dir, size = #bytes, masked = masked or nil }
  put_payload(self, record, shown)
  emit(self, ev, record)
end

-- Tells if bytes are the handshake of a hybrid address, which belongs to the transport and not to the protocol.
local function is_handshake(session, bytes)
  return not session.protocol and (bytes:find "^CONNECT %d+\n?$" or bytes:find "^OK %d+$") ~= nil
end

local function line(self, dir, stream, bytes)
  local session = session_of(self, stream)
  if is_handshake(session, bytes) then
    return emit(self, "handshake", { s = session.id, dir = dir, size = #bytes, text = bytes:gsub("\n$", "") })
  end
  message(self, "line", dir, session, bytes)
end

-- Lines are written in one piece or in several, and several at once.
local function written(self, session, bytes)
  local parts = session.rest or { size = 0 }
  parts[#parts + 1], parts.size, session.rest = bytes, parts.size + #bytes, parts
  if not bytes:find("\n", 1, true) and parts.size <= REST then return end
  local whole = table.concat(parts)
  local from = texts.last_line_at(whole)
  for each in whole:sub(1, from - 1):gmatch "([^\n]*)\n" do message(self, "line", "out", session, each) end
  local rest = whole:sub(from)
  if #rest > REST then
    message(self, "bytes", "out", session, rest)
    rest = ""
  end
  session.rest = rest ~= "" and { rest, size = #rest } or nil
end

local events = {
  open = open,
  frame_in = function(self, ...) frame(self, "in", ...) end,
  frame_out = function(self, ...) frame(self, "out", ...) end,
  line_in = function(self, ...) line(self, "in", ...) end,
}

function events.bytes_in(self, stream, bytes)
  message(self, "bytes", "in", session_of(self, stream), bytes)
end

function events.bytes_out(self, stream, bytes)
  local session = session_of(self, stream)
  if protocols.by_line[session.protocol] then return written(self, session, bytes) end
  if is_handshake(session, bytes) then return line(self, "out", stream, bytes) end
  message(self, "bytes", "out", session, bytes)
end

local function ended(self, dir, stream, code)
  local session = session_of(self, stream)
  if session[dir] then return end
  session[dir] = true
  emit(self, "end", { s = session.id, dir = dir, code = code })
end

events.end_in = function(self, ...) ended(self, "in", ...) end
events.end_out = function(self, ...) ended(self, "out", ...) end

local function closed(ev)
  return function(self, stream, bytes_in, bytes_out)
    local session = self._sessions[stream]
    if not session then return end -- it carried nothing since recording began
    self._sessions[stream] = nil
    emit(self, ev, { s = session.id, bytes_in = bytes_in, bytes_out = bytes_out })
  end
end

events.close, events.detach, events.relayed = closed "close", closed "detach", closed "relayed"

local function named(self, stream, protocol)
  local session = session_of(self, stream)
  if session.protocol ~= protocol then name(self, stream, session, protocol) end
end

local function guarded(self, fn, ...)
  if not self._file then return end
  local ok, err = pcall(fn, self, ...)
  if not ok then drop(self, log.one_line(tostring(err), 200)) end
end

local function begin(self, version)
  emit(self, "start", { pid = self._pid, time = os.date "!%Y-%m-%dT%H:%M:%SZ", version = version })
  core.trace(function(event, stream, ...) guarded(self, events[event], stream, ...) end)
  naming.set(function(stream, protocol) guarded(self, named, stream, protocol) end)
end

--- Begins to record all streams of this Lua state. Does not wait.
---@param path string a regular file of this user's, which is appended to, or a new one; mode 0600 from now on
---@param opts { max_size: integer?, data_max: integer?, raw: boolean? }
---@param version? string of the program that records it
---@return vmctl.Recorder|nil, string?, string? code EINVAL (no regular file), EPERM (another user's), ELOOP (a link), ENOENT …
function M.new(path, opts, version)
  local file, size, code = core.append_log(path)
  if not file then return nil, size, code end
  local _, _, pid = core.fs.identity()
  local self = setmetatable({
    path = path, records = 0, dropped = 0, _unsaid = 0, _file = file, _size = size, _pid = pid, _count = 0,
    _max = opts.max_size or MAX_SIZE, _data_max = opts.data_max or DATA_MAX, _raw = opts.raw or false,
    _sessions = setmetatable({}, { __mode = "k" }),
  }, mt)
  begin(self, version)
  return self
end

--- Ends recording. Idempotent, never waits.
---@return { records: integer, dropped: integer }
function methods:close()
  if self._file then
    core.trace(nil)
    naming.set(nil)
    say_dropped(self)
    append(self, encode("stop", { t = core.now(), pid = self._pid, count = self.dropped }), self._max + RESERVE)
    self._file:close()
    self._file = nil
  end
  return { records = self.records, dropped = self.dropped }
end

mt.__close = methods.close

return M
