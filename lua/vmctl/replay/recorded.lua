--- The events of each connection in a trace, in order: messages to send, and messages to expect. No function here waits.
local errors = require "vmctl.errors"
local reader = require "vmctl.trace.read"

local M = {}

local MOST = 256 << 20 -- bytes of messages that are kept in memory

local STEPS = { frame = true, line = true, bytes = true, ["end"] = true, close = true, detach = true }
local MESSAGES = { frame = true, line = true, bytes = true }

---@class vmctl.ReplaySession
---@field id string
---@field number integer  its number in the order of opening, as vmctl.trace.print shows it
---@field role "client"|"server"  of the side that recorded it
---@field protocol string?
---@field steps vmctl.TraceRecord[]
---@field playable boolean  something of it was kept

local function add_session(sessions, by_id, record)
  local session = { id = record.s, number = #sessions + 1, steps = {}, playable = false,
    role = record.how == "accept" and "server" or "client", protocol = record.protocol, address = record.address }
  sessions[#sessions + 1], by_id[record.s] = session, session
  return session
end

local function add_step(session, record)
  session.steps[#session.steps + 1] = record
  local kept = record.payload or record.fill
  if MESSAGES[record.ev] and (kept or session.protocol) then session.playable = true end
end

--- The connections of a trace.
---@param path string
---@return vmctl.ReplaySession[]|nil, string?, string? code ENOENT, EINVAL, ETOOBIG
function M.load(path)
  local records, err, code, file = reader.read(path)
  if not records then return nil, err, code end
  local closing <close> = file -- luacheck: ignore
  local sessions, by_id, bytes = {}, {}, 0
  for record in records do
    local id = record.s
    local session = id and record.ev ~= "open" and by_id[id] or id and add_session(sessions, by_id, record)
    if session and record.ev == "name" then session.protocol = record.protocol end
    if session and STEPS[record.ev] then add_step(session, record) end
    bytes = bytes + #(record.payload or "")
    if bytes > MOST then return errors.fail("ETOOBIG", "replay %s: over %d bytes of messages", path, MOST) end
  end
  return sessions
end

-- Chooses one of two recordings if both ends of a connection were recorded: that of the other side has the messages that really came.
local function of_role(sessions, role)
  local chosen = {}
  for _, session in ipairs(sessions) do
    if session.playable and session.role == role then chosen[#chosen + 1] = session end
  end
  return chosen
end

--- Those that a replay plays, one a connection.
---@param sessions vmctl.ReplaySession[]
---@param side "server"|"client" that is to be played
---@param which? string|integer an id, or the number that trace.print shows; all that carried something by default
---@return vmctl.ReplaySession[]
function M.choose(sessions, side, which)
  if which then
    for _, session in ipairs(sessions) do
      if session.id == which or session.number == which then return { session } end
    end
    return {}
  end
  local chosen = of_role(sessions, side == "server" and "client" or "server")
  return #chosen > 0 and chosen or of_role(sessions, side)
end

--- Tells if a step is a sent message.
---@param step vmctl.TraceRecord
---@return boolean
function M.is_message(step)
  return MESSAGES[step.ev] == true
end

return M
