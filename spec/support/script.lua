--- Lua scripts in processes of their own: for limits, signals and exits that would concern the specs themselves.
local core = require "vmctl.core"

local M = {}

--- Starts a Lua script; its modules are found as ours are.
---@param script string
---@param options? { command: string[], env: string[] } a command in front of it, further variables
---@return vmctl.Process process, vmctl.Stream stderr
function M.start(script, options)
  options = options or {}
  local argv = table.move(options.command or {}, 1, #(options.command or {}), 1, {})
  for _, word in ipairs { "lua5.4", "-e", script } do argv[#argv + 1] = word end
  local env = { LUA_PATH = package.path, LUA_CPATH = package.cpath }
  for _, name in ipairs { "PATH", "TMPDIR", "LD_PRELOAD", "ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS" } do
    env[name] = os.getenv(name)
  end
  for _, variable in ipairs(options.env or {}) do
    local name, value = variable:match "^([^=]*)=(.*)$"
    env[name] = value
  end
  local process, _, _, stderr = core.process { argv = argv, env = env, clear_env = true, stderr = "pipe", group = true }
  return assert(process, stderr), stderr
end

--- Runs a Lua script to its end. Returns its exit code (-1 and the signal) and what it wrote to stderr.
---@return integer code, integer? signal, string stderr
function M.run(script, options)
  local process, stderr = M.start(script, options)
  local parts, part = {}, stderr:read()
  while part do
    parts[#parts + 1] = part
    part = stderr:read()
  end
  local code, signal = process:wait()
  process:close()
  return code, signal, table.concat(parts)
end

--- Runs a Lua script that must end well; what it wrote to stderr is the error if not.
function M.check(script, options)
  local code, signal, text = M.run(script, options)
  if code ~= 0 or text ~= "" then error(("exit code %d, signal %s: %s"):format(code, tostring(signal), text), 2) end
end

return M
