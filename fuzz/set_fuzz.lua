-- Properties that hold for any descriptor set, and for any bytes that are taken for its messages. Returns a function that raises when one
-- does not.
package.loaded["vmctl.core"] = {}
local schema = require "vmctl.protobuf.schema"

local SET = "vmctl.schema.FileSet"
local CODES = { EINVAL = true, EPROTO = true }

local function check_failure(message, code, wanted)
  assert(type(message) == "string" and CODES[code] and code == wanted, "a failure without a reason")
end

local function try_message(pb, name, bytes)
  local value, message, code = pb.decode(name, bytes)
  if not value then return check_failure(message, code, "EPROTO") end
  local again
  again, message, code = pb.encode(name, value)
  if not again then return check_failure(message, code, "EINVAL") end -- a zero byte in a text
  local other = assert(pb.decode(name, again), "what was encoded is not decoded")
  assert(pb.encode(name, other) == again, "the bytes change once more")
end

local function try_fields(pb, name)
  local seen = 0
  for _, field in ipairs(pb.fields(name)) do
    assert(field.number > seen, "fields out of order")
    seen = field.number
    if field.message then assert(pb.exists(field.message), "a message that is not there") end
  end
end

return function(open)
  return function(input)
    local pb = open() -- each time with messages of its own
    local size = input:byte() or 0
    local bytes, set = input:sub(2, 1 + size), input:sub(2 + size)
    local decoded, message, code = pb.decode(SET, set)
    if not decoded then return check_failure(message, code, "EPROTO") end
    local made
    made, message, code = schema.parse(decoded, pb.exists)
    if not made then return check_failure(message, code, "EINVAL") end
    local added
    added, message, code = pb.define(made.messages, made.enums)
    if not added then return check_failure(message, code, "EINVAL") end
    for i, each in ipairs(made.messages) do
      if i > 50 then break end
      try_fields(pb, each.name)
      try_message(pb, each.name, bytes)
    end
  end
end
