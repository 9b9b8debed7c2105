--- Subnets of a scenario's networks, as "10.1.2.0/24" or "fd00:7::/64", and the addresses in them.
local M = {}

local V4_BITS, V6_BITS, HALF = 32, 128, 64

---@class vmctl.Subnet
---@field text string
---@field prefix integer bits
---@field family "ipv4"|"ipv6"
local methods = {}
local mt = { __name = "vmctl.Subnet", __index = methods, __tostring = function(self) return self.text end }

local function parse_v4(text)
  local value = 0
  local bytes = { text:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$" }
  for _, byte in ipairs(bytes) do
    if #byte > 3 or tonumber(byte) > 255 then return nil end
    value = value << 8 | math.tointeger(tonumber(byte))
  end
  return #bytes == 4 and { 0, value } or nil
end

local function groups_of(text)
  local list = {}
  for group in (text .. ":"):gmatch "([^:]*):" do
    if not group:find "^%x%x?%x?%x?$" then return nil end
    list[#list + 1] = tonumber(group, 16)
  end
  return list
end

-- The 128 bits of an address as two integers.
local function parse_v6(text)
  local head, tail = text:match "^(.-)::(.*)$"
  local left = groups_of(head or text)
  if head then left = head == "" and {} or left end
  local right = (tail or "") == "" and {} or groups_of(tail)
  if not left or not right then return nil end
  local missing = 8 - #left - #right
  if head and missing < 1 or not head and missing ~= 0 then return nil end
  for _ = 1, missing do left[#left + 1] = 0 end
  table.move(right, 1, #right, #left + 1, left)
  local halves = { 0, 0 }
  for i, group in ipairs(left) do halves[i <= 4 and 1 or 2] = halves[i <= 4 and 1 or 2] << 16 | group end
  return halves
end

-- An address as two integers, and its family.
local function parse(text)
  if text:find(":", 1, true) then return parse_v6(text), "ipv6" end
  return parse_v4(text), "ipv4"
end

local function mask(bits)
  if bits <= 0 then return 0 end
  return bits >= HALF and -1 or ~((1 << HALF - bits) - 1)
end

-- Clears the host bits of an address.
local function network_part(halves, prefix, family)
  local skipped = family == "ipv4" and HALF + V4_BITS or 0
  local bits = prefix + skipped
  return { halves[1] & mask(bits), halves[2] & mask(bits - HALF) }
end

--- Parses a subnet: a network's address and its prefix length.
---@param text string
---@return vmctl.Subnet|nil, string? reason
function M.parse(text)
  local address, bits = text:match "^([^/]+)/(%d+)$"
  local halves, family = nil, nil
  if address then halves, family = parse(address) end
  local prefix = math.tointeger(tonumber(bits or ""))
  if not halves or not prefix or prefix > (family == "ipv4" and V4_BITS or V6_BITS) then
    return nil, ("'%s' is no subnet, as 10.1.2.0/24 or fd00:7::/64 are"):format(text)
  end
  local base = network_part(halves, prefix, family)
  if base[1] ~= halves[1] or base[2] ~= halves[2] then
    return nil, ("'%s' has bits behind its first %d"):format(text, prefix)
  end
  return setmetatable({ text = text, prefix = prefix, family = family, _base = base }, mt)
end

--- The n-th host address of the subnet, nil when there is none (the last address of an IPv4 subnet is for broadcasts).
---@param number integer from 1
---@return string|nil
function methods:address(number)
  local bits = (self.family == "ipv4" and V4_BITS or V6_BITS) - self.prefix
  if bits < HALF - 1 and number >= (1 << bits) - (self.family == "ipv4" and 1 or 0) then return nil end
  local low = self._base[2] + number
  if self.family == "ipv4" then
    return ("%d.%d.%d.%d"):format(low >> 24 & 255, low >> 16 & 255, low >> 8 & 255, low & 255)
  end
  local high = self._base[1]
  return ("%x:%x:%x:%x:%x:%x:%x:%x"):format(high >> 48 & 0xffff, high >> 32 & 0xffff, high >> 16 & 0xffff, high & 0xffff,
    low >> 48 & 0xffff, low >> 32 & 0xffff, low >> 16 & 0xffff, low & 0xffff)
end

--- True if an address is one that a machine in this subnet can have.
---@param address string
---@return boolean
function methods:contains(address)
  local halves, family = parse(address)
  if not halves or family ~= self.family then return false end
  local base = network_part(halves, self.prefix, family)
  return base[1] == self._base[1] and base[2] == self._base[2] and (halves[1] ~= base[1] or halves[2] ~= base[2])
end

return M
