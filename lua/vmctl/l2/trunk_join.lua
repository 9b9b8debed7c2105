--- Joining the ends of a trunk: after the greeting they compare their networks, refuse a trunk that would close a ring, and open a
--- stream for each network (docs/wire/trunk.md#joining). Streams are yamux's, so that a network with a slow switch delays no other.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local greeting = require "vmctl.l2.trunk_greeting"
local reach = require "vmctl.l2.trunk_reach"
local talk = require "vmctl.l2.trunk_talk"
local yamux = require "vmctl.yamux"

local M = {}

local HEAD = "NETWORK " -- and a name: the first line of a network's stream

local function sorted(set)
  local names = {}
  for name in pairs(set) do names[#names + 1] = name end
  table.sort(names)
  return names
end

--- The networks' names in the order in which streams are opened. Does not wait.
---@return string[]
function M.names(trunk)
  return sorted(trunk._links)
end

-- Both ends must have the same networks: one that is at one end alone would be silently cut off.
local function compare(trunk, theirs)
  for _, name in ipairs(M.names(trunk)) do
    if not theirs[name] then return errors.fail("ENOENT", "%s has no network '%s'", trunk:far(), name) end
  end
  for _, name in ipairs(sorted(theirs)) do
    if not trunk._links[name] then
      return errors.fail("ENOENT", "there is no network '%s' at this end, which %s has", name, trunk:far())
    end
  end
  return true
end

--- Takes the switches that the other end reaches in a network. Does not wait.
---@return true|nil, string?, string? code ELOOP; EPROTO: no such network
function M.take(trunk, name, ids)
  local link = trunk._links[name]
  if not link then return errors.fail("EPROTO", "the other end tells of a network '%s'", name) end
  local why = reach.loop(link.switch, link, ids)
  if why then return errors.fail("ELOOP", "%s", why) end
  reach.set(link.switch, link, ids)
  return true
end

local function take_all(trunk, networks)
  local ok, err, code = compare(trunk, networks)
  for _, name in ipairs(ok and M.names(trunk) or {}) do
    ok, err, code = M.take(trunk, name, networks[name])
    if not ok then return nil, err, code end
  end
  return ok, err, code
end

local function introduce(trunk, deadline)
  local networks = {}
  for name, link in pairs(trunk._links) do
    networks[name] = reach.told(link.switch, link)
    link.said = table.concat(networks[name])
    if #networks[name] > reach.SWITCHES then
      return errors.fail("E2BIG", "network '%s' has more than %d switches", name, reach.SWITCHES)
    end
  end
  return talk.send(trunk._control, { type = "networks", name = trunk._switch.name, networks = networks }, deadline - core.now())
end

local function expect(trunk, kind, deadline)
  local message, err, code = talk.receive(trunk._control, deadline - core.now())
  if message and message.type ~= kind then
    return errors.fail("EPROTO", "'%s' expected of the other end, got '%s'", kind, message.type)
  end
  return message, err, code
end

local function agree(trunk, deadline)
  local ok, err, code = introduce(trunk, deadline)
  local theirs
  if ok then theirs, err, code = expect(trunk, "networks", deadline) end
  if not theirs then return nil, err, code end
  trunk._far = theirs.name
  ok, err, code = take_all(trunk, theirs.networks)
  if not ok then return trunk:_refuse(err, code) end
  ok, err, code = talk.send(trunk._control, { type = "ready" }, deadline - core.now())
  if ok then ok, err, code = expect(trunk, "ready", deadline) end
  return ok, err, code
end

local function open_stream(trunk, name, deadline)
  local stream, err, code = trunk._session:open(deadline - core.now())
  local ok
  if stream then ok, err, code = stream:write(HEAD .. name .. "\n", deadline - core.now()) end
  if ok then ok, err, code = trunk._links[name].port:attach(stream) end
  if stream and not ok then stream:close() end
  return ok, err, code
end

local function open_streams(trunk, deadline)
  for _, name in ipairs(M.names(trunk)) do
    local ok, err, code = open_stream(trunk, name, deadline)
    if not ok then return nil, err, code end
  end
  return true
end

local function accept_stream(trunk, stream, deadline)
  local line, err, code = stream:read_line(#HEAD + 64, deadline - core.now())
  if not line then return nil, err, code end
  local link = line:sub(1, #HEAD) == HEAD and trunk._links[line:sub(#HEAD + 1)]
  if not link or link.port:state() == "connected" then
    return errors.fail("EPROTO", "the other end opens a stream for no network")
  end
  return link.port:attach(stream)
end

-- Waits for a stream that the other end opens, or for the end of the session.
local function next_stream(trunk, deadline, what)
  while not trunk._accepted[1] do
    if trunk._why then return nil, table.unpack(trunk._why) end
    local ok, err, code = trunk._arrived:wait(deadline - core.now(), what)
    if not ok then return nil, err, code end
  end
  return table.remove(trunk._accepted, 1)
end

-- Accepts the streams that the other end opens: the control stream, and then one for each network.
local function accept_streams(trunk, deadline)
  for _ = 1, #M.names(trunk) do
    local stream, err, code = next_stream(trunk, deadline, "a network's stream")
    local ok
    if stream then ok, err, code = accept_stream(trunk, stream, deadline) end
    if not ok then
      if stream then stream:close() end
      return nil, err, code
    end
  end
  return true
end

local function take_control(trunk, is_first, deadline)
  if is_first then return trunk._session:open(deadline - core.now()) end
  return next_stream(trunk, deadline, "the trunk's control")
end

-- Refuses more streams than the control stream and one for each network.
local function on_stream(trunk, stream)
  trunk._streams = trunk._streams + 1
  if trunk._streams > #M.names(trunk) + 1 then
    stream:close()
    trunk:_note(errors.fail("EPROTO", "the other end opens too many streams"))
    return
  end
  table.insert(trunk._accepted, stream)
  trunk._arrived:wake()
end

--- Joins the two ends over a stream. The session's task runs in `scope`. Waits, at most until the deadline.
---@return true|nil, string?, string? code EACCES, ELOOP, ENOENT, EPROTO, EREMOTE, ETIMEDOUT, EOF …
function M.run(trunk, scope, stream, key, deadline)
  local is_first, err, code = greeting.greet(stream, key, deadline)
  if is_first == nil then return nil, err, code end
  trunk._accepted, trunk._arrived, trunk._streams = {}, core.queue(), 0
  trunk._session = yamux.session(stream, {
    client = is_first, send_timeout = trunk._keepalive, on_stream = not is_first and function(s) on_stream(trunk, s) end or nil,
  })
  trunk:_spawn(scope, function() return trunk._session:run() end)
  core.yield() -- the session's task has to run before a stream can be opened
  trunk._control, err, code = take_control(trunk, is_first, deadline)
  if not trunk._control then return nil, err, code end
  local ok
  ok, err, code = agree(trunk, deadline)
  if not ok then return nil, err, code end
  return (is_first and open_streams or accept_streams)(trunk, deadline)
end

return M
