--- A Lua prompt on this program's terminal. The loop runs while it waits for a line, so machines, networks and tasks go on.
local core = require "vmctl.core"
local terminal = require "vmctl.scenario.terminal"

local M = {}

local LONGEST = 65536 -- bytes of a line

local function say(...)
  io.stdout:write(...)
  io.stdout:flush()
end

local function show(ok, ...)
  if not ok then return say("error: ", tostring((...)), "\n") end
  local shown = table.pack(...)
  for i = 1, shown.n do shown[i] = tostring(shown[i]) end
  if shown.n > 0 then say(table.concat(shown, "\t", 1, shown.n), "\n") end
end

-- Compiles a text. Returns a function; or nil, the reason, and true if more lines may complete the text.
local function compile(text, names)
  local fn = load("return " .. text, "=prompt", "t", names)
  if fn then return fn end
  local err
  fn, err = load(text, "=prompt", "t", names)
  return fn, err, err ~= nil and err:find("<eof>", 1, true) ~= nil
end

local function read_line(input, prompt)
  say(prompt)
  local line = input:read_line(LONGEST, math.huge)
  return line and line:gsub("\r$", "")
end

-- Reads a statement, which may have several lines. An empty line ends a statement that is not complete.
local function read_statement(input, names)
  local text = read_line(input, "> ")
  while text and text ~= "continue" do
    local fn, err, is_open = compile(text, names)
    if fn then return fn end
    local more = is_open and read_line(input, ">> ")
    if not more or more == "" then
      say("error: ", err, "\n")
      return function() end
    end
    text = text .. "\n" .. more
  end
end

local function converse(where, names)
  local input <close>, err, code = core.standard_input()
  if not input then return nil, err, code end
  say(("\nThe test has stopped at %s. A Lua prompt; 'continue' or Ctrl-D goes on.\n"):format(where))
  for fn in function() return read_statement(input, names) end do show(pcall(fn)) end
  say "\n"
  return true
end

--- Reads and runs Lua until `continue` or the end of the input. Waits.
---@param where string the line of the test
---@param names table<string, any> names for the lines, beside Lua's globals; assignments go here, too
---@return true|nil, string?, string? code ENOTTY: standard input or output is no terminal
function M.run(where, names)
  local ok, err, code = terminal.has_terminal()
  if not ok then return nil, err, code end
  setmetatable(names, { __index = _G })
  return terminal.at_leisure(converse, where, names)
end

return M
