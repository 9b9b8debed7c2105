--- Launching a guest on another machine by its `vmctl serve --stdio`: docs/remote.md. The vmctl.Machine here has the same parts as that
-- of a local guest, over streams of the session.
local cards = require "vmctl.machine.far.cards"
local channel = require "vmctl.machine.far.channel"
local console = require "vmctl.machine.console"
local errors = require "vmctl.errors"
local hosts = require "vmctl.remote.host"
local launch = require "vmctl.machine.launch"
local monitor = require "vmctl.machine.monitor"
local parts = require "vmctl.machine.far.parts"
local processes = require "vmctl.machine.far.process"
local resume = require "vmctl.machine.resume"
local roots = require "vmctl.machine.far.root"
local upload = require "vmctl.remote.upload"

local M = {}

local LAUNCH = 600      -- seconds: the other side may make a file system first

-- Options that go to the other machine as they are.
local SENT = {
  "append", "memory", "cpus", "accel", "machine", "arch", "qemu", "args", "name", "channel", "display", "reboot", "sandbox",
  "network", "init", "boot",
}

local REFUSED = {
  shares = "its folders are on this machine: copy files (write_file, vmctl cp)",
  ports = "they would be of the other machine: forward them (vm:forward)",
  fds = "descriptors do not leave this machine", paths = "they would be of the other machine",
  cid = "the other machine chooses it",
}

local function check(opts)
  for name, why in pairs(REFUSED) do
    local value = opts[name]
    if value ~= nil and (type(value) ~= "table" or next(value) ~= nil) then
      return errors.fail("ENOTSUP", "launch: '%s' does not go with a guest on another machine: %s", name, why)
    end
  end
  if opts.kernel == nil and not opts.root then return errors.fail("EINVAL", "launch: no kernel given") end
  return true
end

-- A guest's part in the session with the other machine: it adds the guest's id to requests.
local far = {}
local far_mt = { __name = "vmctl.FarMachine", __index = far }

--- Sends a request that concerns this guest. Waits.
function far:ask(request, timeout)
  request.id = self._id
  return self._host:ask(request, timeout)
end

function far:call(request, timeout)
  request.id = self._id
  return self._host:call(request, timeout)
end

function far:confinement()
  local found, err, code = self:call { op = "confinement" }
  if not found then return nil, err, code end
  return found
end

function far:close()
  for _, task in ipairs(self._tasks) do task:cancel() end
  if self._own then self._host:close() end
end

local function send_files(host, paths)
  local files = {}
  for name, path in pairs(paths) do
    local err, code
    files[name], err, code = upload.send(host, path)
    if not files[name] then return nil, ("launch: %s: %s"):format(name, err), code end
  end
  return files
end

local function describe(opts, nics)
  local spec = { nics = nics }
  for _, name in ipairs(SENT) do spec[name] = opts[name] end
  return spec
end

-- Launches the guest there. Returns the stream, and the answer that describes the guest.
local function request(host, opts, nics, its_root)
  local paths = its_root and its_root.files or { kernel = opts.kernel, initrd = opts.initrd }
  local files, err, code = send_files(host, paths)
  if not files then return nil, err, code end
  local stream, about, how = host:ask({
    op = "launch", spec = describe(opts, nics), files = files, root = its_root and its_root.told or nil,
  }, LAUNCH)
  if not stream then return nil, ("launch on %s: %s"):format(host.label, about), how end
  if math.type(about.id) ~= "integer" or type(about.accel) ~= "string" then
    stream:close()
    return errors.fail("EPROTO", "launch on %s: an answer that tells no guest", host.label)
  end
  return stream, about
end

local function open_console(vm, opts)
  local stream, err, code = vm._far:ask { op = "console" }
  if not stream then return nil, err, code end
  vm._console, err, code = console.of(stream, vm.name, opts.console_size, opts.console_log)
  if not vm._console then return nil, err, code end
  vm._console:begin()
  return true
end

local function add_parts(vm, opts)
  local its = vm._far
  local function ask(...) return its:ask(...) end
  local function call(...) return its:call(...) end
  vm._channel = channel.new(ask, vm.name)
  vm._monitor = monitor.far(function() return (ask { op = "monitor" }) end, vm.name)
  launch.add_parts(vm, opts)
  vm._snapshots = parts.snapshots(call)
  vm._resume = resume.new(vm._control, vm._snapshots, vm._clients, vm._epoch)
  vm._ports = parts.ports(ask, call)
  vm._screen.screendump = function(_, path) return parts.screendump(ask, path) end
  return ask
end

local NO_BESIDE = { last_words = function() return "" end, close = function() end }

local function list_of(value)
  local list = {}
  for i, text in ipairs(type(value) == "table" and value or {}) do list[i] = tostring(text) end
  return list
end

local function build(host, own, opts, mt, stream, about)
  local name = opts.name or "guest"
  local its = setmetatable({ _host = host, _own = own, _id = about.id, _tasks = {} }, far_mt)
  local vm = setmetatable({
    name = name, host = host.label, host_pid = math.tointeger(about.pid), accel = about.accel, accel_reason = tostring(about.accel_reason),
    macs = list_of(about.macs), command = list_of(about.command), _process = processes.new(name, host), _beside = NO_BESIDE, _far = its,
  }, mt)
  vm._process:start(stream)
  local ok, err, code = open_console(vm, opts)
  if ok then return vm, add_parts(vm, opts) end
  vm:close()
  return nil, err, code
end

local function start(host, own, opts, mt, its_root)
  local nics, places, code = cards.plan(opts.nics)
  if not nics then return nil, places, code end
  local stream, about, how = request(host, opts, nics, its_root)
  if not stream then return nil, about, how end
  local vm, ask, why = build(host, own, opts, mt, stream, about)
  if not vm then return nil, ask, why end
  vm._root = its_root
  local ok, err, how_far = cards.join(places, ask, vm.name, vm._far._tasks)
  if not ok then
    vm:close()
    return nil, err, how_far
  end
  if opts.reboot then vm._monitor:begin() end
  return vm
end

--- Starts a guest on another machine. Waits until its QEMU runs there; the first time, while its files are sent.
---@param opts vmctl.MachineOptions checked
---@param mt table the metatable of the machine
---@return vmctl.Machine|nil, string?, string? code EHOSTDOWN: it cannot be reached; ENOTSUP: an option that does not go there …
function M.start(opts, mt)
  local ok, err, code = check(opts)
  if not ok then return nil, err, code end
  local its_root
  if opts.root then
    its_root, err, code = roots.plan(opts)
    if not its_root then return nil, err, code end
  end
  local host, own = opts.on, false
  if not hosts.is_host(host) then
    host, err, code = hosts.connect(opts.on)
    if not host then return nil, "launch: " .. err, code end
    own = true
  end
  local vm
  vm, err, code = start(host, own, opts, mt, its_root)
  if vm then return vm end
  if own then host:close() end
  return nil, err, code
end

return M
