-- Properties that hold for any file that is read as a trace. Returns a function that raises when one does not.
local compare = require "vmctl.replay.compare"
local recorded = require "vmctl.replay.recorded"
local share = require "vmctl.machine.share"
local show = require "vmctl.trace.show"

local path = "build/fuzz/replay.trace"

local function write(bytes)
  local file = assert(io.open(path, "wb"))
  assert(file:write(bytes))
  assert(file:close())
end

return function(bytes)
  write(bytes)
  local sessions, err, code = recorded.load(path)
  assert(sessions or type(err) == "string" and type(code) == "string", "a failure without a code")
  for _, side in ipairs { "client", "server" } do
    for _, session in ipairs(recorded.choose(sessions or {}, side)) do
      for _, step in ipairs(session.steps) do
        if recorded.is_message(step) then
          assert(type(compare.describe(session.protocol, step)) == "string")
          if step.payload then compare.without_secrets(session.protocol, step, step) end
        end
      end
    end
  end
  local view = show.new {}
  for _, session in ipairs(sessions or {}) do
    for _, step in ipairs(session.steps) do
      local line = view:format(step)
      assert(line == nil or not line:find "[%z\1-\8\11-\31\127]", "a line that cannot be shown")
    end
  end
  local info = share.parse_info(bytes)
  assert(info == nil or type(info.name) == "string" and math.type(info.pid) == "integer")
end
