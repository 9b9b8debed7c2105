--- The state of a switch: the addresses that it has learned, and its counters.
local options = require "vmctl.base.options"

local M = {}

--- The learned addresses: { mac, vlan, port (its name), age (seconds) } each.
---@return table[]|nil, string?, string?
function M.addresses(switch)
  if switch._closed then return switch:_fail_closed "addresses" end
  local list = switch._core:addresses()
  for _, entry in ipairs(list) do entry.port = switch._by_index[entry.port].name end
  return list
end

--- Forgets all addresses: frames are flooded until the addresses are learned again.
---@return true|nil, string?, string?
function M.forget(switch)
  if switch._closed then return switch:_fail_closed "forget" end
  switch._core:forget()
  return true
end

-- Frames, bytes and drops from one port to each other port that has any.
local function counts_of_pairs(switch, port, ports)
  local row = {}
  for _, other in ipairs(ports) do
    local frames, bytes, dropped = switch._core:pair(port._index, other._index)
    if frames > 0 or dropped > 0 then row[other.name] = { frames = frames, bytes = bytes, dropped = dropped } end
  end
  return row
end

--- The counters (see those of a port): `total`, of all ports, also removed ones; `ports`, by name; `pairs[from][to]`: frames, bytes
--- and dropped between two ports.
---@return { total: table, ports: table<string, table>, pairs: table<string, table<string, table>> }|nil, string?, string?
function M.counts(switch)
  if switch._closed then return switch:_fail_closed "counts" end
  local all = { total = options.merge(switch._gone), ports = {}, pairs = {} }
  local ports = switch:ports()
  for _, port in ipairs(ports) do
    local counts = switch._core:counts(port._index)
    for name, value in pairs(counts) do all.total[name] = (all.total[name] or 0) + value end
    all.ports[port.name] = counts
    all.pairs[port.name] = counts_of_pairs(switch, port, ports)
  end
  return all
end

return M
