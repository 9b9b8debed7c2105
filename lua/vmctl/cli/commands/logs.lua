--- vmctl logs: shows the output of a guest's console.
local dial = require "vmctl.net.dial"
local log = require "vmctl.log"
local output = require "vmctl.cli.output"
local targets = require "vmctl.cli.targets"
local units = require "vmctl.cli.units"

local M = {}

local PIECE = 64 << 10
local QUIET = 0.3       -- seconds without output after which the kept output is taken as complete
local KEPT = 16 << 20   -- bytes shown at most without --follow

function M.describe(command)
  command:summary "Show what a guest has written to its console."
  command:description("Prints what a guest has written to its console, without its escape sequences.\n" ..
    "  vmctl logs web\n  vmctl logs web --tail 20 --follow")
  command:argument("target", "The name of a guest that vmctl run has started."):argname "NAME"
  command:flag("-f --follow", "Go on with what it writes, until Ctrl-C.")
  command:option("-n --tail", "Only the last lines."):argname("LINES"):convert(units.integer "--tail")
  command:flag("--raw", "Every byte as it came.")
end

local function collect(stream)
  local pieces, size = {}, 0
  while size < KEPT do
    local data, err, code = stream:read(PIECE, QUIET)
    if not data then
      if code == "EOF" or code == "ETIMEDOUT" then return table.concat(pieces) end
      return nil, err, code
    end
    pieces[#pieces + 1] = data
    size = size + #data
  end
  return table.concat(pieces)
end

-- The position at which the last `count` lines begin.
local function tail(text, count)
  local at = #text
  if text:byte(at) == 10 then at = at - 1 end
  for n = 1, count do
    while at > 0 and text:byte(at) ~= 10 do at = at - 1 end
    if at == 0 or n == count then break end
    at = at - 1
  end
  return count == 0 and "" or text:sub(at + 1)
end

local function clean(text) return log.sanitize((text:gsub("\r\n", "\n"))) end

local function follow(stream, show)
  while true do
    local data, err, code = stream:read(PIECE, math.huge)
    if not data then
      if code == "EOF" then return 0 end
      return nil, err, code
    end
    output.write(show(data))
  end
end

function M.run(opts)
  local at, err, code = targets.socket(opts.target, "console")
  if not at then return nil, err, code end
  local stream <close>, why, how = dial.dial(at) -- luacheck: ignore
  if not stream then return nil, why, how end
  local text
  text, err, code = collect(stream)
  if not text then return nil, err, code end
  if opts.tail then text = tail(text, opts.tail) end
  if opts.json then
    output.json { name = opts.target, console = text }
    return 0
  end
  local show = opts.raw and function(data) return data end or clean
  output.write(show(text))
  return opts.follow and follow(stream, show) or 0
end

return M
