--- Parts of a guest that need files or sockets on the machine where its QEMU runs: that machine provides them.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local options = require "vmctl.base.options"

local M = {}

local SNAPSHOT, UNPLUG, PICTURE = 120, 10, 60 -- seconds
local MOST = 64 << 20                         -- bytes of a picture
local SLACK = 5                               -- seconds for the transport

-- Snapshots

local snapshots = {}
local snapshots_mt = { __name = "vmctl.FarSnapshots", __index = snapshots }

--- Snapshots as vmctl.Snapshots has them. Does not wait.
---@param call fun(request: table, timeout: number): table|nil, string?, string?
function M.snapshots(call) return setmetatable({ _call = call }, snapshots_mt) end

for method, op in pairs { save = "snapshot", load = "restore", delete = "delete_snapshot" } do
  --- As vmctl.Snapshots has it, in a file of the guest's own.
  snapshots[method] = function(self, name, opts)
    if type(name) ~= "string" or name == "" then error(op .. ": a name expected", 3) end
    opts = options.check(opts, { timeout = "number", path = "string" }, op, 4)
    if opts.path then
      return errors.fail("ENOTSUP", "%s '%s': a guest on another machine keeps its snapshots there, in no file of the script's", op, name)
    end
    local timeout = opts.timeout or SNAPSHOT
    local ok, err, code = self._call({ op = op, name = name, timeout = timeout }, timeout + SLACK)
    if not ok then return nil, err, code end
    return true
  end
end

-- Ports

local ports = {}
local ports_mt = { __name = "vmctl.FarPorts", __index = ports }

--- Ports as vmctl.Ports has them. Does not wait.
---@param ask fun(request: table, timeout: number?): vmctl.Stream|nil, any, string?
---@param call fun(request: table, timeout: number): table|nil, string?, string?
function M.ports(ask, call) return setmetatable({ _ask = ask, _call = call }, ports_mt) end

--- As vmctl.Ports has it. Waits.
function ports:add_port(name)
  if type(name) ~= "string" or name == "" then error("add_port: a name expected", 2) end
  local stream, err, code = self._ask { op = "port", name = name }
  if not stream then return nil, err, code end
  return stream
end

--- As vmctl.Ports has it. Waits.
function ports:remove_port(name, opts)
  local timeout = options.check(opts, { timeout = "number" }, "remove_port").timeout or UNPLUG
  local ok, err, code = self._call({ op = "remove_port", name = name, timeout = timeout }, timeout + SLACK)
  if not ok then return nil, err, code end
  return true
end

-- Screen

--- A picture of the screen, as vmctl.Screen has it. Waits.
---@param ask fun(request: table, timeout: number?): vmctl.Stream|nil, any, string?
---@param path string
---@return true|nil, string?, string?
function M.screendump(ask, path)
  if type(path) ~= "string" or path == "" then error("screendump: a path expected", 3) end
  local stream <close>, answer, code = ask({ op = "screendump" }, PICTURE) -- luacheck: ignore
  if not stream then return nil, answer, code end
  local size = answer.size
  if math.type(size) ~= "integer" or size < 1 or size > MOST then return errors.fail("EPROTO", "screendump: a picture of no size") end
  local parts, have = {}, 0
  while have < size do
    local data, err, how = stream:read(size - have, PICTURE)
    if not data then return nil, "screendump: " .. err, how end
    parts[#parts + 1], have = data, have + #data
  end
  return core.fs.replace(path, table.concat(parts))
end

return M
