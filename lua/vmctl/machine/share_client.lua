--- Reaches guests that other programs of this user share (see vmctl.machine.share) by their names.
local address = require "vmctl.net.address"
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local errors = require "vmctl.errors"
local share = require "vmctl.machine.share"

local M = {}

local LOOK = 0.05      -- seconds between two checks of its folder
local MOST_LINE = 1000 -- bytes of an answer

--- An address whose peer has to run as this user or root. Does not wait.
---@param where vmctl.Address
---@param label string how messages name it
---@return vmctl.Address
function M.trusted(where, label)
  return address.func(function(timeout)
    local stream, err, code = dial.dial(where, timeout)
    if not stream then return nil, err, code end
    local ok
    ok, err, code = share.trust(stream)
    if ok then return stream end
    stream:close()
    return nil, err, code
  end, label)
end

local function to_guest(name, socket, make)
  local path, err, code = share.socket(name, socket)
  if not path then return nil, err, code end
  return M.trusted(make(path), name)
end

--- The address of a port of a guest's agent. Does not wait.
---@param name string
---@param port integer
---@return vmctl.Address|nil, string?, string? code ENOENT: no guest of that name runs; EACCES; EINVAL
function M.agent(name, port)
  return to_guest(name, "agent", function(path) return address.hybrid(path, port) end)
end

--- The address of one of a guest's other sockets. Does not wait.
---@param name string
---@param socket "console"|"qmp"|"stop"
---@return vmctl.Address|nil, string?, string? code ENOENT, EACCES, EINVAL
function M.socket(name, socket) return to_guest(name, socket, address.unix) end

--- Asks the program that runs a guest to power it off, and waits until it has. That program removes the guest's folder at its end.
---@param name string
---@param deadline number on the clock of vmctl.now
---@return true|nil, string?, string? code ENOENT: no guest of that name runs; ETIMEDOUT; EREMOTE: the program has failed
function M.stop(name, deadline)
  local at, err, code = M.socket(name, "stop")
  if not at then return nil, err, code end
  local stream <close>, why, how = dial.dial(at, deadline - core.now()) -- luacheck: ignore
  if not stream then return nil, why, how end
  local line
  line, err, code = stream:read_line(MOST_LINE, deadline - core.now())
  if not line and code ~= "EOF" then return nil, ("stop %s: %s"):format(name, err), code end
  if line and line ~= "stopped" then return errors.fail("EREMOTE", "stop %s: %s", name, line) end
  while core.fs.stat(share.folder(name), true) do
    if core.now() >= deadline then return errors.fail("ETIMEDOUT", "stop %s: it still runs", name) end
    local ok
    ok, err, code = core.sleep(LOOK)
    if not ok then return nil, err, code end
  end
  return true
end

return M
