--- From a command as users write it to the request that an agent of a given revision understands.
local core = require "vmctl.core"
local options = require "vmctl.options"
local quote = require "vmctl.protocol.exec.quote"
local wire = require "vmctl.protocol.exec.wire"

local M = {}

local T = wire.types

local known = {
  cwd = "string", env = "table", stdin = "any", timeout = "number", check = "boolean", user = "string", tty = "boolean",
  rows = "integer", cols = "integer", max_output = "integer", on_output = "function", merge_stderr = "boolean",
}

--- Splits { "cmd", "arg", …, cwd = … } (or a string: a shell command) into argv or command, and options; raises at the
-- caller's line for what is neither.
---@return { argv: string[]?, command: string?, options: table }
function M.parse(command, where)
  if type(command) == "string" then command = { command, shell = true } end
  if type(command) ~= "table" then error(("%s: a command expected, a list or a string"):format(where), 3) end
  local argv, opts = {}, {}
  for key, value in pairs(command) do
    if math.type(key) == "integer" then argv[key] = value elseif key ~= "shell" then opts[key] = value end
  end
  options.check(opts, known, where)
  for i = 1, math.max(#argv, 1) do
    if type(argv[i]) ~= "string" then error(("%s: argument %d is no string"):format(where, i), 3) end
    if argv[i]:find("\0", 1, true) then error(("%s: argument %d holds a NUL byte"):format(where, i), 3) end
  end
  for name, value in pairs(opts.env or {}) do
    if type(name) ~= "string" or type(value) ~= "string" or (name .. value):find("\0", 1, true) or name:find "=" then
      error(("%s: env holds something other than names and strings"):format(where), 3)
    end
  end
  if command.shell then return { command = argv[1], options = opts } end
  return { argv = argv, options = opts }
end

--- A name for messages.
function M.title(parsed)
  local title = parsed.command or parsed.argv[1]
  return #title > 60 and title:sub(1, 57) .. "..." or title
end

local function base64_all(list)
  local encoded = {}
  for key, value in pairs(list) do encoded[key] = core.base64_encode(value) end
  return encoded
end

-- For agents of the reference everything goes through the shell; ours gets the exact bytes beside it.
local function shell_command(parsed, env_bytes)
  if parsed.argv then return quote.command(parsed.argv, env_bytes) end
  if quote.is_text(parsed.command) and not next(env_bytes) then return parsed.command end
  return quote.command({ "sh", "-c", parsed.command }, env_bytes)
end

--- The request and its mode.
---@param revision "vmctl"|"0.2"|"0.1.9"
---@param type integer the message type it will be sent as
---@return string|nil json, string?, string?
function M.encode(parsed, revision, type)
  local opts = parsed.options
  local env_text, env_bytes = quote.split_env(opts.env)
  local request = { working_dir = opts.cwd, user = opts.user, env = env_text }
  request.command = shell_command(parsed, env_bytes)
  if opts.merge_stderr then request.command = "{ " .. request.command .. "\n} 2>&1" end
  if type == T.EXEC_TTY then
    request.rows, request.cols = opts.rows or 0, opts.cols or 0
    if not env_text.TERM then request.env.TERM = os.getenv "TERM" or "xterm" end
  end
  if revision == "vmctl" then
    request.command = wire.text(request.command)
    local argv = not opts.merge_stderr and parsed.argv
    if argv then
      request.argv_b64 = base64_all(argv)
    elseif next(env_bytes) or not quote.is_text(parsed.command or "") then
      request.argv_b64 = base64_all { "/bin/sh", "-c", parsed.command }
    end
    if next(env_bytes) then request.env_b64 = base64_all(env_bytes) end
  end
  return wire.encode_request(request)
end

return M
