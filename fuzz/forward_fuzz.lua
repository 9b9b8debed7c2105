-- Properties that hold for any bytes that a host or a guest begins a stream with. Returns a function that raises when one does not.
local wire = require "vmctl.socketforward.wire"

-- A stream that brings the input, so many bytes a read.
local function stream_of(bytes)
  local at = 1
  return {
    sent = "",
    read_exact = function(_, n)
      assert(n <= wire.MAX_ANSWER, "more is read than may come")
      if #bytes - at + 1 < n then return nil, "the end", "EOF" end
      at = at + n
      return bytes:sub(at - n, at - 1)
    end,
    write = function(self, data)
      self.sent = self.sent .. data
      return true
    end,
  }
end

local CODES = { EOF = true, ETOOBIG = true, EREMOTE = true }

return function(bytes)
  local id, err, code = wire.receive_id(stream_of(bytes), 1)
  if id then
    assert(#id <= wire.MAX_ID)
    local near = stream_of((">s4"):pack(id) .. bytes)
    assert(wire.open(near, id, 1), "an id that comes back is not taken")
    assert(near.sent == (">s4"):pack(id))
  else
    assert(type(err) == "string" and CODES[code])
  end
  local ok
  ok, err, code = wire.open(stream_of(bytes), "an-id-1-abcdef", 1)
  if not ok then assert(CODES[code] and not err:find "[%c\127]", "a refusal that cannot be shown") end
end
