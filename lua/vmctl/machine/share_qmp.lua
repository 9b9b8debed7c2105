--- Serves QMP on a shared guest's socket to any number of clients. Their commands go through QEMU's one monitor.
local json = require "vmctl.json"
local task = require "vmctl.base.task"

local M = {}

local TIMEOUT = 60    -- seconds of a command
local WRITE_TIMEOUT = 10
local MOST_LINE = 1 << 20

local function say(stream, message)
  return stream:write(assert(json.encode(message)) .. "\r\n", WRITE_TIMEOUT)
end

-- QEMU itself cannot write to this machine's files.
local function picture(vm, arguments)
  local ok, err, _, problem = vm:screendump(arguments.filename)
  if ok then return { ["return"] = json.object {} } end
  return { error = problem or { class = "GenericError", desc = err } }
end

local function is_picture(request)
  local arguments = request.arguments
  return request.execute == "screendump" and arguments and arguments.format == "png" and type(arguments.filename) == "string"
    and arguments.filename ~= "" and not arguments.device
end

local function answer(vm, client, request)
  local arguments = request.arguments
  if arguments ~= nil and (type(arguments) ~= "table" or json.is_array(arguments) and next(arguments) ~= nil) then
    return { error = { class = "GenericError", desc = "QMP input member 'arguments' must be an object" } }
  end
  if request.execute == "qmp_capabilities" then return { ["return"] = json.object {} } end
  if is_picture(request) then return picture(vm, request.arguments) end
  local value, err, _, problem = client:execute(request.execute, arguments, TIMEOUT)
  if value ~= nil then return { ["return"] = value } end
  return { error = problem or { class = "GenericError", desc = err } }
end

local function converse(vm, client, stream)
  while true do
    local line = stream:read_line(MOST_LINE, math.huge)
    if not line then return end
    local request = json.decode(line)
    local reply
    if type(request) ~= "table" or type(request.execute) ~= "string" then
      reply = { error = { class = "GenericError", desc = "QMP input must be a JSON object with 'execute'" } }
    else
      reply = answer(vm, client, request)
      reply.id = request.id
    end
    if not say(stream, reply) then return end
  end
end

local function pass_events(client, stream)
  for event in client:events(math.huge) do
    if not say(stream, event) then return end
  end
end

--- Serves a connection until it ends. Waits.
---@param vm vmctl.Machine
---@param stream vmctl.Stream which it takes over
function M.serve(vm, stream)
  local client = vm:qmp()
  local version = client and { qemu = client.version, package = client.package }
  if client and say(stream, { QMP = { version = version, capabilities = json.array {} } }) then
    task.scope(function(scope)
      task.spawn_in(scope, pass_events, client, stream)
      converse(vm, client, stream)
      scope:cancel()
    end)
  end
  stream:close()
end

return M
