-- Properties that hold for any line that the control plane's decoder is given. Returns a function that raises when one does not.
local wire = require "vmctl.stereos.wire"

-- Types whose payload is checked; that of others is passed on as it came.
local CHECKED = {
  set_config = true, inject_secret = true, inject_ssh_key = true, mount = true, shutdown = true, health = true, ack = true,
  lifecycle = true,
}

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b and math.type(a) == math.type(b) end
  for key, value in pairs(a) do
    if not same(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

local function check_failure(message, code, reply_to)
  assert(type(message) == "string" and message ~= "", "a failure without a message")
  assert(code == "EPROTO", "a failure with another code")
  assert(type(reply_to) == "string", "a failure that does not say what an ack would name")
  assert(reply_to == "" or CHECKED[reply_to], "a type was refused that is not checked")
end

-- A decoded message, encoded and decoded again, is the same.
local function check_again(kind, payload)
  local line, err = wire.envelope(kind, payload)
  assert(line, err)
  assert(not line:find "\n", "a line feed inside a line")
  local kind2, payload2 = wire.parse(line)
  assert(kind2 == kind, "another type")
  assert(same(payload, payload2), "other values")
end

return function(line)
  local kind, payload, code, reply_to = wire.parse(line)
  assert(same({ wire.parse(line) }, { kind, payload, code, reply_to }), "a second look finds something else")
  local envelope, message, why, about = wire.decode(line)
  if not kind then
    check_failure(payload, code, reply_to)
    assert(envelope == nil and message == payload and why == code and about == reply_to, "decode fails unlike parse")
    return
  end
  assert(envelope.type == kind and same(envelope.payload, payload), "decode gives other than parse")
  assert(type(kind) == "string" and code == nil and reply_to == nil)
  if CHECKED[kind] then
    check_again(kind, payload)
  elseif payload == nil then
    check_again(kind)
  end
end
