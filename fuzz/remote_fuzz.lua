-- Properties that hold for any bytes from the other side of a connection to another machine. Returns a function that raises when one
-- does not.
local core = require "vmctl.core"
local task = require "vmctl.base.task"
local where = require "vmctl.remote.where"
local wire = require "vmctl.remote.wire"

local function given(bytes, read)
  local near, far = core.pair()
  assert(far:write(bytes, 5))
  far:close()
  local value, err, code = read(near)
  near:close()
  if value == nil then assert(type(err) == "string" and type(code) == "string" and code ~= "", "a failure without a reason") end
  return value, err
end

local function hello(side, noise)
  return function(stream) return wire.read_hello(stream, side, 5, noise) end
end

local function check(bytes)
  local version = given(bytes, hello "serve")
  assert(version == nil or #version < 256 and version:find "^[%w._+-]+$", "a version of other characters")
  given(bytes, hello("use", 0))
  local value, err = given(bytes, function(stream) return wire.answer(stream, 5) end)
  assert(value == nil or type(value) == "table" and value.error == nil, "a refusal that is none")
  if value == nil then assert(not err:find "[%z\1-\8\11-\31\127]", "bytes that a terminal obeys") end
end

return function(bytes)
  if #bytes > 60000 then return end
  task.run(check, bytes)
  local at = where.parse("ssh:" .. bytes)
  if at then
    local argv = at.argv
    assert(argv[#argv] == "exec 'vmctl' 'serve' '--stdio'" or argv[#argv] == "exec vmctl serve --stdio", "another command")
    assert(argv[#argv - 2] == "--" and argv[#argv - 1]:find "^[%w_.:%%+@-]+$" and argv[#argv - 1]:sub(1, 1) ~= "-", "a name for a shell")
  end
end
