--- vmctl console: connects a guest's console to this terminal.
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local output = require "vmctl.cli.output"
local targets = require "vmctl.cli.targets"
local task = require "vmctl.base.task"

local M = { json = false }

local ESCAPE = "\29" -- Ctrl-]
local PIECE = 64 << 10

function M.describe(command)
  command:summary "Show a guest's console."
  command:description "Shows what a guest has written to its console and what it writes, and types there; Ctrl-] ends it."
  command:argument("target", "The name of a guest that vmctl run has started."):argname "NAME"
  command:flag("--no-follow", "Only show what is there now.")
end

local function show(stream, timeout)
  while true do
    local data, err, code = stream:read(PIECE, timeout)
    if not data then
      if code == "EOF" or code == "ETIMEDOUT" and timeout ~= math.huge then return 0 end
      return nil, err, code
    end
    output.write(data)
  end
end

local function type_keys(stream)
  local keys <close> = assert(core.standard_input()) -- luacheck: ignore
  while true do
    local data = keys:read(PIECE, math.huge)
    local at = data and data:find(ESCAPE, 1, true)
    if not data or at then return 0 end
    if not stream:write(data, 10) then return 0 end
  end
end

local function converse(stream)
  local raw <close> = assert(core.terminal_raw(0)) -- luacheck: ignore
  return task.race {
    function() return show(stream, math.huge) end,
    function() return type_keys(stream) end,
  }
end

local QUIET = 0.3 -- seconds without output after which the kept output is taken as complete

function M.run(opts)
  local at, err, code = targets.socket(opts.target, "console")
  if not at then return nil, err, code end
  local stream <close>, why, how = dial.dial(at) -- luacheck: ignore
  if not stream then return nil, why, how end
  if opts.no_follow then return show(stream, QUIET) end
  if core.isatty(0) then return converse(stream) end
  return show(stream, math.huge)
end

return M
