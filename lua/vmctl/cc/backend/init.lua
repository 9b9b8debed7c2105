--- Serves the inside of an instance on this machine: the files below a folder, commands and listeners. The agent has a backend
--- in a guest, whose folder is "/"; a helper with --local has one for a folder of its machine.
local command = require "vmctl.cc.backend.command"
local commands = require "vmctl.cc.backend.commands"
local file = require "vmctl.cc.backend.file"
local fs = require "vmctl.cc.backend.fs"
local network = require "vmctl.cc.backend.network"
local waiting = require "vmctl.base.fs"
local wire = require "vmctl.cc.wire"

local M = {}

local LOOSE_MOST = 256 -- commands without a handle before ended ones are removed

---@class vmctl.CcBackend
---@field root vmctl.Root
---@field handles vmctl.CcHandles
---@field workspace vmctl.CcWorkspace
---@field image? { entrypoint: string[], command: string[] }
local methods = {}
local mt = { __name = "vmctl.CcBackend", __index = methods }

--- Makes a backend.
---@param handles vmctl.CcHandles
---@param options { root: string, environment: string[]?, user: string?, work_dir: string?, image: table?, guest: boolean? }
-- guest: this machine is the guest itself, so it may listen on all addresses
---@return vmctl.CcBackend|nil, string?, string? code of opening the root folder
function M.new(handles, options)
  local root, err, code = waiting.root(options.root)
  if not root then return nil, err, code end
  return setmetatable({
    root = root, handles = handles, image = options.image, any_host = options.guest and "0.0.0.0" or "127.0.0.1",
    only_loopback = not options.guest, _open = true, _loose = {}, workspace = command.workspace(root, {
      environment = options.environment or command.environment(), user = options.user, work_dir = options.work_dir,
    }),
  }, mt)
end

--- Fails if there is no instance.
---@return true|nil, string?, integer?
function methods:present()
  if self._open then return true end
  return nil, "no instance", wire.codes.INVALID_HANDLE
end

--- Enables or disables it: while it is disabled there is "no instance". Disabling closes everything that was open.
function methods:open(open)
  self._open = open
  if not open then self:clear() end
end

--- Keeps a running command whose handle was freed, until it or the instance ends.
function methods:leave(cmd)
  if not cmd:is_running() then return cmd:close() end
  if #self._loose >= LOOSE_MOST then
    local still = {}
    for _, each in ipairs(self._loose) do
      if each:is_running() then still[#still + 1] = each end
    end
    self._loose = still
  end
  table.insert(self._loose, cmd)
end

--- Closes all files, listeners and connections and kills all commands.
function methods:clear()
  self.handles:clear()
  for _, cmd in ipairs(self._loose) do cmd:close() end
  self._loose = {}
end

--- Registers the handlers for files, commands and the network.
---@param router vmctl.CcRouter
function methods:install(router)
  for _, part in ipairs { fs, file, commands, network } do part.install(router, self) end
end

--- Ends it.
function methods:close()
  self:open(false)
  self.root:close()
end

return M
