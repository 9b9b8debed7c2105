--- A user of its own for each QEMU, where we are root: a number that nobody else has, and that owns nothing.
local core = require "vmctl.core"

local M = {}

-- Numbers that systems leave unused, and those that services get while they run, where a container knows no others.
local RANGES = { { 0x70000000, 0x7fffffff }, { 61184, 65519 } }
local KILL, SETGID, SETUID = 5, 6, 7    -- capabilities, as bits
local X, W, R = 1, 2, 4                 -- of a mode, for those who are neither owner nor of the group

local function read(path)
  local file = io.open(path)
  local text = file and file:read "a" or ""
  if file then file:close() end
  return text
end

local function is_mapped(map, id)
  for first, _, count in map:gmatch "(%d+)%s+(%d+)%s+(%d+)" do
    first, count = math.tointeger(tonumber(first)), math.tointeger(tonumber(count))
    if id >= first and id < first + count then return true end
  end
  return false
end

local function may_change_users()
  local effective = math.tointeger(tonumber(read "/proc/self/status":match "\nCapEff:%s*(%x+)" or "0", 16)) or 0
  for _, bit in ipairs { KILL, SETGID, SETUID } do
    if effective & 1 << bit == 0 then return false end
  end
  return true
end

--- A number for a user and a group, nil where this process cannot have a child of another user. Does not wait.
---@return integer|nil id, string? reason why there is none
function M.id()
  if core.fs.identity() ~= 0 then return nil, "vmctl is not root" end
  if not may_change_users() then return nil, "vmctl's root may not change its user" end
  local uids, gids = read "/proc/self/uid_map", read "/proc/self/gid_map"
  for _, range in ipairs(RANGES) do
    local id = math.random(range[1], range[2])
    if is_mapped(uids, id) and is_mapped(gids, id) then return id end
  end
  return nil, "this container has no user to spare"
end

--- Tells if a user who owns nothing can get to a path. Does not wait.
---@param path string absolute
---@return boolean
local function can_reach(path)
  local at = 1
  while true do
    local folder = path:sub(1, at == 1 and 1 or at - 1)
    local found = core.fs.stat(folder)
    if not found or found.mode & X == 0 then return false end
    at = path:find("/", at + 1, true)
    if not at then return true end
  end
end

--- Tells if a user who owns nothing can use the file at a path. Does not wait.
---@param path string
---@param how "read"|"write"|"run"
---@return boolean
function M.can(path, how)
  path = core.fs.real(path) or path
  local found = core.fs.stat(path)
  if not found or not can_reach(path) then return false end
  local wanted = how == "run" and R | X or how == "write" and R | W or R
  if found.type == "directory" then wanted = wanted | X end
  return found.mode & wanted == wanted
end

--- The group by which a device can be used: false where no group helps, nil where none is needed. Does not wait.
---@param path string
---@return integer|false|nil
function M.group_for(path)
  if M.can(path, "write") then return nil end
  local found = core.fs.stat(path)
  if found and can_reach(path) and found.gid ~= 0 and found.mode >> 3 & (R | W) == R | W then return found.gid end
  return false
end

return M
