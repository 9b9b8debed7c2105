--- Shares a running guest with other programs of the same user, through sockets in a private folder:
---   agent    the ports of the guest's agent, with the handshake of Firecracker ("hybrid:FOLDER/agent:5000")
---   console  the guest's console: output and input
---   qmp      QEMU's monitor
---   stop     a connection powers the guest off, and reads "stopped" at the end
---   info     a JSON document: name, and the pid of QEMU (of this program, if that runs on another machine)
local accept = require "vmctl.net.server"
local access = require "vmctl.net.access"
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local errors = require "vmctl.errors"
local json = require "vmctl.json"
local shape = require "vmctl.json.shape"
local log = require "vmctl.log"
local home = require "vmctl.machine.share_home"
local monitor = require "vmctl.machine.share_qmp"
local task = require "vmctl.base.task"

local M = {}

local CONNECT_TIMEOUT = 10 -- seconds for a CONNECT line, and for the guest's port
local WRITE_TIMEOUT = 10   -- seconds for which a client of the console may accept no data
local LINE = 32            -- bytes of a CONNECT line
local PRIVATE = home.PRIVATE
local MOST_INFO = 4096     -- bytes of an info document

--- The folder of this user's guests. See vmctl.machine.share_home.
M.home = home.path

local lstat, check_private, private_folder, is_name = home.lstat, home.check, home.make, home.is_name

--- The folder for a guest's name. It need not exist.
---@param name string
---@return string|nil path, string?, string? code EINVAL: not a valid name
function M.folder(name)
  if not is_name(name) then
    return errors.fail("EINVAL", "'%s': a guest's name has letters, digits, '_', '-' and '.', 40 at most", log.one_line(name, 60))
  end
  return M.home() .. "/" .. name
end

--- The path of one of a guest's sockets. Checks that only this user can write to its folders. Does not wait.
---@param name string
---@param socket "agent"|"console"|"qmp"|"stop"
---@return string|nil path, string?, string? code ENOENT: no guest of that name runs; EACCES: the folder is another user's; EINVAL
function M.socket(name, socket)
  local folder, err, code = M.folder(name)
  if not folder then return nil, err, code end
  for _, path in ipairs { M.home(), folder } do
    local ok
    ok, err, code = check_private(path)
    if not ok and code ~= "ENOENT" then return nil, err, code end
  end
  local path = folder .. "/" .. socket
  if not lstat(path) then
    return errors.fail("ENOENT", "no guest called '%s' runs here (vmctl list shows which do)", name)
  end
  return path
end

--- Checks that the peer of a connection runs as this user or root. Does not wait.
---@param stream vmctl.Stream
---@return true|nil, string?, string? code EACCES
function M.trust(stream)
  local who, err, code = stream:credentials()
  if not who then return nil, err, code end
  if who.uid == core.fs.identity() or who.uid == 0 then return true end
  return errors.fail("EACCES", "%s is served by another user (%d)", stream:peer(), who.uid)
end

-- Connections

local function connect_port(vm, stream)
  local line = stream:read_line(LINE, CONNECT_TIMEOUT)
  local port = line and core.hybrid_connect(line)
  if not port then return nil end
  local guest = dial.dial(vm:address(port), CONNECT_TIMEOUT)
  if not guest then return nil end
  if stream:write(("OK %d\n"):format(port), CONNECT_TIMEOUT) then return guest end
  guest:close()
end

local function serve_agent(vm, stream)
  local guest = connect_port(vm, stream)
  if guest then dial.relay(stream, guest) end
  stream:close()
end

local function type_in(vm, stream)
  while true do
    local data = stream:read(4096, math.huge)
    if not data or not vm:console_write(data, WRITE_TIMEOUT) then return end
  end
end

local function serve_console(vm, stream)
  task.scope(function(scope)
    task.spawn_in(scope, type_in, vm, stream)
    vm._console:follow(function(data) return stream:write(data, WRITE_TIMEOUT) end)
    scope:cancel()
  end)
  stream:close()
end

local function serve_stop(vm, stream)
  local ok, err = vm:shutdown()
  stream:write(ok and "stopped\n" or log.one_line(tostring(err)) .. "\n", WRITE_TIMEOUT)
  stream:close()
end

-- The share

---@class vmctl.Share
local methods = {}
local mt = { __name = "vmctl.Share", __index = methods }

local NAMES = { "agent", "console", "qmp", "stop" }
local SERVE = { agent = serve_agent, console = serve_console, qmp = monitor.serve, stop = serve_stop }

local function write_info(vm, folder)
  local file, err = io.open(folder .. "/info", "w")
  if not file then return errors.fail("EIO", "%s", err) end
  local ok, why = file:write(assert(json.encode { name = vm.name, pid = vm.pid or select(3, core.fs.identity()) }), "\n")
  local closed, how = file:close()
  if ok and closed then return true end
  return errors.fail("EIO", "%s/info: %s", folder, why or how)
end

local function open_socket(self, vm, name, serve)
  local path = self.folder .. "/" .. name
  local listener, err, code = dial.listen { kind = "unix", path = path }
  if not listener then return nil, err, code end
  self._listeners[#self._listeners + 1] = listener
  self._tasks[#self._tasks + 1] = background.spawn(vm.name .. " " .. name, accept.serve, listener,
    { allow = access.policy(), limit = accept.limit() }, function(stream) serve(vm, stream) end)
  return true
end

local function remove_folder(folder)
  for _, name in ipairs(NAMES) do core.fs.remove(folder .. "/" .. name) end
  core.fs.remove(folder .. "/info")
  core.fs.remove(folder)
end

local function is_served(folder)
  local stream <close> = dial.dial({ kind = "unix", path = folder .. "/agent" }, 1)
  return stream ~= nil
end

-- Removes the folder of a guest that ended abnormally. A guest that still answers keeps its folder.
local function sweep()
  for _, name in ipairs(core.fs.list(M.home()) or {}) do
    local folder = M.home() .. "/" .. name
    if is_name(name) and check_private(folder) and lstat(folder .. "/info") and not is_served(folder) then
      remove_folder(folder)
    end
  end
end

local function make_folder(self)
  local ok, err, code = private_folder(M.home())
  if not ok then return nil, err, code end
  sweep()
  if lstat(self.folder) then
    if is_served(self.folder) then return errors.fail("EEXIST", "a guest of that name runs: %s", self.folder) end
    remove_folder(self.folder)
  end
  ok, err, code = core.fs.mkdir(self.folder, PRIVATE)
  if not ok then return nil, err, code end
  self._made = true
  return true
end

--- Shares a machine under its name, until `close`. Connections are served while the loop runs. Waits only when the folder exists
--- already, for an answer of the guest in it.
---@param vm vmctl.Machine
---@return vmctl.Share|nil share with close() and `folder`; string?, string? code EEXIST: a guest of that name runs; EINVAL: the
-- name can not be a folder's; EACCES: the parent folder is accessible to other users
function M.open(vm)
  local folder, err, code = M.folder(vm.name)
  if not folder then return nil, err, code end
  local self = setmetatable({ folder = folder, _listeners = {}, _tasks = {} }, mt)
  local ok
  ok, err, code = make_folder(self)
  for _, name in ipairs(NAMES) do
    if ok then ok, err, code = open_socket(self, vm, name, SERVE[name]) end
  end
  if ok then ok, err, code = write_info(vm, folder) end
  if ok then return self end
  self:close()
  return nil, ("share %s: %s"):format(vm.name, err), code
end

--- Ends the share: closes its connections and removes the folder. Idempotent, never waits.
function methods:close()
  for _, listener in ipairs(self._listeners) do listener:close() end
  for _, t in ipairs(self._tasks) do t:cancel() end
  if self._made and not core.forked() then remove_folder(self.folder) end
  self._made, self._listeners, self._tasks = false, {}, {}
  return true
end

mt.__close = methods.close
mt.__gc = methods.close

--- Parses the info document of a shared guest. Does not wait.
---@param text string
---@return { name: string, pid: integer }|nil
function M.parse_info(text)
  local info = json.decode(text)
  return not shape.wrong(info, { name = "string", pid = "integer" }, "it") and info or nil
end

-- The folder is private, so no other user can replace the file.
local function read_info(folder)
  local there = check_private(folder) and lstat(folder .. "/info")
  if not there or there.type ~= "file" then return nil end
  local file = io.open(folder .. "/info")
  if not file then return nil end
  local text = file:read(MOST_INFO) or ""
  file:close()
  return M.parse_info(text)
end

--- The guests that this user shares. Does not wait.
---@return { name: string, pid: integer, folder: string }[]
function M.list()
  local found = {}
  if not check_private(M.home()) then return found end
  for _, name in ipairs(core.fs.list(M.home()) or {}) do
    local folder = M.home() .. "/" .. name
    local info = is_name(name) and read_info(folder)
    if info then found[#found + 1] = { name = name, pid = info.pid, folder = folder } end
  end
  table.sort(found, function(a, b) return a.name < b.name end)
  return found
end

return M
