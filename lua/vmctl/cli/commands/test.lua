--- vmctl test: runs scenarios with busted.
local errors = require "vmctl.errors"
local guest_command = require "vmctl.cli.guest_command"
local interrupt = require "vmctl.cli.interrupt"
local process = require "vmctl.process"
local signals = require "vmctl.signals"

local M = { words = 0 }

local GRACE, REPORT, LAST = 0.5, 20, 5 -- seconds until a signal is passed on; for busted's report; from SIGTERM to SIGKILL

function M.describe(command)
  command:summary "Run test scenarios with busted."
  command:description("Runs busted on files of scenarios, with this Lua and these modules; its options go behind --.\n" ..
    "  vmctl test scenarios/\n  vmctl test -o junit -- scenarios/ --filter partition")
  command:option("-o --output", "busted's output: TAP, junit, json, utfTerminal …"):argname "HANDLER"
  command:option("--artefacts", "Where logs, consoles, screenshots and captures of failures go."):argname "DIR"
end

-- Finds busted's program, and reads its first line.
local function find_busted()
  for folder in (os.getenv "PATH" or ""):gmatch "[^:]+" do
    local file = io.open(folder .. "/busted")
    if file then
      local head = file:read "l"
      file:close()
      return folder .. "/busted", head or ""
    end
  end
end

-- A Lua program is run by this Lua, as one process that receives the signals. LuaRocks installs a shell script that executes Lua.
local function command_of(path, head)
  local lua = os.getenv "LUA" or "lua5.4"
  if head:find "^#!.*lua" then return { lua, path, "--ignore-lua" } end
  return { path, "--lua=" .. lua }
end

-- Passes a signal to busted, unless busted ends by itself: a terminal or a shell sends signals to the whole group. Kills a busted that
-- does not end in time.
local function end_child(child, name)
  if name ~= "INT" or not child:wait(GRACE) then child:kill(name) end
  if child:wait(REPORT) then return end
  child:kill "TERM"
  if not child:wait(LAST) then child:kill "KILL" end
end

local function wait_for(child)
  local ended_by
  local guard <close> = interrupt.handle(function(name) -- luacheck: ignore
    if ended_by then return child:kill "KILL" end
    ended_by = name
    end_child(child, name)
  end)
  local record, err, code = child:wait(math.huge)
  if ended_by then return 128 + signals.number(ended_by) end
  if not record then return nil, err, code end
  if record.signal then return guest_command.status(record) end
  return record.exit_code == 0 and 0 or 1
end

function M.run(opts)
  local busted, head = find_busted()
  if not busted then return errors.fail("ENOENT", "no busted here (Debian: lua-busted; luarocks install busted)") end
  local command = command_of(busted, head)
  if opts.output or opts.json then table.insert(command, "--output=" .. (opts.output or "json")) end
  for _, word in ipairs(opts.rest) do table.insert(command, word) end
  command.stdin, command.stdout, command.stderr = "inherit", "inherit", "inherit"
  command.group, command.death_signal = false, "TERM" -- it shares our terminal, and ends with us
  command.env = { VMCTL_ARTEFACTS = opts.artefacts, LUA_PATH_5_4 = package.path, LUA_CPATH_5_4 = package.cpath }
  local child <close>, err, code = process.spawn(command) -- luacheck: ignore
  if not child then return nil, err, code end
  return wait_for(child)
end

return M
