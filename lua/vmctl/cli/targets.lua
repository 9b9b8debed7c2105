--- Resolves the TARGET argument: a guest that `vmctl run` has started, an address, or this machine.
local address = require "vmctl.net.address"
local dial = require "vmctl.net.dial"
local errors = require "vmctl.errors"
local exec = require "vmctl.exec"
local share = require "vmctl.machine.share"

local M = {}

-- Adds the port of the wanted service to an address that has none.
local function complete(text, port)
  if text:find "^vsock:[^:]+$" then return ("%s:%d"):format(text, port) end
  if text:find "^hybrid:" and not text:find ":%d+$" then return ("%s:%d"):format(text, port) end
  return text
end

-- The address of a guest's socket. It is labelled with the guest's name, and accepts only peers that run as this user or root.
local function to_guest(name, socket, make)
  local path, err, code = share.socket(name, socket)
  if not path then return nil, err, code end
  return address.func(function(timeout)
    local stream, why, how = dial.dial(make(path), timeout)
    if not stream then return nil, why, how end
    local ok
    ok, why, how = share.trust(stream)
    if ok then return stream end
    stream:close()
    return nil, why, how
  end, name)
end

--- The address of a port of a target's agent.
---@param text string
---@param port integer the port of an address that has none
---@return vmctl.Address|nil, string?, string? code ENOENT: no guest of that name runs; EACCES; EINVAL
function M.address(text, port)
  if text:find "^%l+:" then return address.parse(complete(text, port)) end
  return to_guest(text, "agent", function(path) return address.hybrid(path, port) end)
end

--- A Unix socket of a guest that `vmctl run` has started.
---@param name "console"|"qmp"|"stop"
---@return vmctl.Address|nil, string?, string? code ENOENT, EACCES, EINVAL
function M.socket(text, name)
  if text == "host" then return errors.fail("EINVAL", "host is this machine: the name of a guest expected") end
  return to_guest(text, name, address.unix)
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
