--- What TARGET on the command line stands for: a guest that `vmctl run` has started, an address, or this machine.
local address = require "vmctl.net.address"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local exec = require "vmctl.exec"
local share = require "vmctl.machine.share"

local M = {}

-- An address without its port: which one it is depends on what is asked for there.
local function complete(text, port)
  if text:find "^vsock:[^:]+$" then return ("%s:%d"):format(text, port) end
  if text:find "^hybrid:" and not text:find ":%d+$" then return ("%s:%d"):format(text, port) end
  return text
end

--- The address of a port of a target's agent.
---@param text string
---@param port integer the port where the text names none
---@return vmctl.Address|nil, string?, string? ENOENT: no guest of that name runs; EINVAL
function M.address(text, port)
  if text:find "^%l+:" then return address.parse(complete(text, port)) end
  local folder, err, code = share.folder(text)
  if not folder then return nil, err, code end
  if not core.fs.stat(folder .. "/agent") then
    return errors.fail("ENOENT", "no guest called '%s' runs here (vmctl list shows which do)", text)
  end
  return address.hybrid(folder .. "/agent", port)
end

--- The Unix socket of a guest that `vmctl run` has started.
---@param name "console"|"qmp"
---@return vmctl.Address|nil, string?, string?
function M.socket(text, name)
  local folder, err, code = share.folder(text)
  if not folder then return nil, err, code end
  if not core.fs.stat(folder .. "/" .. name) then
    return errors.fail("ENOENT", "no guest called '%s' runs here (vmctl list shows which do)", text)
  end
  return address.unix(folder .. "/" .. name)
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
  local stereos = require "vmctl.stereos"
  local at, err, code = M.address(text, stereos.PORT)
  if not at then return nil, err, code end
  return stereos.client(at)
end

return M
