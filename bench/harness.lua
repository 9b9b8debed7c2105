--- Runs the programs of a benchmark: each bounded in time, pinned if asked, their sockets in a directory of their own,
--- and collects the figures that they print as `RESULT name=value`.

local M = {}

M.LIMIT = 60                      -- seconds that a program may take, if its benchmark says nothing else

local function quote(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

local function output_of(command)
  local pipe <close> = assert(io.popen(command))
  return pipe:read "l"
end

--- A private directory for sockets, removed when the variable goes out of scope.
function M.directory()
  local path = assert(output_of "mktemp -d ${TMPDIR:-/tmp}/vmctl-bench.XXXXXX", "no directory for the sockets")
  return setmetatable({ path = path }, { __close = function() os.execute("rm -rf " .. quote(path)) end })
end

local Program = {}
Program.__index = Program

-- The shell says its process id, so that a server can be ended, and becomes `timeout`, which passes the signal on.
---@param options { core?: string, files?: integer, limit?: integer }
local function start(command, options)
  local steps = { "echo $$" }
  if options.files then table.insert(steps, "ulimit -n " .. options.files) end
  local limit = options.limit or M.LIMIT
  local pin = options.core and "taskset -c " .. options.core .. " " or ""
  table.insert(steps, ("exec timeout -k 2 %d %s%s"):format(limit, pin, command))
  local pipe = assert(io.popen(table.concat(steps, " && ")))
  return setmetatable({ command = command, pid = pipe:read "l", pipe = pipe, limit = limit }, Program)
end

--- False when the program ended without saying that it is ready.
function Program:wait_ready()
  for line in self.pipe:lines() do
    if line == "ready" then return true end
  end
  return false
end

--- Waits for the end and puts the figures into `results`; nil and the reason when the program failed.
function Program:finish(results)
  for line in self.pipe:lines() do
    local name, value = line:match "^RESULT ([%w_]+)=(%S+)$"
    if name then results[name] = tonumber(value) end
  end
  local ok, _, status = self.pipe:close()
  if ok then return true end
  local what = status == 124 and ("took more than %d s"):format(self.limit) or "failed with status " .. status
  return nil, ("%s %s"):format(self.command:match "%S*[%w_]+%.lua" or self.command:match "%S+", what)
end

--- Ends the program whatever it is doing.
function Program:stop()
  os.execute(("kill %s 2>/dev/null"):format(self.pid))
  return self:finish {}
end

--- Runs one side of a benchmark once: its server, if it has one, is ready before its client starts.
---@param side { server?: string, client: string, endless?: boolean } endless: the server does not end by itself
---@param options { core?: string, files?: integer, limit?: integer }
---@return table<string, number>? results
---@return string? reason
function M.run(side, options)
  local results = {}
  if not side.server then
    local ok, reason = start(side.client, options):finish(results)
    return ok and results, reason
  end
  local server = start(side.server, options)
  if not server:wait_ready() then
    local _, reason = server:finish(results)
    return nil, reason or "the server ended at once"
  end
  local ok, reason = start(side.client, options):finish(results)
  if not ok or side.endless then
    server:stop()
  else
    ok, reason = server:finish(results)
  end
  return ok and results, reason
end

--- Names the program or module that `side` lacks on this machine, or nil.
---@param side { needs?: string, client: string, unbuilt?: string } needs: "command NAME" or "module NAME"; unbuilt: what to
--- say of programs that were not built
function M.missing(side, lua)
  local kind, name = (side.needs or ""):match "^(%S+) (%S+)$"
  if kind == "command" and not output_of("command -v " .. name) then return name .. " is not installed" end
  if kind == "module" and not os.execute(("%s -e 'require %q' 2>/dev/null"):format(lua, name)) then
    return ("Lua module %s is not found"):format(name)
  end
  for command in ("\n%s\n%s"):format(side.server or "", side.client):gmatch "\n(%S+)" do
    local file = command:find "/" and io.open(command)
    if file then
      file:close()
    elseif command:find "/" then
      return side.unbuilt or command .. " is not built (make bench-peers)"
    end
  end
end

return M
