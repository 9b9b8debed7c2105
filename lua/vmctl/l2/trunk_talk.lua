--- The messages on the first stream of a trunk: lines of JSON (docs/wire/trunk.md#control), whose shapes are checked here.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local json = require "vmctl.json"
local reach = require "vmctl.l2.trunk_reach"
local shape = require "vmctl.json.shape"

local M = {}

local LINE = 4 << 20   -- bytes: 64 networks of 1,024 switches each
local NETWORKS = 64
local NAME_LONGEST = 63
local LAST = 2         -- seconds in which the other end may take a refusal

local SHAPES = {
  networks = { type = "string", name = "string", networks = "any" },
  ready = { type = "string" },
  reach = { type = "string", network = "string", ids = { each = "string" } },
  refused = { type = "string", code = "string", message = "string" },
}
local REFUSALS = { ELOOP = true, ENOENT = true, EINVAL = true, E2BIG = true, EEXIST = true, ENOSPC = true }

--- Tells if a text can name a network or a trunk: 1 to 63 bytes without control characters.
---@return boolean
function M.is_name(text)
  return type(text) == "string" and #text > 0 and #text <= NAME_LONGEST and not text:find "%c"
end

local function wrong_ids(ids)
  if #ids == 0 or #ids > reach.SWITCHES then return ("1 to %d switches of a network expected, got %d"):format(reach.SWITCHES, #ids) end
  for _, id in ipairs(ids) do
    if type(id) ~= "string" or #id ~= 32 or id:find "%X" then return "an identity that no switch has" end
  end
end

local function wrong_networks(networks)
  if type(networks) ~= "table" or json.is_array(networks) then return "the networks are no object" end
  local count = 0
  for name, ids in pairs(networks) do
    count = count + 1
    if count > NETWORKS or not M.is_name(name) then return "names of networks, at most 64, expected" end
    local why = type(ids) ~= "table" and "a list of switches expected" or wrong_ids(ids)
    if why then return why end
  end
  return count == 0 and "it has no network" or nil
end

--- A message, from a line. Does not wait.
---@param line string
---@return table|nil message, string?, string? code EPROTO
function M.parse(line)
  local message, err = json.decode(line)
  local kind = type(message) == "table" and message.type
  local want = type(kind) == "string" and SHAPES[kind]
  local why = not want and ("no message: " .. tostring(err or "its type is unknown")) or shape.wrong(message, want, "the message")
  if not why and kind == "networks" then
    why = not M.is_name(message.name) and "the name of a switch expected" or wrong_networks(message.networks)
  elseif not why and kind == "reach" then
    why = wrong_ids(message.ids)
  end
  if why then return errors.fail("EPROTO", "the other end of the trunk: %s", why) end
  return message
end

--- Sends a message. Waits.
---@param control vmctl.Stream
---@param message table
---@param timeout number
---@return true|nil, string?, string?
function M.send(control, message, timeout)
  return control:write(assert(json.encode(message)) .. "\n", timeout)
end

--- Reads a message. Waits.
---@param control vmctl.Stream
---@param timeout number
---@return table|nil message, string?, string? code EPROTO; what the other end refused with: ELOOP, ENOENT … or EREMOTE
function M.receive(control, timeout)
  local line, err, code = control:read_line(LINE, timeout)
  if not line then return nil, err, code end
  local message
  message, err, code = M.parse(line)
  if message and message.type == "refused" then
    local text = message.message:sub(1, 500):gsub("%c", "?")
    return errors.fail(REFUSALS[message.code] and message.code or "EREMOTE", "the other end refuses: %s", text)
  end
  return message, err, code
end

--- Sends a refusal, and gives the other end time to read it. Waits.
---@return nil, string message, string code as they were given
function M.refuse(control, message, code)
  local deadline = core.now() + LAST
  local going = M.send(control, { type = "refused", code = code, message = message }, LAST)
  while going and core.now() < deadline do going = M.receive(control, deadline - core.now()) end -- it ends with a refusal of its own, too
  return nil, message, code
end

return M
