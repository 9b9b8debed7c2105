--- An instance that is a guest under QEMU, made from an image, with vmctl-agent as its first program.
local core = require "vmctl.core"
local encoder = require "vmctl.cc.encoder"
local errors = require "vmctl.errors"
local failure = require "vmctl.cc.backend.failure"
local inside = require "vmctl.cc.backend.inside"
local relay = require "vmctl.cc_helper.vm.relay"
local stream = require "vmctl.cc_helper.vm.stream"
local tar = require "vmctl.tar.read"
local text = require "vmctl.text"
local wire = require "vmctl.cc.wire"

local M = {}

local T, codes = wire.types, wire.codes
local QMP_TIMEOUT = 10

---@class vmctl.CcGuest
local methods = {}
local mt = { __name = "vmctl.CcGuest", __index = methods }

--- Makes an instance of a running guest, which it takes over.
---@param vm vmctl.Machine
---@param pool vmctl.CcPool
---@param about { folder: string, image: table, parent: table?, snapshots: vmctl.CcSnapshots, on_output: function? } folder: temporary,
-- removed with it; on_output: gets the output of the guest's only program, as it comes
---@return vmctl.CcGuest
function M.new(vm, pool, about)
  return setmetatable({ pool = pool, _vm = vm, _folder = about.folder, _image = about.image, _last = about.parent,
    _snapshots = about.snapshots, _on_output = about.on_output or function() end }, mt)
end

function methods:is_running()
  return not self._vm:wait(0) and not self._closed
end

--- Waits until it has ended, for any reason.
function methods:wait()
  local record, err, code = self._vm:wait(math.huge)
  if self._expired then return failure.say("wait", "", "timed out", codes.TIMEOUT) end
  if self._closed or self._done then return true end
  if not record then return failure.of("wait", "", err, code) end
  if record.exit_code == 0 then return true end
  return failure.say("wait", "", "QEMU ended with " .. tostring(record.signal or record.exit_code))
end

--- Ends it at its time limit.
function methods:expire()
  self._expired = true
  self._vm:kill()
end

--- Ends the guest; its writes are lost, since they were in memory. Waits for QEMU's end.
function methods:close()
  if self._closed then return true end
  self._closed = true
  self.pool:close()
  self._vm:kill()
  require("vmctl.cc_helper.build").remove_folder(self._folder)
  return true
end

--- Sets the size of the console. A failure is ignored.
function methods:set_console(cols, rows)
  relay.ask(self.pool, "console", T.INSTANCE_SET_CONSOLE, string.pack(">i4i4", cols, rows))
  return true
end

--- Plugs the network card in, or pulls its cable.
function methods:set_network(enabled)
  local monitor, err, code = self._vm:qmp(QMP_TIMEOUT)
  local ok
  if monitor then ok, err, code = monitor:execute("set_link", { name = "nic0", up = enabled }) end
  if not ok then return failure.of("network", "", err, code) end
  return true
end

-- Passes a connection's data on, up to its end.
local function pass_output(self, connection)
  while true do
    local answer, err, code, where = relay.ask(self.pool, "exec", T.CONN_READ, string.pack(">I8I4", connection, wire.PIECE))
    if not answer and code == codes.UNKNOWN and err == "EOF" then return true end
    if not answer then return nil, err, code, where end
    self._on_output(answer:bytes())
  end
end

-- Runs the program, and returns its exit status when it has ended.
local function run_only(self, name, args)
  local answer, err, code, where = relay.ask(self.pool, "exec", T.CMD_NEW, encoder.new():string(name):string_slice(args):bytes())
  if not answer then return nil, err, code, where end
  local handle = string.pack(">I8", answer:uint64())
  answer, err, code, where = relay.ask(self.pool, "exec", inside.PIPED, handle)
  local ok
  if answer then ok, err, code, where = pass_output(self, answer:uint64()) end
  if not ok then return nil, err, code, where end
  answer, err, code, where = relay.ask(self.pool, "exec", T.CMD_WAIT, handle)
  if not answer then return nil, err, code, where end
  return answer:int32()
end

--- Runs a program as the guest's only one: when it ends, the guest does.
function methods:exec(name, args)
  local status, err, code, where = run_only(self, name, args)
  if status or code ~= codes.CANCELLED then -- its writes are in memory: ending it at once loses nothing
    self._done = true
    self._vm:kill()
  end
  if not status then return nil, err, code, where end
  if status ~= 0 then return failure.say("exec", name, ("exit status %d"):format(status)) end
  return true
end

-- Turns a path of the archive into one of the guest; "./" is the top. Refuses a path with "..", which our agent never sends.
local function absolute(path)
  path = text.bare(path)
  if ("/" .. path .. "/"):find("/../", 1, true) then return errors.fail("EPROTO", "tar: a path with '..'") end
  return path == "." and "/" or "/" .. path
end

-- The guest's files, for a snapshot. The order is that of the archive, which the agent has sorted.
local function fill(self, options, add)
  local excludes = table.move(inside.OURS, 1, #inside.OURS, #options.excludes + 1, { table.unpack(options.excludes) })
  local source <close>, err, code, where = stream.open(self.pool, excludes)
  if not source then return nil, err, code, where end
  return tar.each(source, function(entry, read)
    core.yield()
    local why, how
    entry.path, why, how = absolute(entry.path)
    if entry.path and entry.type == "hard" then entry.link, why, how = absolute(entry.link) end
    if why then return nil, why, how end
    return add(entry, entry.type == "file" and read or nil)
  end)
end

--- Makes a snapshot of the guest's files. Its parent is the snapshot before it, or the one that the guest was made from. Waits.
function methods:snapshot(options)
  local made, err, code, where = self._snapshots:make(options.cache, self._image, self._last, function(add)
    return fill(self, options, add)
  end)
  self._last = made or self._last
  return made, err, code, where
end

return M
