--- Resolves the TARGET argument: a guest that `vmctl run` or `vmctl start` has started, an address, or this machine.
local address = require "vmctl.net.address"
local errors = require "vmctl.errors"
local exec = require "vmctl.exec"
local share = require "vmctl.machine.share"
local share_client = require "vmctl.machine.share_client"
local store = require "vmctl.instance.store"

local M = {}

-- Adds the port of the wanted service to an address that has none.
local function complete(text, port)
  if text:find "^vsock:[^:]+$" then return ("%s:%d"):format(text, port) end
  if text:find "^hybrid:" and not text:find ":%d+$" then return ("%s:%d"):format(text, port) end
  return text
end

-- Explains a name that no guest has: an instance has it, or a similar name exists.
local function explain(name, at, err, code)
  if at or code ~= "ENOENT" then return at, err, code end
  local folder = store.folder(name)
  if folder then return store.unreachable(name, folder) end
  local names = store.names()
  for _, guest in ipairs(share.list()) do names[#names + 1] = guest.name end
  return nil, err .. store.guess(name, names), code
end

--- The address of a port of a target's agent.
---@param text string
---@param port integer the port of an address that has none
---@return vmctl.Address|nil, string?, string? code ENOENT: no guest of that name runs; EACCES; EINVAL
function M.address(text, port)
  if text:find "^%l+:" then return address.parse(complete(text, port)) end
  return explain(text, share_client.agent(text, port))
end

--- A Unix socket of a guest that `vmctl run` has started.
---@param name "console"|"qmp"|"stop"
---@return vmctl.Address|nil, string?, string? code ENOENT, EACCES, EINVAL
function M.socket(text, name)
  if text == "host" then return errors.fail("EINVAL", "host is this machine: the name of a guest expected") end
  return explain(text, share_client.socket(text, name))
end

--- The client that runs commands in a target.
---@return vmctl.ExecClient|nil, string?, string?
function M.exec(text)
  if text == "host" then return require "vmctl.host" end
  local at, err, code = M.address(text, exec.PORT)
  if not at then return nil, err, code end
  return exec.client(at)
end

--- The client of a target's StereOS control plane.
---@return vmctl.StereosClient|nil, string?, string?
function M.stereos(text)
  if text == "host" then return errors.fail("EINVAL", "host is this machine: only a guest has a control plane") end
  local stereos = require "vmctl.stereos"
  local at, err, code = M.address(text, stereos.PORT)
  if not at then return nil, err, code end
  return stereos.client(at)
end

return M
