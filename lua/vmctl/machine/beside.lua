--- The extras of a guest beside its root: shared folders and a network of its own, and the words that tell stage 1 of them.
local errors = require "vmctl.errors"
local options = require "vmctl.base.options"
local shares = require "vmctl.machine.shares"
local user_network = require "vmctl.machine.user_network"

local M = {}

---@class vmctl.MachineBeside
---@field words string for stage 1, on the kernel's command line
---@field address string the network's part of the words
---@field modules string[] of the kernel, that stage 1 loads
local methods = {}
local mt = { __name = "vmctl.MachineBeside", __index = methods }

local function add_network(self, opts, words)
  local network, err, code = user_network.plan(opts.network, opts.ports, opts.fds)
  if network == nil then return nil, err, code end
  if not network then return opts end
  self._network, self.address = network, network.word
  words[#words + 1] = self.address
  self.modules[#self.modules + 1] = "virtio_net"
  local nics = { { netdev = network.netdev } } -- the first: stage 1 gives it its address
  table.move(opts.nics or {}, 1, #(opts.nics or {}), 2, nics)
  return options.merge(opts, { nics = nics, fds = network.fds })
end

local function add_shares(self, opts, words)
  if not opts.shares or #opts.shares == 0 then return true end
  if not opts.root then return errors.fail("EINVAL", "launch: shares without a root: it is stage 1 that mounts them") end
  local err, code
  self._shares, err, code = shares.plan(opts.shares)
  if not self._shares then return nil, err, code end
  table.move(self._shares.words, 1, #self._shares.words, #words + 1, words)
  table.move(self._shares.modules, 1, #self._shares.modules, #self.modules + 1, self.modules)
  return true
end

--- Plans it. Does not wait.
---@param opts table as for machine.launch: network, ports, shares, nics, root
---@return vmctl.MachineBeside|nil
---@return table|string completed the options, with a card for the network; or a message
---@return string? code
function M.plan(opts)
  local self, words = setmetatable({ words = "", address = "", modules = {} }, mt), {}
  local completed, err, code = add_network(self, opts, words)
  if not completed then return nil, err, code end
  local ok
  ok, err, code = add_shares(self, opts, words)
  if not ok then
    self:close()
    return nil, err, code
  end
  self.words = table.concat(words, " ")
  return self, completed
end

--- As vmctl.MachineShares has it. Does not wait.
---@return string
function methods:script() return self._shares and self._shares:script() or "" end

--- Starts the programs that serve the guest. Does not wait for them.
---@return true|nil, string?, string?
function methods:start()
  for _, part in pairs { self._network or nil, self._shares } do
    local ok, err, code = part:start()
    if not ok then return nil, err, code end
  end
  return true
end

--- QEMU's arguments. Does not wait.
---@param spec table of vmctl.machine.qemu
---@param add fun(fd: integer): integer gives QEMU a descriptor: its number there
---@return string[]
function methods:arguments(spec, add) return self._shares and self._shares:arguments(spec, add) or {} end

--- Closes our copies of QEMU's descriptors, when QEMU has started. Does not wait.
function methods:started()
  if self._network then self._network:started() end
  if self._shares then self._shares:started() end
end

--- The last words of the servers. Does not wait.
---@return string
function methods:last_words() return self._shares and self._shares:last_words() or "" end

--- Ends the servers. Idempotent, does not wait.
function methods:close()
  if self._network then self._network:close() end
  if self._shares then self._shares:close() end
end

return M
