--- The messages of an agent about a running command: its output and its end (docs/wire/exec.md).
local core = require "vmctl.core"
local result = require "vmctl.exec.result"
local signals = require "vmctl.signals"
local wire = require "vmctl.exec.wire"

local M = {}

local T = wire.types
local KEPT = 1 << 20 -- bytes of output that are kept for a later read
local TAIL_QUIET, TAIL_MOST = 0.025, 2 -- seconds: a reference agent's terminal output may come after its Exit

--- Keeps output for a later read, up to 1 MiB. Does not wait.
---@param self vmctl.ExecProcess
---@param data string
---@param stream "stdout"|"stderr"
function M.keep(self, data, stream)
  self._kept:add(data, stream, KEPT)
  self.discarded = self._kept.discarded
end

local function lost(self, err, code)
  if code == "ETIMEDOUT" or code == "ECANCELED" or code == "EBUSY" then
    return nil, ("%s: %s"):format(self.name, err), code
  end
  local what = code == "EOF" and "the link ended" or err
  if code ~= "ECLOSED" and code ~= "EPROTO" and code ~= "ETOOBIG" then code = "ERESET" end
  self._failure = { ("%s: %s before the exit code came"):format(self.name, what), code }
  self._stream:close()
  return nil, table.unpack(self._failure)
end

local function settle(self, record)
  self._record = record
  return "end"
end

-- Makes the record of an agent's message about the end.
local function conclude(self, said)
  local record = { lingering = said.lingering }
  if said.error ~= "" then record.error = said.error end
  if said.exit_code ~= -1 then
    record.exit_code = said.exit_code
  elseif said.signal or not record.error then
    record.signal = said.signal and signals.name(said.signal) or "unknown"
  end
  return settle(self, record)
end

local function read_message(self, timeout)
  if self._frames then return self._frames:read(timeout) end
  return wire.read(self._stream, timeout)
end

-- Output that a reference agent sends behind Exit in a terminal session, until it has been silent twice: this process may have
-- slept the first time.
local function read_tail(self)
  if not self._frames then return end
  local deadline, silences = core.now() + TAIL_MOST, 0
  while silences < 2 and core.now() < deadline do
    local before = self._stream:stats().bytes_in
    local type, payload, code = self._frames:read(TAIL_QUIET)
    if type == T.STDOUT then M.keep(self, payload, "stdout") elseif code ~= "ETIMEDOUT" then break end
    silences = not type and self._stream:stats().bytes_in == before and silences + 1 or 0
  end
end

local function on_exit(self, payload)
  local code, signal, more = wire.decode_exit(payload)
  if not code then return lost(self, signal, "EPROTO") end
  read_tail(self)
  return conclude(self, { exit_code = code, signal = signal, error = more and more.error or "",
    lingering = more and more.lingering })
end

local function on_result(self, payload)
  local response, err, code = wire.decode_response(payload)
  if not response then return lost(self, err, code) end
  if not self._streamed then
    if #response.stdout > 0 then self._kept:add(response.stdout, "stdout", math.huge) end
    if #response.stderr > 0 then self._kept:add(response.stderr, "stderr", math.huge) end
  end
  return conclude(self, response)
end

-- The next part of an answer that is decoded as it comes. Its output does not count where output has come before it.
local function read_result(self, timeout)
  local part, name, code = self._result:read(timeout)
  if not part then return lost(self, name, code) end
  if type(part) == "table" then return conclude(self, part) end
  if self._streamed then return "", "none" end
  return part, name
end

--- Reads one message, or a part of a long one. Waits.
---@param self vmctl.ExecProcess
---@param timeout number seconds
---@return string|nil data "end": the record is there; string? stream its name, "none" where there is no output; string? code
function M.step(self, timeout)
  if self._record then return "end" end
  if self._failure then return nil, table.unpack(self._failure) end
  if self._result then return read_result(self, timeout) end
  local type, payload, code, refused = read_message(self, timeout)
  if refused and refused.type == T.EXEC_RESULT then
    self._result = result.new(self._stream)
    return "", "none"
  end
  if not type then return lost(self, payload, code) end
  if type == T.STDOUT or type == T.STDERR then
    self._streamed = true
    if payload == "" then return "", "none" end -- nothing that could be kept, however many come
    return payload, type == T.STDOUT and "stdout" or "stderr"
  elseif type == T.EXIT then
    return on_exit(self, payload)
  elseif type == T.EXEC_RESULT then
    return on_result(self, payload)
  elseif not wire.from_guest(type) then
    return lost(self, ("a message of type %d, which no agent sends: the framing is lost"):format(type), "EPROTO")
  end
  return "", "none" -- of a later revision: skipped
end

return M
