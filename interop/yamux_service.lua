--- Serves the streams that the other side opens: interop/yamux_go/service.go has the same in Go.
local core = require "vmctl.core"
local vmctl = require "vmctl"

local M = { LIMIT = 20 } -- seconds

local LIMIT = M.LIMIT
local CYCLE = 251 -- bytes: no piece on the wire is a multiple of that

local cycle = {}
for i = 1, CYCLE do cycle[i] = string.char(i - 1) end
cycle = table.concat(cycle)

--- Bytes that say where they belong.
function M.pattern(size)
  return cycle:rep(size // CYCLE + 1):sub(1, size)
end

function M.sum(data)
  local hash = core.sha256()
  hash:update(data)
  return hash:hex()
end

--- All that a stream has until its end; nil when that is none.
function M.read_all(s)
  local parts = {}
  while true do
    local data, err, code = s:read { timeout = LIMIT }
    if data then
      parts[#parts + 1] = data
    elseif code == "EOF" then
      return table.concat(parts)
    else
      return nil, err, code
    end
  end
end

--- Sends a text on a new stream of the session, and returns the whole answer.
function M.ask(session, line, text)
  local s <close> = assert(session:open())
  local writing = vmctl.spawn(function() return s:write(line .. "\n" .. text, LIMIT) and s:shutdown(LIMIT) end)
  local answer, err, code = M.read_all(s)
  writing:join(LIMIT)
  return answer, err, code
end

local jobs = {}

function jobs.echo(s)
  for data in function() return (s:read { timeout = LIMIT }) end do assert(s:write(data, LIMIT)) end
end

function jobs.count(s)
  s:write(tostring(#assert(M.read_all(s))), LIMIT)
end

function jobs.both(s, _, size)
  local reading = vmctl.spawn(M.read_all, s)
  if s:write(M.pattern(size), LIMIT) then s:write(M.sum(reading:join(LIMIT)), LIMIT) end
end

function jobs.open(s, session, count)
  for i = 1, count do
    local answer, err = M.ask(session, "echo", "number " .. i)
    if answer ~= "number " .. i then return s:write(tostring(answer or err), LIMIT) end
  end
  s:write("ok", LIMIT)
end

function jobs.ping(s, session, count)
  for _ = 1, count do assert(session:ping(LIMIT)) end
  s:write("ok", LIMIT)
end

function jobs.goaway(s, session)
  s:write(session:go_away() and "said" or "not said", LIMIT)
  M.read_all(s)
  s:write(" and done", LIMIT)
end

function jobs.leave() end

--- Does the job that a stream's first line names.
function M.work(s, session)
  local closing <close> = s -- luacheck: ignore
  local line = s:read_line(100, LIMIT)
  local name, number = (line or ""):match "^(%l+) ?(%d*)$"
  if jobs[name] then jobs[name](s, session, math.tointeger(number)) end
end

return M
