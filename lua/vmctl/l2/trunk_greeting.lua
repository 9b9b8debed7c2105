--- The greeting of the two ends of a trunk (docs/wire/trunk.md#greeting): a hello of 48 bytes each way, and with a shared key a proof
--- of 32 bytes each way. No other byte of the peer is read before both are checked.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local hmac = require "vmctl.base.hmac"
local random = require "vmctl.base.random"

local M = {}

local MAGIC, VERSION = "\xffvmctl-trunk", 1
local NONCE, HELLO, PROOF = 32, 48, 32 -- bytes
local KEYED = 1                        -- flag of a hello: a proof follows
local FORMAT = "c12BBBBc32"            -- magic, version, flags, two that are 0, nonce

M.HELLO, M.PROOF = HELLO, PROOF

--- A hello, for the specs as well. Does not wait.
---@param nonce string 32 bytes
---@param is_keyed boolean
---@return string 48 bytes
function M.hello(nonce, is_keyed)
  return FORMAT:pack(MAGIC, VERSION, is_keyed and KEYED or 0, 0, 0, nonce)
end

--- An end's proof that it knows the key: it holds for these two nonces and for this end only. Does not wait.
---@param key string
---@param part "first"|"second" first: whose nonce is the greater one
---@param greater string the nonces
---@param lesser string
---@return string 32 bytes
function M.proof(key, part, greater, lesser)
  return hmac.sha256(key, ("vmctl trunk 1 %s "):format(part) .. greater .. lesser)
end

-- The nonce of a hello, if it fits ours.
local function check(hello, own, is_keyed)
  local magic, version, flags, zero, also, nonce = FORMAT:unpack(hello)
  if magic ~= MAGIC or zero ~= 0 or also ~= 0 or flags > KEYED then
    return errors.fail("EPROTO", "the other end is no trunk")
  elseif version ~= VERSION then
    return errors.fail("EPROTO", "the other end speaks version %d, and this one %d", version, VERSION)
  elseif is_keyed and flags ~= KEYED then
    return errors.fail("EACCES", "the other end has no key")
  elseif not is_keyed and flags == KEYED then
    return errors.fail("EACCES", "the other end wants a key")
  elseif nonce == own then -- our own bytes came back
    return errors.fail("EPROTO", "the other end repeats what it hears")
  end
  return nonce
end

local function exchange(stream, bytes, size, deadline)
  local ok, err, code = stream:write(bytes, deadline - core.now())
  if not ok then return nil, err, code end
  return stream:read_exact(size, deadline - core.now())
end

-- Both prove at once, so that neither can use the other's proof.
local function prove(stream, key, own, theirs, deadline)
  local is_first = own > theirs
  local greater, lesser = is_first and own or theirs, is_first and theirs or own
  local mine, expected = "second", "first"
  if is_first then mine, expected = expected, mine end
  local proof, err, code = exchange(stream, M.proof(key, mine, greater, lesser), PROOF, deadline)
  if not proof then return nil, err, code end
  if hmac.equal(proof, M.proof(key, expected, greater, lesser)) then return true end
  return errors.fail("EACCES", "the other end has another key")
end

--- Greets the other end. Waits, at most until the deadline.
---@param stream vmctl.Stream
---@param key? string
---@param deadline number
---@return boolean|nil is_first whether this is the end that opens streams
---@return string? message, string? code EACCES (the keys), EPROTO, ETIMEDOUT, EOF …
function M.greet(stream, key, deadline)
  local own, err, code = random.bytes(NONCE)
  if not own then return nil, err, code end
  local hello
  hello, err, code = exchange(stream, M.hello(own, key ~= nil), HELLO, deadline)
  local theirs
  if hello then theirs, err, code = check(hello, own, key ~= nil) end
  local ok = theirs and true
  if ok and key then ok, err, code = prove(stream, key, own, theirs, deadline) end
  if not ok then return nil, err, code end
  return own > theirs
end

return M
