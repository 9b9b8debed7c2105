-- Properties that hold for any line that a monitor or a guest agent sends. Returns a function that raises when one does not.
local json = require "vmctl.json"
local wire = require "vmctl.qmp.wire"

local KINDS = { greeting = true, ["return"] = true, error = true, event = true }

local checks = {}

function checks.greeting(message)
  assert(math.type(message.QMP.version.qemu.major) == "integer")
end

checks["return"] = function(message) assert(message["return"] ~= nil) end

function checks.error(message)
  local failed, text, code, problem = wire.failure(message.error)
  assert(failed == nil and type(text) == "string" and not text:find "[%c\127]", "words that are not one line")
  assert(type(code) == "string" and problem == message.error)
end

function checks.event(message)
  assert(type(message.event) == "string" and type(message.data) == "table")
  assert(message.timestamp == nil or type(message.timestamp) == "table")
end

return function(line)
  local kind, message, code = wire.parse(line)
  if not kind then
    assert(type(message) == "string" and message ~= "" and code == "EPROTO", "a failure of another kind")
    return
  end
  assert(KINDS[kind] and type(message) == "table" and code == nil)
  checks[kind](message)
  -- what was understood can be said: as the arguments of a request, which is JSON in one line again
  local text, err, why = wire.encode("x", { value = message }, 1)
  assert(text or why == "EINVAL" or why == "ETOOBIG", err) -- EINVAL: a null inside a list, deeper than a request may be
  if text then assert(not text:find "\n" and json.decode(text).id == 1) end
end
