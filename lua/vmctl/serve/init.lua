--- `vmctl serve --stdio`: runs guests for a script on another machine, over its standard input and output. All ends with them.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local keepalive = require "vmctl.remote.keepalive"
local log = require "vmctl.log"
local machines = require "vmctl.serve.machine"
local pipes = require "vmctl.remote.pipes"
local store = require "vmctl.serve.store"
local task = require "vmctl.base.task"
local wire = require "vmctl.remote.wire"
local yamux = require "vmctl.yamux"

local M = {}

local HELLO, REQUEST = 60, 30   -- seconds
local SILENCE = 60              -- seconds after which a script that does not answer is given up
local MOST = 256                -- guests

---@class vmctl.Serve
local methods = {}
local mt = { __index = methods }

function methods:launch(stream, request)
  if self._count >= MOST then return errors.fail("EAGAIN", "%d guests run here", MOST) end
  self._count = self._count + 1
  local counted <close> = setmetatable({}, { __close = function() self._count = self._count - 1 end }) -- luacheck: ignore
  local machine <close>, err, code = machines.launch(request, self._store) -- luacheck: ignore
  if not machine then return nil, err, code end
  self._last = self._last + 1
  local id, about = self._last, machine:about()
  about.id = id
  self._machines[id] = machine
  local entered <close> = setmetatable({}, { __close = function() self._machines[id] = nil end }) -- luacheck: ignore
  local ok
  ok, err, code = wire.send(stream, about)
  if not ok then return nil, err, code end
  log.info("serve: %s runs", machine:name())
  machine:attend(stream)
  log.info("serve: %s is let go", machine:name())
  return true
end

function methods:put(stream, request)
  local have, err, code = self._store:has(request.sha256, request.size)
  local ok = have ~= nil
  if have == false then ok, err, code = self._store:reserve(request.size) end
  if ok then ok, err, code = wire.send(stream, { have = have }) end
  if not ok or have then return ok, err, code end
  ok, err, code = self._store:take(stream, request.sha256, request.size)
  if not ok then return nil, err, code end
  return wire.send(stream, {})
end

function methods:doctor(stream)
  local report = require("vmctl.doctor").check()
  return wire.send(stream, { findings = report })
end

local OPS = { launch = true, put = true, doctor = true }

local function perform(self, stream, request)
  if OPS[request.op] then return methods[request.op](self, stream, request) end
  local machine = self._machines[request.id]
  if not machine then return errors.fail("ENODEV", "no such guest, or it is let go") end
  local known, err, code = machine:serve(stream, request)
  if known == false then return errors.fail("ENOSYS", "no such request: %s", log.one_line(tostring(request.op), 40)) end
  return known, err, code
end

local function answer(self, stream)
  local request, err, code = wire.receive(stream, REQUEST)
  local ok = request
  if request then ok, err, code = perform(self, stream, request) end
  if not ok and code ~= "ECANCELED" then wire.refuse(stream, err or "failed", code or "EINVAL") end
  stream:close()
end

-- A bug in one request ends that request.
local function serve(self, stream)
  local ok, err = xpcall(answer, debug.traceback, self, stream)
  if ok then return end
  log.error("serve: %s", err)
  stream:close()
end

local function watch(self)
  if not keepalive.watch(self._session, SILENCE) then return end
  log.error("serve: the other side has not answered for %d s", SILENCE)
  self._session:close()
end

--- Serves one script on a pair of streams, until they end; its guests end with them. Waits.
---@param input vmctl.Stream
---@param output vmctl.Stream
---@param opts? { cache: string?, cache_bytes: integer? } the folder of the files that are sent, and how much of them is kept
---@return true|nil, string?, string? code EPROTO: the other side is no vmctl, or of another version
function M.serve(input, output, opts)
  opts = opts or {}
  local files, err, code = store.open(opts.cache, opts.cache_bytes)
  if not files then return nil, err, code end
  local transport <close> = setmetatable({}, { __close = function() input:close() output:close() end }) -- luacheck: ignore
  local both = pipes.new(input, output, "standard input")
  local ok, theirs
  ok, err, code = both:write(wire.hello "serve", HELLO)
  if ok then theirs, err, code = wire.read_hello(both, "use", HELLO, 0) end
  if not theirs then return nil, "serve: " .. err, code end
  local self = setmetatable({ _store = files, _machines = {}, _count = 0, _last = 0 }, mt)
  self._session = yamux.session(both, { client = false, send_timeout = SILENCE, on_stream = function(s) serve(self, s) end })
  task.scope(function(scope)
    task.spawn_in(scope, watch, self)
    self._session:run()
    scope:cancel()
  end)
  for _, machine in pairs(self._machines) do machine:close() end
  return true
end

--- Serves on the standard streams. Waits until they end.
---@param opts? table as for `serve`
---@return true|nil, string?, string?
function M.stdio(opts)
  local input, err, code = core.open(0, "pipe", "standard input")
  if not input then return nil, err, code end
  local output
  output, err, code = core.open(1, "pipe", "standard output")
  if not output then return nil, err, code end
  return M.serve(input, output, opts)
end

return M
