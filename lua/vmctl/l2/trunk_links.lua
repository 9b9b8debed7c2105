--- `switch:trunk` and `switch:listen_trunks`: making and accepting trunks.
local core = require "vmctl.core"
local access = require "vmctl.net.access"
local accept = require "vmctl.net.server"
local address = require "vmctl.net.address"
local background = require "vmctl.base.background"
local dial = require "vmctl.net.dial"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local talk = require "vmctl.l2.trunk_talk"
local trunk = require "vmctl.l2.trunk"

local M = {}

local TIMEOUT = 10                        -- seconds for dial, greeting and joining together
local GREETINGS = 16                      -- connections at a time that are not joined yet
local KEY_SHORTEST, KEY_LONGEST = 16, 4096 -- bytes: a key is random, and no password
local NEEDS_KEY = { tcp = true, vsock = true, hybrid = true } -- others than this user may connect there, or listen

local known = {
  name = "string", network = "string", with = "table", key = "string", key_file = "string", keepalive = "number>0<=3600",
  timeout = "number>0", on_end = "callable",
}
local known_of_listener = options.merge(known, {
  allow = "function|table", backlog = "integer>=1", mode = "integer", on_trunk = "callable",
})

local function networks_of(switch, opts, level)
  local networks, seen = { [opts.network or switch.name] = switch }, { [switch] = true }
  for name, each in pairs(opts.with or {}) do
    if getmetatable(each) ~= getmetatable(switch) then error("trunk: 'with': switches by the names of their networks expected", level) end
    if networks[name] or seen[each] then error(("trunk: network '%s' or its switch is there twice"):format(name), level) end
    networks[name], seen[each] = each, true
  end
  for name in pairs(networks) do
    if not talk.is_name(name) then error("trunk: the name of a network: 1 to 63 bytes without control characters expected", level) end
  end
  return networks
end

-- Reads the key of the options. It appears in no message.
local function key_of(opts)
  local key = opts.key
  if opts.key_file then
    local file, err, number = io.open(opts.key_file, "rb")
    if not file then return errors.fail(number == 2 and "ENOENT" or "EACCES", "trunk: its key: %s", err) end
    key = file:read(KEY_LONGEST + 2) or ""
    file:close()
    key = key:gsub("\r?\n$", "")
  end
  if key and (#key < KEY_SHORTEST or #key > KEY_LONGEST) then
    return errors.fail("EINVAL", "trunk: a key of %d to %d random bytes expected, got %d", KEY_SHORTEST, KEY_LONGEST, #key)
  end
  return key or false
end

local function unused_name(networks, prefix)
  local number, taken = 0, true
  while taken do
    number, taken = number + 1, false
    for _, each in pairs(networks) do taken = taken or each:port(("%s-%d"):format(prefix, number)) ~= nil end
  end
  return ("%s-%d"):format(prefix, number)
end

-- Reads the options and the key. Raises at the caller's caller.
local function read_options(switch, opts, allowed, what)
  opts = options.check(opts, allowed, what, 4)
  if opts.key and opts.key_file then error("trunk: 'key' or 'key_file' expected, got both", 4) end
  if opts.name then switch:_check_name(opts.name, 4) end
  local networks = networks_of(switch, opts, 4)
  for _, each in pairs(networks) do
    if each._closed then return each:_fail_closed "trunk" end
  end
  local key, err, code = key_of(opts)
  if key == nil then return nil, err, code end
  return { networks = networks, key = key or nil, keepalive = opts.keepalive, on_end = opts.on_end }, opts
end

local function refuse_open(where, key)
  if key or not NEEDS_KEY[where.kind] then return true end
  return errors.fail("EACCES", "trunk %s: a key expected: others may be at that address", where)
end

local function is_stream(where)
  return type(where) == "userdata" and tostring(where):find "^vmctl%.Stream" ~= nil
end

local function connect(where, key, deadline)
  if is_stream(where) then return where end
  local a, err, code = address.parse(where)
  local ok
  if a then ok, err, code = refuse_open(a, key) end
  if not ok then return nil, err, code end
  return dial.dial(a, deadline - core.now())
end

--- Joins this switch with one at the other end of a stream: another process's, or another machine's. At each end the trunk is a port,
--- with faults and counts as any. Each network is joined with the one of that name. A trunk that would close a ring is refused with ELOOP.
--- Without encryption: over a network that others reach let ssh carry it, `"exec:ssh HOST vmctl switch --trunk - …"`. Waits until it is
--- joined. When it ends the addresses learnt there are forgotten, its ports are "ended", and it is not dialled again.
---@param where string|table|function|vmctl.Stream an address as for vmctl.dial ("tcp:HOST:PORT" needs a key), or a stream, which it takes
---@param opts? { name: string?, network: string?, with: table<string, vmctl.L2Switch>?, key: string?, key_file: string?,
--- keepalive: number?, timeout: number?, on_end: fun(trunk: vmctl.L2Trunk, message: string, code: string)? } name: of its ports
--- ("trunk-1" …); network: the name of this switch's network at both ends (the switch's name); with: further switches, by their networks'
--- names; key: the shared key, 16 to 4,096 random bytes, or the file that has it; keepalive: seconds (15) for which the other end may
--- not answer; timeout: seconds (10) until it is joined; on_end: is called when it has ended, and must not wait
---@return vmctl.L2Trunk|nil trunk with port(network), state, wait_end, close
---@return string? message, string? code EACCES (the keys), ELOOP, ENOENT (a network is at one end alone), EPROTO, ETIMEDOUT, ECONNREFUSED …
function M.trunk(switch, where, opts)
  local spec, more, code = read_options(switch, opts, known, "switch:trunk")
  if not spec then return nil, more, code end
  spec.deadline = core.now() + (more.timeout or TIMEOUT)
  spec.name = more.name or unused_name(spec.networks, "trunk")
  local stream, err
  stream, err, code = connect(where, spec.key, spec.deadline)
  if not stream then return nil, err, code end
  return trunk.join(switch, stream, spec)
end

---@class vmctl.L2TrunkListener
local listener = {}
local listener_mt = { __name = "vmctl.L2TrunkListener", __index = listener }

local function welcome(self, stream)
  local spec = options.merge(self._spec)
  spec.name, spec.passing, spec.deadline = unused_name(spec.networks, self._name), true, core.now() + self._timeout
  local joined, err = trunk.join(self._switch, stream, spec)
  if not joined then return log.info("l2: %s: %s", self._switch.name, err) end
  self._trunks[joined] = true
  if self._on_trunk then self._on_trunk(joined) end
end

--- Where it listens.
---@return vmctl.Address|nil, string?, string?
function listener:address()
  return self._listener:address()
end

--- The trunks that came here and are joined. Does not wait.
---@return vmctl.L2Trunk[]
function listener:trunks()
  local list = {}
  for each in pairs(self._trunks) do
    if each:state() == "joined" then list[#list + 1] = each else self._trunks[each] = nil end
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

--- Stops listening; its trunks stay. Idempotent; does not wait.
---@return true
function listener:close()
  self._listener:close()
  self._task:cancel()
  self._switch._links[self] = nil
  return true
end

listener_mt.__close = listener.close

-- A peer that has the key may come from anywhere.
local function policy(allow, key)
  return access.policy(allow or key and { tcp = "any", cid = { "any" } } or nil)
end

--- Lets other switches make trunks to this one. Each becomes a port NAME-1, NAME-2 …, which is removed when its trunk ends. Without a
--- key it must be a Unix socket, where this user and root may connect. Waits only to resolve a name.
---@param where string|table "tcp:HOST:PORT", "unix:PATH", "vsock:CID:PORT"
---@param opts? table as for `trunk`, and allow: see vmctl.net.access (whoever has the key); backlog; mode: of a Unix socket's file (0600);
--- on_trunk: is called with each trunk, and must not wait; timeout: seconds (10) in which a connection must have joined
---@return vmctl.L2TrunkListener|nil listener with address, trunks, close
---@return string? message, string? code EACCES (no key), EADDRINUSE, ECLOSED …
function M.listen_trunks(switch, where, opts)
  local spec, more, code = read_options(switch, opts, known_of_listener, "switch:listen_trunks")
  if not spec then return nil, more, code end
  local a, err
  a, err, code = address.parse(where)
  local l
  if a then l, err, code = refuse_open(a, spec.key) end
  if l then l, err, code = dial.listen(a, { backlog = more.backlog, mode = more.mode }) end
  if not l then return nil, err, code end
  local self = setmetatable({
    _switch = switch, _spec = spec, _listener = l, _trunks = setmetatable({}, { __mode = "k" }), _on_trunk = more.on_trunk,
    _name = more.name or "trunk", _timeout = more.timeout or TIMEOUT,
  }, listener_mt)
  switch._links[self] = true
  self._task = background.spawn("l2: trunks of " .. switch.name, accept.serve, l,
    { allow = policy(more.allow, spec.key), limit = accept.limit(GREETINGS) }, function(stream) welcome(self, stream) end)
  return self
end

return M
