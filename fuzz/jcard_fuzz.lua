-- Properties that hold for any text that a table is taken out of. Returns a function that raises when one does not.
package.loaded["vmctl.core"] = {}
local jcard = require "vmctl.config.jcard"

return function(bytes)
  local rest, removed = jcard.without(bytes, "secrets")
  if not rest then
    assert(type(removed) == "string" and removed:find "^line %d+ is no TOML$", "a failure without a place")
    return
  end
  assert(#rest <= #bytes and (removed or rest == bytes), "a text that was changed without a reason")
  local again, once_more = jcard.without(rest, "secrets")
  assert(again == rest and once_more == false, "secrets that were left")
end
