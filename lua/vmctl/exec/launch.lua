--- Makes a child process of a request: its command line, environment, folder and user.
local core = require "vmctl.core"
local fs = require "vmctl.base.fs"
local job = require "vmctl.process.job"
local users = require "vmctl.process.users"
local wire = require "vmctl.exec.wire"

local M = {}

local SYSTEM = {} -- folders of the system, whose file systems do not hang alone
for folder in ("/bin /sbin /usr/bin /usr/sbin /usr/local/bin /usr/local/sbin"):gmatch "%S+" do SYSTEM[folder] = true end
local EXECUTABLE = 73 -- 0111
local NONE = {}
local OWN = { "HOME", "USER", "LOGNAME", "SHELL", "MAIL" } -- variables of the agent's own user

-- Exit codes of commands that could not be started, as a shell has them.
local CANNOT, NOT_FOUND = 126, 127

local function decode_all(encoded)
  local list = {}
  for key, value in pairs(encoded) do
    local bytes = core.base64_decode(value)
    if not bytes then return nil, ("request: member %s is not base64"):format(key) end
    list[key] = bytes
  end
  return list
end

-- The exact arguments if the host has sent them; else `sh -c`, as the reference does, with `sh` looked up in PATH.
local function command_line(request)
  if not request.argv_b64 then return { "sh", "-c", request.command } end
  local argv, err = decode_all(request.argv_b64)
  if not argv then return nil, err end
  if not argv[1] then return nil, "request: an empty argv" end
  return argv
end

local function given(text)
  return text ~= "" and text or nil
end

local function add_to(env, layer)
  for name, value in pairs(layer) do
    if (name .. value):find("\0", 1, true) or name == "" or name:find("=", 1, true) then
      return nil, "request: a NUL byte or '=' in the environment"
    end
    env[name] = value
  end
  return true
end

-- The additions to the agent's environment for the command: those of a login of the user, then the server's, then the request's.
local function environment(request, opts)
  local env, user, ok, err = {}, given(request.user), true, nil
  for _, name in ipairs(user and OWN or NONE) do env[name] = false end
  users.complete(env, user, os.getenv)
  if opts.env then ok, err = add_to(env, opts.env) end
  if ok and request.env then ok, err = add_to(env, request.env) end
  if ok and request.env_b64 then
    ok, err = decode_all(request.env_b64)
    if ok then ok, err = add_to(env, ok) end
  end
  if not ok then return nil, err end
  return env
end

--- The argument of process.spawn for a request. Does not wait.
---@param payload string
---@param opts { env: table<string, string>? }
---@return table|nil spec
---@return table|string request # or a message
function M.describe(payload, opts)
  local request, err = wire.decode_request(payload)
  if not request then return nil, err end
  local spec
  spec, err = command_line(request)
  if not spec then return nil, err end
  local nul = request.working_dir and request.working_dir:find("\0", 1, true)
  for i = 1, #spec do nul = nul or spec[i]:find("\0", 1, true) end
  if nul then return nil, "request: a NUL byte in the command" end
  spec.env, err = environment(request, opts)
  if not spec.env then return nil, err end
  spec.cwd, spec.user = given(request.working_dir), given(request.user)
  return spec, request
end

-- A missing program is "not found"; any other failure means that it could not be run.
local function exit_code(code, step)
  local missing = code == "ENOENT" or code == "ENOTDIR" or step == "user"
  return missing and NOT_FOUND or CANNOT
end

-- The files that may be the program, in the order in which the kernel is asked for them.
local function programs(spec)
  local list, own = {}, os.getenv "PATH" -- folders of the agent's own PATH do not hang
  if spec[1]:find("/", 1, true) then
    list[1] = spec[1]
  elseif spec.env.PATH and spec.env.PATH ~= own then
    for folder in (spec.env.PATH .. ":"):gmatch "([^:]*):" do list[#list + 1] = (folder == "" and "." or folder) .. "/" .. spec[1] end
  end
  return list
end

-- Looks at a file, and tells if it is a program.
local function ask_for(path)
  local there, err, code = fs.stat(path)
  if not there and (code == "ETIMEDOUT" or code == "EBUSY" or code == "ECANCELED") then return nil, err, code end
  return there ~= nil and there.type == "file" and there.mode & EXECUTABLE ~= 0
end

-- The kernel opens folder and program for the new process, and the agent waits for that. So a worker looks at them first, in case their
-- file system hangs; the start itself finds other faults.
local function await_files(spec)
  local found, err, code = false, nil, nil
  if spec.cwd then found, err, code = ask_for(spec.cwd) end
  for _, path in ipairs(found == false and programs(spec) or {}) do
    if path:sub(1, 1) ~= "/" and spec.cwd then path = spec.cwd .. "/" .. path end
    if not SYSTEM[path:match "^(.*)/"] then found, err, code = ask_for(path) end
    if found ~= false then break end
  end
  if found == nil then return nil, ("start %s: %s"):format(spec[1], err), code end
  return true
end

--- Starts the command of a request.
---@param stdio table its three streams, as for process.spawn
---@return vmctl.Child|nil child, table request; or nil, { text, exit code that stands for it, is the host one of ours? }
function M.start(payload, opts, stdio)
  local spec, request = M.describe(payload, opts)
  if not spec then return nil, { text = request, exit_code = CANNOT } end
  for name, value in pairs(stdio) do spec[name] = value end
  if spec.tty then spec.rows, spec.cols = request.rows, request.cols end
  local child, err, code, step = await_files(spec)
  if child then child, err, code, step = job.start(spec, request.keep) end
  if child then return child, request end
  return nil, { text = err, exit_code = exit_code(code, step), ours = request.argv_b64 ~= nil }
end

return M
