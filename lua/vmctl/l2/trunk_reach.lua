--- The switches that are reached over each trunk. A switch has a random identity, and tells over each of its trunks which switches it
--- reaches by the others, so that a trunk which would close a ring is refused: frames would go round in it for ever.
local random = require "vmctl.base.random"

local M = {}

M.SWITCHES = 1024 -- of a network

--- The identity of a switch: 32 hexadecimal digits, from its first use on. Does not wait.
---@return string
function M.identity(switch)
  if not switch._identity then
    local bytes = assert(random.bytes(16))
    switch._identity = bytes:gsub(".", function(char) return ("%02x"):format(char:byte()) end)
  end
  return switch._identity
end

--- The switches that the other end of a link reaches by this one: its own identity first, and then those behind its other links. Does
--- not wait.
---@param switch vmctl.L2Switch
---@param link table
---@return string[]
function M.told(switch, link)
  local behind = {}
  for other in pairs(switch._trunk_links) do
    if other ~= link then table.move(other.ids, 1, #other.ids, #behind + 1, behind) end
  end
  table.sort(behind)
  return { M.identity(switch), table.unpack(behind) }
end

local function set_of(ids)
  local set = {}
  for _, id in ipairs(ids) do set[id] = true end
  return set
end

-- Another link by which one of these switches is reached.
local function other_way(switch, link, ids)
  for other in pairs(switch._trunk_links) do
    for _, id in ipairs(other ~= link and ids or {}) do
      if other.set[id] then return other end
    end
  end
end

--- The reason why a link must not reach these switches, as a sentence, or nil. Does not wait.
---@param switch vmctl.L2Switch
---@param link { network: string, trunk: vmctl.L2Trunk }
---@param ids string[] as the other end tells them, its own first
---@return string|nil
function M.loop(switch, link, ids)
  local what = ("a loop in network '%s': "):format(link.network)
  if ids[1] == M.identity(switch) then return what .. ("it joins switch %s with itself"):format(switch.name) end
  local other = other_way(switch, link, ids)
  if other then
    return what .. ("%s is reached by trunk %s of switch %s already"):format(link.trunk:far(), other.trunk.name, switch.name)
  elseif set_of(ids)[M.identity(switch)] then
    return what .. ("%s reaches switch %s by another trunk already"):format(link.trunk:far(), switch.name)
  end
end

-- Has the ends of a switch's other links told of a change.
local function announce(switch, link)
  for other in pairs(switch._trunk_links) do
    if other ~= link then other.trunk:_announce() end
  end
end

--- Sets the switches that a link reaches. Does not wait.
function M.set(switch, link, ids)
  switch._trunk_links[link] = true
  link.ids, link.set = ids, set_of(ids)
  announce(switch, link)
end

--- Forgets a link. Does not wait.
function M.forget(switch, link)
  if not switch._trunk_links[link] then return end
  switch._trunk_links[link] = nil
  announce(switch, link)
end

return M
