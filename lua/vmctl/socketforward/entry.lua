--- The entries of a forwarder: an id, where the guest listens for it, and the socket of this host that it leads to.
local address = require "vmctl.net.address"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local options = require "vmctl.base.options"

local M = {}

local known_entry = { guest_path = "string", guest_address = "any", host_path = "string", host = "any", mode = "integer>=1<=511" }

-- A guest that knows no addresses binds this path, until it is told to remove it: an empty one would be an abstract socket, to which
-- anybody in the guest may connect.
local function spare_path()
  return ("/run/socketfwd/.vmctl-%08x"):format(math.random(0) & 0xffffffff)
end

-- The Socket message that the guest gets.
local function socket_of(id, given, mode)
  local socket = { forward_id = id, socket_path = given.guest_path or "" }
  local where
  if given.guest_address ~= nil then
    local at, err, code = address.parse(given.guest_address)
    if not at then return nil, err, code end
    if at.kind ~= "tcp" and at.kind ~= "unix" then
      return errors.fail("EINVAL", "forward %s: the guest listens on tcp: or unix: addresses alone, not on %s", id, at)
    end
    if at.kind == "unix" then socket.socket_path = at.path else where = tostring(at) end
  end
  mode = given.mode or mode
  if mode or where then socket.extension = { mode = mode or 0, address = where or "" } end
  if where then socket.socket_path = spare_path() end
  return socket
end

local function make(forwarder, mode, id, given, level)
  if type(id) ~= "string" or id == "" then error("socketforward.forward: ids expected as the entries' names", level) end
  options.check(given, known_entry, "socketforward.forward: entry " .. log.one_line(id, 80), level + 1)
  if (given.host_path == nil) == (given.host == nil) or (given.guest_path == nil) == (given.guest_address == nil) then
    error(("socketforward.forward: entry %s: one of guest_path and guest_address, and one of host_path and host expected")
      :format(id), level)
  end
  local target, err, code = address.parse(given.host_path and { kind = "unix", path = given.host_path } or given.host)
  if not target then return nil, err, code end
  local socket
  socket, err, code = socket_of(id, given, mode)
  if not socket then return nil, err, code end
  return {
    id = id, forwarder = forwarder, target = target, socket = socket, relays = {}, total = 0, failed = 0, to_host = 0, to_guest = 0,
    label = ("forward %s to %s"):format(log.one_line(id, 80), target),
  }
end

--- The entries of a forwarder, in the order of their ids. Raises for malformed ones. Does not wait.
---@param forwarder vmctl.SocketForwarder
---@param mode? integer of sockets' files that name none
---@param given table<string, table> as for vmctl.socketforward.forward
---@param level integer as for error
---@return table[]|nil, string?, string? code EINVAL, ENAMETOOLONG
function M.make_all(forwarder, mode, given, level)
  local list = {}
  for id, one in pairs(given) do
    local entry, err, code = make(forwarder, mode, id, one, level + 1)
    if not entry then return nil, err, code end
    list[#list + 1] = entry
  end
  table.sort(list, function(a, b) return a.id < b.id end) -- the guest binds in the same order each time
  return list
end

-- Tells if an extension was applied as it was asked for.
local function is_applied(asked, told)
  if not asked then return true end
  return told ~= nil and told.mode == asked.mode and (told.address ~= "") == (asked.address ~= "")
end

--- Notes the real ports of entries that asked for any port. A guest that does not know modes and addresses does not mention them.
--- Does not wait.
---@param entries table[]
---@param answer table of Bind
---@return true|nil, string?, string? code ENOTSUP
function M.note_bound(entries, answer)
  local told = {}
  for _, socket in ipairs(answer.bound or {}) do told[socket.forward_id] = socket.extension end
  for _, entry in ipairs(entries) do
    local extension = told[entry.id]
    if not is_applied(entry.socket.extension, extension) then
      local asked = entry.socket.extension.address ~= "" and "an address" or "a mode"
      return errors.fail("ENOTSUP", "%s: the guest does not forward a socket with %s of its own", entry.label, asked)
    end
    if extension and extension.address ~= "" then entry.bound = extension.address end
  end
  return true
end

--- Counts of an entry's connections and bytes, running connections included. Does not wait.
---@param entry table
---@return { total: integer, open: integer, failed: integer, to_host: integer, to_guest: integer, last_error: string? }
function M.count(entry)
  local open, to_host, to_guest = 0, entry.to_host, entry.to_guest
  for relay in pairs(entry.relays) do
    local stats = relay:stats()
    if not stats.over then open = open + 1 end
    to_guest, to_host = to_guest + stats.a_to_b, to_host + stats.b_to_a
  end
  return {
    total = entry.total, open = open, failed = entry.failed, to_host = to_host, to_guest = to_guest, last_error = entry.last_error,
  }
end

return M
