--- The script's work while one of its calls fails, in parts. A part returns true, or nil, message, code when a failure was told. It
-- raises "wrong: …" at a result that cannot be right.
local core = require "vmctl.core"
local vmctl = require "vmctl"

local WAIT = 20 -- seconds

local parts = {}

local function expect(got, want, what)
  if got ~= want then error(("wrong: %s: %s in place of %s"):format(what, tostring(got), tostring(want)), 0) end
end

local function folder() return os.getenv "TMPDIR" end

-- A command's record: it did not run, or was ended since its host seemed to have gone, or has all of its output.
local function check_record(record, output)
  if record.error then return nil, record.error, record.code or "ERROR" end
  if record.signal then return nil, "ended by a signal", "SIGNAL" end
  expect(record.exit_code, 0, "exit code")
  expect(record.stdout, output, "output")
  return true
end

function parts.run()
  local record, err, code = vmctl.host:run { "cat", stdin = "in", timeout = WAIT }
  if not record then return nil, err, code end
  return check_record(record, "in")
end

function parts.process()
  local child <close>, err, code = vmctl.process.spawn { "echo", "out", stdout = "pipe" }
  if not child then return nil, err, code end
  local text
  text, err, code = child.stdout:read_line(nil, WAIT)
  if not text then return nil, err, code end
  expect(text, "out", "line")
  local record
  record, err, code = child:wait(WAIT)
  if not record then return nil, err, code end
  expect(record.exit_code, 0, "exit code")
  return true
end

function parts.frames()
  local near, far, code = vmctl.pair { format = { type = 1, length = 4, max = 1 << 20 } }
  if not near then return nil, far, code end
  local here <close> = near -- luacheck: ignore
  local there <close> = far -- luacheck: ignore
  local body = ("x"):rep(100000)
  local sender = vmctl.spawn(function() return near:write_frame(1, body) end)
  local kind, got, why = far:read_frame(WAIT)
  if not kind then
    near:close()
    sender:join()
    return nil, got, why
  end
  expect(kind, 1, "type")
  expect(got, body, "frame")
  local sent, err, told = sender:join()
  if sent == nil and err then return nil, err, told end
  return true
end

function parts.files()
  local path = folder() .. "/file"
  local ok, err, code = core.fs.replace(path, "new")
  if ok then
    local text
    text, err, code = core.fs.read(path, 100)
    if text then expect(text, "new", "file") end
    ok = text
  end
  local names, listing, why = core.fs.list(folder())
  os.remove(path)
  if not names then return nil, listing, why end
  if ok then
    expect(#names, 1, "names")
    return true
  end
  return nil, err, code
end

-- Serves on a Unix socket while fn(address) runs.
local function serving(serve, fn)
  local address = "unix:" .. folder() .. "/s"
  local listener <close>, err, code = vmctl.listen(address)
  if not listener then return nil, err, code end
  return vmctl.scope(function(scope)
    vmctl.spawn_in(scope, serve, listener)
    local results = table.pack(pcall(fn, address))
    listener:close()
    scope:cancel()
    if not results[1] then error(results[2], 0) end
    return table.unpack(results, 2, results.n)
  end)
end

function parts.exec()
  return serving(vmctl.exec.serve, function(address)
    local client = assert(vmctl.exec.client(address))
    local record, err, code = client:run { "echo", "out", timeout = WAIT }
    if not record then return nil, err, code end
    local ok
    ok, err, code = check_record(record, "out\n")
    if not ok then return nil, err, code end
    local path = folder() .. "/copy"
    ok, err, code = client:write_file(path, "content")
    if not ok then return nil, err, code end
    local text
    text, err, code = client:read_file(path)
    os.remove(path)
    if not text then return nil, err, code end
    expect(text, "content", "file")
    return true
  end)
end

function parts.stereos()
  local server = vmctl.stereos.server { get_health = function() return { state = "healthy", uptime_seconds = 7 } end }
  return serving(function(listener) return server:serve(listener) end, function(address)
    local client <close> = assert(vmctl.stereos.client(address))
    local health, err, code = client:get_health { timeout = WAIT }
    if not health then return nil, err, code end
    expect(health.state, "healthy", "state")
    return true
  end)
end

function parts.forward()
  return serving(function(listener)
    local stream = listener:accept()
    if not stream then return end
    local line = stream:read_line(nil, WAIT)
    if line then stream:write(line .. "!\n") end
    stream:close()
  end, function(address)
    local from = "unix:" .. folder() .. "/f"
    local forward <close>, err, code = vmctl.forward { from = from, to = address }
    if not forward then return nil, err, code end
    local stream <close>, why, told = vmctl.dial(from)
    if not stream then return nil, why, told end
    local ok
    ok, err, code = stream:write "hello\n"
    if not ok then return nil, err, code end
    local line
    line, err, code = stream:read_line(nil, WAIT)
    if not line then return nil, err, code end
    expect(line, "hello!", "line")
    return true
  end)
end

local function remove(path)
  for _, name in ipairs(core.fs.list(path) or {}) do remove(path .. "/" .. name) end
  os.remove(path)
end

-- A folder to this machine by its own tar, as to a guest.
function parts.copy()
  local from, to = folder() .. "/from", folder() .. "/to"
  local ok, report, err, code
  ok, err, code = core.fs.mkdir(from)
  for _, name in ipairs { "/one", "/two" } do
    if ok then ok, err, code = core.fs.replace(from .. name, "content of" .. name) end
  end
  if ok then
    report, err, code = vmctl.files.push(vmctl.host, from, to, { timeout = 4 * WAIT })
    for _, name in ipairs { "/one", "/two" } do
      local file = report and io.open(to .. name)
      if report then expect(file and file:read "a", "content of" .. name, "copy") end
      if file then file:close() end
    end
  end
  remove(from)
  remove(to)
  if report then return true end
  return nil, err, code
end

local TEXT = "containerd.vminitd.services.mount.v1.UnmountRequest"

function parts.ttrpc()
  local echo = vmctl.ttrpc.service { name = "faults.Echo", methods = { Echo = { request = TEXT, response = TEXT } } }
  local server, err, code = vmctl.ttrpc.server { [echo] = { Echo = function(request) return request end } }
  if not server then return nil, err, code end
  return serving(function(listener) return server:serve(listener) end, function(address)
    local client <close>, why, told = vmctl.ttrpc.connect(address, { services = { echo } })
    if not client then return nil, why, told end
    local answer
    answer, why, told = client:call("faults.Echo", "Echo", { target = "x" }, { timeout = WAIT })
    if not answer then return nil, why, told end
    expect(answer.target, "x", "answer")
    return true
  end)
end

-- Two ports of a switch: a frame from one to the other.
function parts.switch()
  local switch <close>, err, code = vmctl.l2.switch()
  if not switch then return nil, err, code end
  local ends = {}
  for i = 1, 2 do
    local near, far, why = vmctl.l2.socketpair()
    if not near then return nil, far, why end
    ends[i] = setmetatable({ near = near }, { __close = function() near:close() end })
    local port
    port, err, code = switch:add(far)
    if not port then
      far:close()
      near:close()
      return nil, err, code
    end
  end
  local one <close> = ends[1]
  local two <close> = ends[2]
  local frame = ("\255"):rep(6) .. "\2\0\0\0\0\1" .. "\8\0" .. ("x"):rep(50)
  local ok
  ok, err, code = one.near:send(frame, WAIT)
  if not ok then return nil, err, code end
  local got
  got, err, code = two.near:recv(WAIT)
  if not got then return nil, err, code end
  expect(got, frame, "frame")
  return true
end

return parts
