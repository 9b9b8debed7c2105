-- Properties that hold for any bytes that come to an end of a trunk: the real one, over a socket pair. Returns a function that raises
-- when one does not.
local core = require "vmctl.core"
local greeting = require "vmctl.l2.trunk_greeting"
local l2 = require "vmctl.l2"
local talk = require "vmctl.l2.trunk_talk"
local task = require "vmctl.base.task"

local KEY = ("k"):rep(32)
-- Those whose nonce makes them the first, and the second.
local SECOND, FIRST = greeting.hello(("\0"):rep(32), false), greeting.hello(("\xff"):rep(32), false)

local function join(bytes, key)
  local switch = l2.switch { name = "lan", seed = 1 }
  local near, far = core.pair()
  assert(far:write(bytes, 5))
  far:shutdown(5)
  local trunk, err, code = switch:trunk(near, { key = key, timeout = 1 })
  assert(trunk or type(err) == "string" and type(code) == "string", "an end without a reason")
  assert(not (trunk and key), "a trunk with nobody who has the key")
  if trunk then trunk:close() end
  assert(#switch:ports() == 0, "a port that stays")
  switch:close()
  far:close()
end

local KINDS = { networks = "networks", reach = "ids" }

local function parse(bytes)
  local message, err, code = talk.parse(bytes)
  if not message then
    assert(type(err) == "string" and code == "EPROTO", "a refusal without a reason")
  elseif KINDS[message.type] then
    assert(type(message[KINDS[message.type]]) == "table", "a message without what it is about")
  end
end

return function(bytes)
  if #bytes > 60000 then return end
  parse(bytes)
  task.run(join, bytes)
  task.run(join, greeting.hello(("\0"):rep(32), true) .. bytes, KEY)
  task.run(join, SECOND .. bytes)
  task.run(join, FIRST .. bytes)
end
