--- Agents that behave as the reference ones do, bad habits included; written from docs/wire/exec.md (whose sections are
--- named in brackets), with framing of their own. Commands really run, by `sh -c`.
local cjson = require "cjson"
local core = require "vmctl.core"
local locks = require "vmctl.base.lock"
local process = require "vmctl.process"
local vmctl = require "vmctl"

local M = {}

local agent = {}
local agent_mt = { __index = agent }

local PIECE = 4096 -- [#message-types] bytes of the longest Stdout and Stderr

-- [#message-types] The Go decoder makes U+FFFD of what is not UTF-8.
local function go_text(bytes)
  return utf8.len(bytes) and bytes or (bytes:gsub("[\x80-\xff]", "\u{fffd}"))
end

local function code_of(record) return record and record.exit_code or -1 end

local function read_all(conn, n)
  local parts = {}
  while n > 0 do
    local part = conn:read(math.min(n, 65536), math.huge)
    if not part then return nil end
    parts[#parts + 1] = part
    n = n - #part
  end
  return table.concat(parts)
end

local function read_message(conn)
  local head = read_all(conn, 5)
  if not head then return nil end
  local type, length = (">BI4"):unpack(head)
  local payload = read_all(conn, length)
  if payload then return type, payload end
end

-- [#known-weaknesses-of-the-reference] Header and body in two writes, with no lock around both. (One around each write, as the
-- kernel has it.)
function agent:send(conn, type, payload)
  local function put(bytes) return self.locks[conn]:with(nil, conn.write, conn, bytes, math.huge) end
  put((">BI4"):pack(type, #payload))
  if self.quirks.race then vmctl.yield() end
  return put(payload)
end

function agent:result(conn, exit_code, stdout, stderr, err)
  if self.quirks.no_exit then return end
  exit_code = self.quirks.exit_code or exit_code
  self:send(conn, 2, cjson.encode { exit_code = exit_code, stdout = stdout and core.base64_encode(stdout) or cjson.null,
    stderr = stderr and core.base64_encode(stderr) or cjson.null, error = err or "" })
end

function agent:exit(conn, exit_code)
  if self.quirks.no_exit then return end
  exit_code = self.quirks.exit_code and not self.probed and 0 or self.quirks.exit_code or exit_code
  self.probed = true
  self:send(conn, 10, self.quirks.short_exit and "\0" or (">i4"):pack(exit_code))
end

-- "Traps": Exit and the last Stdout, each in two writes of a thread of its own. quirks.order has them in some order: "Hhbc" is
-- Exit's header, Stdout's header, its body, Exit's code. With quirks.dribble each byte comes alone.
function agent:torn(conn, exit_code, output)
  local writes = { H = (">BI4"):pack(10, 4), c = (">i4"):pack(exit_code), h = (">BI4"):pack(3, #output), b = output }
  for name in self.quirks.order:gmatch "%a" do
    for piece in writes[name]:gmatch(self.quirks.dribble and "." or ".*") do conn:write(piece, math.huge) conn:flush(math.huge) end
  end
end

local function decode(payload)
  local ok, request = pcall(cjson.decode, go_text(payload))
  if not ok or type(request) ~= "table" then return nil, "invalid character looking for beginning of value" end
  return request
end

-- [#what-the-guest-does-with-a-request] Only `sh -c command`: args and stdin do not count. nil, text, exit code when it does not start.
function agent:start(request, stdio)
  local spec = { "sh", "-c", request.command or "", env = {}, session = true, sweep = true }
  for name, value in pairs(self.quirks.env or {}) do spec.env[name] = value end
  for name, value in pairs(request.env or {}) do spec.env[name] = value end
  if request.working_dir ~= "" then spec.cwd = request.working_dir end
  if self.revision ~= "0.1.9" and request.user ~= "" then spec.user = request.user end
  for name, value in pairs(stdio) do spec[name] = value end
  local child, err, code = process.spawn(spec)
  if child then
    self.children[#self.children + 1] = child
    return child
  end
  if err:find "unknown user" then return nil, "matchlock: " .. err, 127 end
  local text = code == "ENOENT" and "no such file or directory" or code == "E2BIG" and "argument list too long" or err
  return nil, "fork/exec /proc/self/exe: " .. text, 1
end


-- [#signals] The shell is PID 1 of its namespace: of signals it has no handler for only SIGKILL has an effect.
local function signal_first(child, number)
  local status = io.open(("/proc/%d/status"):format(child.pid))
  local caught = status and tonumber(status:read "a":match "SigCgt:%s*(%x+)", 16) or 0
  if status then status:close() end
  if number == 9 or caught & (1 << (number - 1)) ~= 0 then child:kill(number, true) end
end

local function signal_group(child, number)
  signal_first(child, number)
  for _, pid in ipairs(core.fs.list "/proc") do
    local stat = pid:match "^%d+$" and io.open("/proc/" .. pid .. "/stat")
    if stat then
      local group = (stat:read "a" or ""):match "%) %a %d+ (%d+)"
      stat:close()
      if tonumber(group) == child.pid and tonumber(pid) ~= child.pid then os.execute(("kill -%d %s"):format(number, pid)) end
    end
  end
end

-- [#host-disconnects] from 0.1.12 on
function agent:cancel(child)
  signal_group(child, 15)
  if not child:wait(self.grace) then signal_group(child, 9) end
end

-- [#host-disconnects] Whatever comes after the request of Exec and ExecStream is taken for the host's end. 0.1.9 does not look.
function agent:watch(conn, child)
  if self.revision == "0.1.9" then return end
  return vmctl.spawn(function()
    local extra = conn:read(1, math.huge)
    self.seen[#self.seen + 1] = { "watched", extra }
    self:cancel(child)
  end)
end

-- [#who-closes] 0.2.x: close() while a thread still reads the socket: no end of stream until the host closes.
function agent:linger(conn)
  if self.revision ~= "0.1.9" then conn:read_exact(1 << 20, math.huge) end
end

local function collect(child, name)
  return vmctl.spawn(function()
    local parts = {}
    for data in function() return (child[name]:read(PIECE, math.huge)) end do parts[#parts + 1] = data end
    return table.concat(parts)
  end)
end

function agent:pump(conn, type, from)
  return vmctl.spawn(function()
    for data in function() return (from:read(PIECE, math.huge)) end do self:send(conn, type, data) end
  end)
end

local handlers = {}

handlers[1] = function(self, conn, payload) -- Exec
  local request, bad = decode(payload)
  if not request then return self:result(conn, 0, nil, nil, bad) end -- [#outcomes] exit code 0!
  local child, err, failed = self:start(request, { stdout = "pipe", stderr = "pipe" })
  if not child and failed == 127 then return self:result(conn, 127, "", err .. "\n") end
  if not child then return self:result(conn, failed, nil, nil, err) end
  local watcher = self:watch(conn, child)
  local stdout, stderr = collect(child, "stdout"), collect(child, "stderr")
  local record = child:wait()
  self:result(conn, code_of(record), stdout:join(), stderr:join())
  if watcher then watcher:cancel() end
  self:linger(conn)
end

handlers[11] = function(self, conn, payload) -- ExecStream
  local request, bad = decode(payload)
  if not request then return self:result(conn, 0, nil, nil, bad) end
  local child, err, failed = self:start(request, { stdout = "pipe", stderr = "pipe" })
  if not child then return self:result(conn, failed, nil, nil, err) end
  local watcher = self:watch(conn, child)
  local stdout, stderr = self:pump(conn, 3, child.stdout), self:pump(conn, 4, child.stderr)
  local record = child:wait()
  stdout:join()
  stderr:join()
  self:result(conn, code_of(record))
  if watcher then watcher:cancel() end
  self:linger(conn)
end

-- [#sequences] What may follow a request of ExecTTY and ExecPipe. The handler of a message returns true to stop reading.
function agent:follow(conn, actions)
  return vmctl.spawn(function()
    for type, payload in function() return read_message(conn) end do
      self.seen[#self.seen + 1] = { type, payload }
      if actions[type] and actions[type](payload) then return end
    end
    if actions.gone then actions.gone() end
  end)
end

handlers[9] = function(self, conn, payload) -- ExecTTY
  local request = decode(payload)
  if not request then return self:exit(conn, 1) end
  local sized = (request.rows or 0) > 0 and (request.cols or 0) > 0
  local child, _, failed = self:start(request, { tty = true, rows = sized and request.rows or nil,
    cols = sized and request.cols or nil })
  if not child then return self:exit(conn, failed) end -- [#outcomes] no text
  local follower = self:follow(conn, { -- [#host-disconnects] nothing happens when the host goes
    [5] = function(bytes) if bytes ~= "" then signal_first(child, bytes:byte()) end end,
    [7] = function(bytes) child.stdin:write(bytes) end,
    [8] = function(bytes) if #bytes >= 4 then child.stdin:resize((">I2I2"):unpack(bytes)) end end,
  })
  if self.quirks.order then
    local output = collect(child, "stdin")
    self:torn(conn, code_of(child:wait()), output:join())
  elseif self.quirks.early_exit then -- "Traps": the tail comes behind Exit
    local output = collect(child, "stdin")
    self:exit(conn, code_of(child:wait()))
    vmctl.sleep(0.02)
    self:send(conn, 3, output:join())
  else
    local output = self:pump(conn, 3, child.stdin)
    local record = child:wait()
    output:join()
    self:exit(conn, code_of(record))
  end
  follower:join() -- [#who-closes] no end of stream, at every revision
end

handlers[12] = function(self, conn, payload) -- ExecPipe
  local request, bad = decode(payload)
  local child, err, failed
  if request then child, err, failed = self:start(request, { stdin = "pipe", stdout = "pipe", stderr = "pipe" }) end
  if not child then
    self:send(conn, 4, (err or bad) .. "\n")
    return self:exit(conn, failed or 1)
  end
  local ended = false
  local follower = self:follow(conn, {
    [5] = function(bytes) if bytes ~= "" then signal_group(child, bytes:byte()) end end,
    [7] = function(bytes)
      if bytes ~= "" then
        child.stdin:write(bytes, math.huge)
        return false
      end
      child.stdin:close()
      ended = true
      return true -- [#end-of-input] it reads no more
    end,
    gone = function()
      child.stdin:close()
      self:cancel(child)
    end,
  })
  local stdout, stderr = self:pump(conn, 3, child.stdout), self:pump(conn, 4, child.stderr)
  local record = child:wait()
  stdout:join()
  stderr:join()
  self:exit(conn, code_of(record))
  if not ended then follower:join() end -- [#who-closes] an end of stream only after the end of input
end

local function copy(from, to)
  for data in function() return (from:read(PIECE, math.huge)) end do
    if not to:write(data, math.huge) then break end
  end
end

handlers[13] = function(self, conn, payload) -- PortForward [#later-message-types]
  local request = decode(payload) or {}
  local target, err = vmctl.dial { kind = "tcp", host = request.host or "127.0.0.1", port = math.tointeger(request.port) }
  if not target then return self:send(conn, 4, "connect failed: " .. err) end
  self:send(conn, 6, "")
  local back = vmctl.spawn(copy, target, conn)
  copy(conn, target)
  target:shutdown()
  back:join()
  target:close()
end

local function file_handler(fn)
  return function(self, conn, payload)
    local request = decode(payload)
    local result, err = fn(request)
    self:send(conn, 17, result and (next(result) and cjson.encode(result) or "{}") or cjson.encode { error = err })
  end
end

handlers[14] = file_handler(function(request) -- WriteFile
  os.execute(("mkdir -p '%s' 2>/dev/null"):format(request.path:match "^(.*)/"))
  local fresh = not core.fs.stat(request.path)
  local file, err = io.open(request.path, "wb")
  if not file then return nil, err end
  file:write((assert(core.base64_decode(request.content or ""))))
  file:close()
  local mode = math.tointeger(request.mode or 0)
  if fresh then core.fs.chmod(request.path, (mode ~= 0 and mode or 420) & 511 & ~18) end -- of an old file it stays
  return {}
end)

handlers[15] = file_handler(function(request) -- ReadFile
  local info, err = core.fs.stat(request.path)
  if not info then return nil, err end
  if info.type ~= "file" then return nil, "not a regular file" end
  if info.size > 16 << 20 then return nil, "read_file exceeds 16777216 bytes" end
  local file = assert(io.open(request.path, "rb"))
  local content = file:read "a"
  file:close()
  return { content = content ~= "" and core.base64_encode(content) or nil }
end)

-- [#later-message-types] Go's own bits for types and for set-user-id.
local GO_TYPES = { directory = 1 << 31, link = 1 << 27, fifo = 1 << 25, socket = 1 << 24, block = 1 << 26, char = 1 << 26 | 1 << 21 }
local function go_bits(info)
  return info.mode & 511 | (GO_TYPES[info.type] or 0) | (info.mode & 2048 ~= 0 and 1 << 23 or 0)
end

handlers[16] = file_handler(function(request) -- ListFiles
  local names, err = core.fs.list(request.path)
  if not names then return nil, err end
  local files = {}
  for i, name in ipairs(names) do
    local info = core.fs.stat(request.path .. "/" .. name, true)
    files[i] = { name = name, size = info.size, mode = go_bits(info), is_dir = info.type == "directory" }
  end
  return { files = #files > 0 and files or nil }
end)

local OLD = { [1] = true, [9] = true, [11] = true }

function agent:converse(conn)
  self.locks[conn] = locks.lock()
  local type, payload = read_message(conn)
  self.seen[#self.seen + 1] = { type, payload }
  local known = type and handlers[type] and (self.revision ~= "0.1.9" or OLD[type]) and not (self.quirks.no_files and type > 13)
  if known then handlers[type](self, conn, payload) end -- [#message-types] an unknown first type: closed without a reply
  conn:close()
end

--- Serves a reference agent of revision "0.1.9" or "0.2" on a Unix socket while `fn(address, agent)` runs.
---@param revision string
---@param fn fun(address: string, agent: table) agent.seen: all messages that came, as { type, payload }
---@param quirks? { race: boolean, early_exit: boolean, short_exit: boolean, no_exit: boolean, no_files: boolean,
--- env: table } env: the agent's own variables
function M.serve(revision, fn, quirks)
  local folder = assert(core.fs.temporary "/tmp/vmctl-reference")
  local listener = assert(vmctl.listen("unix:" .. folder .. "/agent.sock"))
  local self = setmetatable({ revision = revision, quirks = quirks or {}, seen = {}, children = {},
    grace = 0.2, -- [#host-disconnects] 5 s
    address = "unix:" .. folder .. "/agent.sock",
    locks = setmetatable({}, { __mode = "k" }) }, agent_mt)
  vmctl.scope(function(scope)
    vmctl.spawn(function()
      for conn in function() return (listener:accept(math.huge)) end do
        vmctl.spawn(function() -- what went wrong here shows in the client
          local guard <close> = conn -- luacheck: ignore
          self:converse(conn)
        end)
      end
    end)
    local ok, err = xpcall(fn, debug.traceback, "unix:" .. folder .. "/agent.sock", self)
    listener:close()
    for _, child in ipairs(self.children) do child:close() end
    scope:cancel()
    core.fs.remove(folder)
    if not ok then error(err, 0) end
  end)
end

return M
