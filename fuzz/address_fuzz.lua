-- Properties that hold for any text that is read as an address. Returns a function that raises when one does not.
local address = require "vmctl.net.address"

return function(bytes)
  local at, err, code = address.parse(bytes)
  if not at then
    assert(type(err) == "string" and type(code) == "string" and #err < 1000 and not err:find "[%c\127]", "a failure that cannot be shown")
    return
  end
  local text = tostring(at)
  assert(not text:find "[%c\127]", "an address that cannot be shown")
  if bytes:find "[%c\127]" or at.kind == "exec" then return end
  local again = assert(address.parse(text))
  assert(tostring(again) == text and again.kind == at.kind, "another address")
end
