--- HMAC-SHA256 of RFC 2104, for ends that share a key.
local core = require "vmctl.core"

local M = {}

local BLOCK = 64 -- bytes, of SHA-256

local function masked(key, byte)
  return (key:gsub(".", function(char) return string.char(char:byte() ~ byte) end))
end

--- The code of a text under a key. Does not wait.
---@param key string
---@param text string
---@return string code 32 bytes
function M.sha256(key, text)
  if #key > BLOCK then key = core.sha256(key):digest() end
  key = key .. ("\0"):rep(BLOCK - #key)
  local inner = core.sha256(masked(key, 0x36)):update(text):digest()
  return core.sha256(masked(key, 0x5c)):update(inner):digest()
end

--- Tells if two codes are the same, in a time that does not depend on where they differ. Does not wait.
---@param a string
---@param b string
---@return boolean
function M.equal(a, b)
  if #a ~= #b then return false end
  local differ = 0
  for i = 1, #a do differ = differ | (a:byte(i) ~ b:byte(i)) end
  return differ == 0
end

return M
