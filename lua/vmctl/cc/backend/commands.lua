--- CmdNew to CmdKill. In the reference some of them wait for ever, kill nothing or lose output; here each does its work.
local command = require "vmctl.cc.backend.command"
local failure = require "vmctl.cc.backend.failure"
local fields = require "vmctl.cc.backend.fields"
local response = require "vmctl.cc.response"

local M = {}

local pack = string.pack

local function add(b, name, args)
  local handle, err, code = b.handles:add("cmd", command.new(b.workspace, name, args))
  if not handle then return nil, err, code end
  return pack(">I1I8", 0, handle)
end

-- The image's entrypoint, with the given arguments or else its default command.
local function entrypoint(b, args)
  local image = b.image or {}
  local argv = {}
  for _, word in ipairs(image.entrypoint or {}) do argv[#argv + 1] = word end
  for _, word in ipairs(#args > 0 and args or image.command or {}) do argv[#argv + 1] = word end
  if #argv == 0 then return failure.say("entrypoint", "", "the image has none") end
  return add(b, table.remove(argv, 1), argv)
end

local requests = {}

function requests.CMD_SET_DIR(cmd, dir)
  cmd.dir = dir
end

function requests.CMD_SET_ENV(cmd, key, value)
  if key == "" or key:find("=", 1, true) then return failure.argument "an empty name, or '=' in it" end
  cmd:set_env(key, value)
end

function requests.CMD_GET_ENV(cmd, key)
  return pack(">I1s4", 0, cmd:get_env(key))
end

function requests.CMD_ENVIRON(cmd)
  return response.new():success():string_slice(cmd:environ())
end

function requests.CMD_START(cmd)
  local ok, err, code, where = cmd:start()
  if not ok then return nil, err, code, where end
end

local function exit_code(code, err, number, where)
  if not code then return nil, err, number, where end
  return pack(">I1i4", 0, code)
end

function requests.CMD_WAIT(cmd)
  return exit_code(cmd:wait())
end

-- By the reference's rule, a failure with an exit code other than 0 is a success with that code, also "already started".
function requests.CMD_RUN(cmd)
  local ok, err, code, where = cmd:start()
  if ok then return exit_code(cmd:wait()) end
  if cmd:known_exit_code() ~= 0 then return exit_code(cmd.exit_code) end
  return nil, err, code, where
end

local function output(stderr)
  return function(cmd)
    local data, result, number, where = cmd:output(stderr)
    if not data then return nil, result, number, where end
    return pack(">I1s4i4", 0, data, result)
  end
end

requests.CMD_OUTPUT, requests.CMD_COMBINED_OUTPUT = output "null", output "stdout"

function requests.CMD_EXIT_CODE(cmd)
  return exit_code(cmd:known_exit_code())
end

-- Forgets a command. A running one goes on, until the instance ends.
local function free(b, handle)
  local cmd = b.handles:take("cmd", handle)
  if cmd then b:leave(cmd) end
end

local function kill(b, handle)
  local cmd = b.handles:take("cmd", handle)
  if not cmd then return end
  cmd:kill()
  b:leave(cmd)
end

--- Registers the handlers.
---@param router vmctl.CcRouter
---@param b vmctl.CcBackend
function M.install(router, b)
  local function present(first)
    local ok, err, code = b:present()
    if not ok then return nil, err, code end
    return first
  end
  fields.on(router, "CMD_NEW", present, function(name, args) return add(b, name, args) end)
  fields.on(router, "CMD_ENTRYPOINT", present, function(args) return entrypoint(b, args) end)
  for kind, fn in pairs(requests) do fields.on(router, kind, b.handles:getter "cmd", fn) end
  local function any(handle) return handle end -- an unknown handle is a success
  fields.on(router, "CMD_FREE", any, function(handle) return free(b, handle) end)
  fields.on(router, "CMD_KILL", any, function(handle) return kill(b, handle) end)
end

return M
