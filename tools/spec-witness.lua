-- A helper of busted: writes what busted itself has counted in a spec file to the end of the file that SPEC_WITNESS names, a line when
-- the file's tests have ended. tools/specs.lua holds it against what `vmctl test` says.
local busted = require "busted"

local path = os.getenv "SPEC_WITNESS"
local counts, name = { success = 0, failure = 0, error = 0, pending = 0 }, nil

busted.subscribe({ "file", "start" }, function(file)
  name = file.name
  return nil, true
end)

busted.subscribe({ "test", "end" }, function(_, _, status)
  counts[status] = counts[status] + 1
  return nil, true
end)

busted.subscribe({ "error" }, function(element)
  if element.descriptor ~= "it" then counts.error = counts.error + 1 end
  return nil, true
end)

busted.subscribe({ "suite", "end" }, function()
  local file = path and io.open(path, "a")
  if file and name then
    file:write(("%s %d %d %d\n"):format(name, counts.success, counts.failure + counts.error, counts.pending))
    file:close()
  end
  return nil, true
end)
