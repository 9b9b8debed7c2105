--- vmctl test: scenarios, run by busted.
local errors = require "vmctl.errors"
local process = require "vmctl.process"
local guest_command = require "vmctl.cli.guest_command"

local M = { words = 0 }

function M.describe(command)
  command:summary "Run test scenarios with busted."
  command:description("Runs busted on files of scenarios, with this Lua and these modules; its options go behind --.\n" ..
    "  vmctl test scenarios/\n  vmctl test -o junit -- scenarios/ --filter partition")
  command:option("-o --output", "busted's output: TAP, junit, json, utfTerminal …"):argname "HANDLER"
  command:option("--artefacts", "Where logs, consoles, screenshots and captures of failures go."):argname "DIR"
end

-- busted is a Lua program that names its own interpreter: ours takes its place.
local function find_busted()
  for folder in (os.getenv "PATH" or ""):gmatch "[^:]+" do
    local file = io.open(folder .. "/busted")
    if file then
      file:close()
      return folder .. "/busted"
    end
  end
end

function M.run(opts)
  local busted = find_busted()
  if not busted then return errors.fail("ENOENT", "no busted here (Debian: lua-busted; luarocks install busted)") end
  local command = {
    busted, "--lua=" .. (os.getenv "LUA" or "lua5.4"), stdin = "inherit", stdout = "inherit", stderr = "inherit",
    env = { VMCTL_ARTEFACTS = opts.artefacts, LUA_PATH_5_4 = package.path, LUA_CPATH_5_4 = package.cpath },
  }
  if opts.output or opts.json then table.insert(command, "--output=" .. (opts.output or "json")) end
  for _, word in ipairs(opts.rest) do table.insert(command, word) end
  local child <close>, err, code = process.spawn(command) -- luacheck: ignore
  if not child then return nil, err, code end
  local record
  record, err, code = child:wait(math.huge)
  if not record then return nil, err, code end
  if record.signal then return guest_command.status(record) end
  return record.exit_code == 0 and 0 or 1
end

return M
