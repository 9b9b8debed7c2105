--- A guest that a script on another machine has launched here. It lives as long as the stream of its launch.
local core = require "vmctl.core"
local launch = require "vmctl.machine".launch
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local splice = require "vmctl.serve.splice"
local task = require "vmctl.base.task"
local wire = require "vmctl.remote.wire"

local M = {}

local FIRST_FD = 4      -- of the descriptors that a launch hands to QEMU
local SAID = 16         -- lines
local MOST_CARDS = 16
local PICTURE = 64 << 20 -- bytes of one, at most

-- The options of a launch that are this program's own.
local REFUSED = { on = true, fds = true, paths = true, shares = true, console_log = true, cid = true, root = true,
  writes = true, kernel = true, initrd = true, agent = true, modules_dir = true, cache_dir = true }
local FILES = { kernel = true, initrd = true, agent = true }

local function fail(machine, err, code)
  machine:close()
  return nil, err, code
end

local methods = {}
local mt = { __index = methods }

-- A socket pair, one end of which QEMU gets: the number there.
local function hand_over(self, fds, name)
  local ours, theirs, code = core.pair()
  if not ours then return nil, theirs, code end
  ours:label(("%s of a guest"):format(name))
  self.sockets[name], self._theirs[#self._theirs + 1] = ours, theirs
  fds[#fds + 1] = theirs:fileno()
  return FIRST_FD + #fds - 1
end

-- The cards whose frames go to the script: each becomes a socket here.
local function plan_cards(self, spec, fds)
  local cards = {}
  for i, card in ipairs(spec.nics or {}) do
    if i > MOST_CARDS or type(card) ~= "table" then return nil, "launch: too many network cards, or none", "EINVAL" end
    cards[i] = card
    if card.connect ~= nil or card.listen ~= nil then return nil, "launch: a card's socket is the script's", "EINVAL" end
    if card.far then
      local fd, err, code = hand_over(self, fds, ("network card %d"):format(i))
      if not fd then return nil, err, code end
      cards[i] = options.merge(card, { netdev = ("stream,server=off,addr.type=fd,addr.str=%d"):format(fd) })
      cards[i].far = nil
    end
  end
  return cards
end

-- The root of a guest: a file that was sent, with the script's description of it.
local KINDS = { disk = true, erofs = true, empty = true }

local function plan_root(all, root, files, store)
  if type(root) ~= "table" or not KINDS[root.kind] then return nil, "launch: no such root", "EINVAL" end
  local its = options.merge(root)
  its.kind = nil
  for key, name in pairs { [1] = "root", stage1 = "stage1" } do
    if files[name] then
      local path, err, code = store:path(files[name])
      if not path then return nil, err, code end
      its[key] = key == 1 and ("%s:%s"):format(root.kind, path) or path
      files[name] = nil
    end
  end
  if not its[1] and root.kind ~= "empty" then return nil, "launch: a root without its file", "EINVAL" end
  all.root = its
  return true
end

local function plan(self, request, spec, files, store)
  local fds = {}
  local monitor, err, code = hand_over(self, fds, "monitor")
  if not monitor then return nil, err, code end
  local cards
  cards, err, code = plan_cards(self, spec, fds)
  if not cards then return nil, err, code end
  local all = options.merge(spec, { nics = cards, fds = fds })
  all.args = table.move(spec.args or {}, 1, #(spec.args or {}), 5, {
    "-chardev", ("socket,id=far,fd=%d"):format(monitor), "-mon", "chardev=far,mode=control",
  })
  if request.root then
    local ok
    ok, err, code = plan_root(all, request.root, files, store)
    if not ok then return nil, err, code end
  end
  for name, digest in pairs(files) do
    if not FILES[name] then return nil, "launch: no such file", "EINVAL" end
    local path
    path, err, code = store:path(digest)
    if not path then return nil, err, code end
    all[name] = path
  end
  return all
end

local function check(request)
  local spec, files = request.spec, request.files or {}
  if type(spec) ~= "table" or type(files) ~= "table" then return nil, "launch: its options expected", "EINVAL" end
  for _, name in ipairs { "nics", "args" } do
    if spec[name] ~= nil and type(spec[name]) ~= "table" then return nil, ("launch: %s: a list expected"):format(name), "EINVAL" end
  end
  for i, word in ipairs(spec.args or {}) do
    if type(word) ~= "string" then return nil, ("launch: args[%d]: a string expected"):format(i), "EINVAL" end
  end
  for name in pairs(spec) do
    if REFUSED[name] then return nil, ("launch: the option '%s' does not go to another machine"):format(tostring(name)), "EINVAL" end
  end
  return spec, files
end

-- A wrong option raises; the script gets it as a failure.
local function try(spec)
  local ok, vm, err, code = pcall(launch, spec)
  if ok then return vm, err, code end
  return nil, (tostring(vm):gsub("^[^\n]-:%d+: ", "")), "EINVAL"
end

--- Launches one. Waits as vmctl.machine.launch.
---@param request table spec: its options; files: digests by the names of options
---@param store vmctl.ServeStore
---@return table|nil machine, string?, string?
function M.launch(request, store)
  local spec, files, code = check(request)
  if not spec then return nil, files, code end
  local self = setmetatable({ sockets = {}, _theirs = {} }, mt)
  local err
  spec, err, code = plan(self, request, spec, files, store)
  if not spec then return fail(self, err, code) end
  self.vm, err, code = try(spec)
  for _, stream in ipairs(self._theirs) do stream:close() end
  if not self.vm then return fail(self, err, code) end
  return self
end

--- The description of it that the script gets. Does not wait.
---@return table
function methods:about()
  local vm = self.vm
  return { pid = vm.pid, command = table.move(vm.command, 1, #vm.command, 1, {}), accel = vm.accel, accel_reason = vm.accel_reason,
    macs = #vm.macs > 0 and vm.macs or nil, ports = vm._channel.kind == "mux" }
end

local function report(self, stream)
  local record = self.vm:wait(math.huge)
  if not record then return end
  self.vm._process:await_last_words(1)
  wire.send(stream, { exit_code = record.exit_code, signal = record.signal, said = self.vm._process:last_words(SAID) })
end

--- Reports its end on the stream, and executes the stream's requests, until the stream ends. Waits.
---@param stream vmctl.Stream
function methods:attend(stream)
  task.scope(function(scope)
    task.spawn_in(scope, report, self, stream)
    while true do
      local order = wire.receive(stream, math.huge)
      if not order or order.op ~= "kill" then break end
      self.vm._process:kill()
    end
    scope:cancel()
  end)
end

local CALLS = {
  snapshot = function(vm, r) return vm._snapshots:save(r.name, { timeout = r.timeout }) end,
  restore = function(vm, r)
    local ok, err, code = vm._snapshots:load(r.name, { timeout = r.timeout })
    if ok then vm._epoch:advance "restore" end
    return ok, err, code
  end,
  delete_snapshot = function(vm, r) return vm._snapshots:delete(r.name, { timeout = r.timeout }) end,
  remove_port = function(vm, r) return vm:remove_port(r.name, r.timeout) end,
}

local function screendump(vm)
  local file <close>, err, code = core.fs.unnamed(os.getenv "TMPDIR" or "/tmp") -- luacheck: ignore
  if not file then return nil, err, code end
  local written <close>, why, how = file:reopen "w" -- luacheck: ignore (QEMU asks for a descriptor of just that)
  if not written then return nil, why, how end
  local ok
  ok, err, code = vm._control:with_file(written, function(client, name)
    return client:execute("screendump", { filename = name, format = "png" })
  end)
  if ok == nil then return nil, err, code end
  return file:read(PICTURE, 0)
end

--- Executes a request that needs a file or a socket here. Waits.
---@param stream vmctl.Stream
---@param request table op, name, timeout
---@return boolean|nil known false: no such request
---@return string?, string?
function methods:serve(stream, request)
  if splice[request.op] then return splice[request.op](self, stream, request) end
  if request.op == "screendump" then
    local picture, err, code = screendump(self.vm)
    if not picture then return nil, err, code end
    return wire.send(stream, { size = #picture }) and stream:write(picture)
  elseif request.op == "confinement" then
    local found, err, code = self.vm:confinement()
    if not found then return nil, err, code end
    return wire.send(stream, found)
  elseif not CALLS[request.op] then
    return false
  end
  if type(request.name) ~= "string" or request.name == "" or type(request.timeout) ~= "number" then
    return nil, request.op .. ": a name and a time limit expected", "EINVAL"
  end
  local ok, err, code = CALLS[request.op](self.vm, request)
  if not ok then return nil, err, code end
  return wire.send(stream, {})
end

--- Ends it. Idempotent, never waits.
function methods:close()
  if self.vm then self.vm:close() end
  for _, list in ipairs { self.sockets, self._theirs } do
    for _, stream in pairs(list) do stream:close() end
  end
end

mt.__close = methods.close

--- The name of a guest as it is logged. Does not wait.
function methods:name() return log.one_line(self.vm.name, 40) end

return M
