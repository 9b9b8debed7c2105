--- The trunks of vmctl switch: their options, and a trunk over the standard streams.
local core = require "vmctl.core"

local M = {}

local STDIO = "-"
local NETWORK = "net" -- both ends have it unless told otherwise

--- Describes the options that say how to join.
function M.describe_joining(command)
  command:option("--trunk-key", "The file with the key that both ends of a trunk know."):argname "FILE"
  command:option("--network", "How both ends of a trunk call the network (net)."):argname "NAME"
end

--- Describes all options.
function M.describe(command)
  command:option("--trunk", "Join a switch elsewhere: exec:ssh HOST vmctl switch --trunk -, tcp:HOST:PORT; - is standard input and output.")
    :argname("ADDRESS"):count "*"
  command:option("--listen-trunk", "Let switches elsewhere join here."):argname("ADDRESS"):count "*"
  M.describe_joining(command)
end

--- Tells if standard output carries a trunk, so that nothing else may go there. Does not wait.
---@return boolean
function M.has_output(opts)
  for _, where in ipairs(opts.trunk) do
    if where == STDIO then return true end
  end
  return false
end

local function complain(trunk, message)
  io.stderr:write(("vmctl: trunk %s has ended: %s\n"):format(trunk.name, message))
end

--- Reads the options for `switch:trunk`.
---@param opts table
---@param on_end? function
---@return table
function M.settings(opts, on_end)
  return { network = opts.network or NETWORK, key_file = opts.trunk_key, on_end = on_end }
end

local function join_stdio(switch, opts, over)
  local stream, err, code = core.duplex(0, 1, "standard input and output")
  if not stream then return nil, err, code end
  return switch:trunk(stream, M.settings(opts, function() over:send(true, 0) end))
end

--- Makes the trunks. Waits until they are joined.
---@param switch vmctl.L2Switch
---@param opts table
---@param over vmctl.Channel gets a value when the trunk of the standard streams has ended: the command is to end with it
---@return true|nil, string?, string?
function M.connect(switch, opts, over)
  for _, where in ipairs(opts.listen_trunk) do
    local ok, err, code = switch:listen_trunks(where, M.settings(opts, complain))
    if not ok then return nil, err, code end
  end
  for _, where in ipairs(opts.trunk) do
    local ok, err, code
    if where == STDIO then
      ok, err, code = join_stdio(switch, opts, over)
    else
      ok, err, code = switch:trunk(where, M.settings(opts, complain))
    end
    if not ok then return nil, err, code end
  end
  return true
end

return M
