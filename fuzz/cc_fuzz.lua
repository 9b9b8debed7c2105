-- Properties that hold for any bytes that the decoder of cc-helper's protocol is given. Returns a function that raises when one does
-- not.

-- The codec asks the core for a frame format, which is not tried here.
package.preload["vmctl.core"] = function() return { format = function() return {} end } end

local cc = require "vmctl.cc"

-- Methods of the decoder, and those of the encoder that write the same.
local methods = {
  uint8 = "uint8", uint16 = "uint16", uint32 = "uint32", uint64 = "uint64", int32 = "int32", int64 = "int64",
  string = "string", bytes = "write_bytes", string_slice = "string_slice", error = "error", mount_config = "mount_config",
  instance_options = "instance_options", file_info = "file_info", dir_entry = "dir_entry", dir_entries = "dir_entries",
  snapshot_options = "snapshot_options", dockerfile_options = "dockerfile_options",
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

local function check_failure(d, err, code)
  assert(err == "unexpected EOF" and code == "EPROTO", "a failure of another kind")
  assert(d:failed(), "a failure that is not remembered")
  assert(d:uint8() == nil and d:string() == nil and d:instance_options() == nil, "something after a failure")
end

-- A decoded value, encoded and decoded again, is the same.
local function check_again(name, value)
  local e = cc.encoder()
  local bytes = e[methods[name]](e, value):bytes()
  local d = cc.decoder(bytes)
  assert(same(value, d[name](d)), "other values")
  assert(d:remaining() == 0 and not d:failed(), "other bytes")
end

local function try(name, bytes)
  local d = cc.decoder(bytes)
  local value, err, code = d[name](d)
  assert(d:remaining() >= 0 and d:remaining() <= #bytes, "bytes out of nothing")
  if value == nil then return check_failure(d, err, code) end
  check_again(name, value)
end

-- A mux whose handlers read one thing each: any payload is answered.
local mux, kinds = cc.mux(), {}
for name in pairs(methods) do
  kinds[#kinds + 1] = name
  mux:handle(#kinds, function(d)
    local value, err, code = d[name](d)
    if value == nil then return nil, err, code end
    return "\0"
  end)
end

return function(bytes)
  for name in pairs(methods) do try(name, bytes) end
  for kind in ipairs(kinds) do
    local answer, err, code = mux(kind, bytes, {})
    assert(answer == "\0" or err == "unexpected EOF" and (code == "EPROTO" or code == 99), "another answer")
  end
  assert(mux(0x999, bytes, {}) == nil, "an answer to nobody's request")
end
