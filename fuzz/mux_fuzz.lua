-- Properties that hold for any bytes that come over a guest's serial port: the real mux, over a socket pair. Returns a function that
-- raises when one does not.
local core = require "vmctl.core"
local mux = require "vmctl.mux"
local task = require "vmctl.base.task"

local HELLO = "\xff\xfevmctl?\n"

local function serve(bytes)
  local near, far = core.pair()
  local server = mux.server()
  local listener = server:listen(7)
  assert(far:write(bytes, 5))
  far:close()
  local ok, err, code = server:run(near)
  assert(ok == nil and type(err) == "string" and type(code) == "string", "an end without a reason")
  listener:close()
  near:close()
end

local function greet(bytes)
  local near, far = core.pair()
  assert(far:write(bytes, 5))
  far:shutdown(5)
  local session, err, code = mux.connect(near, 0.001)
  assert(session == nil and type(err) == "string" and type(code) == "string", "a session with nobody")
  near:close()
  far:close()
end

return function(bytes)
  if #bytes > 60000 then return end
  task.run(serve, bytes)
  task.run(serve, HELLO .. ("n"):rep(16) .. bytes)
  task.run(greet, bytes)
end
