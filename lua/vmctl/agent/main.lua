--- vmctl-agent: what it listens on, and for whom.
local core = require "vmctl.core"
local address = require "vmctl.address"
local dial = require "vmctl.dial"
local exec = require "vmctl.protocol.exec"
local mux = require "vmctl.mux"
local task = require "vmctl.task"

local VERSION = "0.1.0"
local IDLE_MEMORY = 1536    -- KiB of Lua's own that an agent without connections may keep: it needs about 500
local SHARED = 438          -- mode 0666 of a Unix socket that other users may come to as well: who may stay is asked then

local USAGE = [[
vmctl-agent [options]        serves commands and files to a host (as PID 1: boots the guest first)
vmctl-agent --lua SCRIPT [ARG ...]
                             runs a Lua script with vmctl inside ("-": from standard input); other modules by LUA_PATH

  --listen ADDRESS    serve the exec protocol there; may be given more than once
                      (vsock:any:5000, unix:/run/agent.sock, tcp:127.0.0.1:5000)
  --ready ADDRESS     accept and close connections there, as a sign of readiness
  --mux PATH          serve streams over this virtio-serial port
  --allow-cid CID     on vsock: let this CID in as well (a number, or any); default: the host's, 2
  --allow-tcp         on TCP: let in others than this machine
  --allow-uid UID     on a Unix socket: let this user in besides root and our own
  --root FOLDER       stands for / in file requests
  --version, --help

Without --listen and --mux: AF_VSOCK ports 5000 and 5002 where the guest has a CID, and the virtio-serial port
org.vmctl.mux.0 where there is one.
]]

local function fail(status, ...)
  io.stderr:write("vmctl-agent: ", string.format(...), "\n")
  return status
end

local function parse_cid(text)
  return text == "any" and "any" or math.tointeger(tonumber(text))
end

local function parse(args)
  local opts = { listen = {}, ready = {}, mux = {}, cid = { 2 }, uid = {} }
  local takes = {
    ["--listen"] = function(v) table.insert(opts.listen, v) end,
    ["--ready"] = function(v) table.insert(opts.ready, v) end,
    ["--mux"] = function(v) table.insert(opts.mux, v) end,
    ["--allow-cid"] = function(v) table.insert(opts.cid, parse_cid(v) or error(v)) end,
    ["--allow-uid"] = function(v) table.insert(opts.uid, math.tointeger(tonumber(v)) or error(v)) end,
    ["--root"] = function(v) opts.root = v end,
  }
  local flags = {
    ["--allow-tcp"] = function() opts.tcp = "any" end,
    ["--help"] = function() opts.help = true end,
    ["--version"] = function() opts.version = true end,
  }
  local i = 1
  while args[i] do
    local name, value = args[i]:match "^(%-%-[%w-]+)=(.*)$"
    name = name or args[i]
    if name == "--lua" and not value and args[i + 1] then
      opts.lua = table.pack(table.unpack(args, i + 1))
      return opts
    elseif flags[name] and not value then
      flags[name]()
    elseif takes[name] then
      if not value then
        i = i + 1
        value = args[i]
      end
      if not value or not pcall(takes[name], value) then return nil, ("%s: a value expected"):format(name) end
    else
      return nil, ("unknown option '%s' (see --help)"):format(name)
    end
    i = i + 1
  end
  return opts
end

-- The device of a virtio-serial port by its name, without udev.
local function find_port(name)
  for _, device in ipairs(core.fs.list "/sys/class/virtio-ports" or {}) do
    local file = io.open("/sys/class/virtio-ports/" .. device .. "/name")
    local found = file and file:read "l"
    if file then file:close() end
    if found == name then return "/dev/" .. device end
  end
end

local function choose_defaults(opts)
  if #opts.listen + #opts.mux > 0 then return end
  local cid = core.local_cid()
  if cid and cid >= 3 and cid ~= 0xffffffff then
    opts.listen = { "vsock:any:" .. exec.PORT }
    opts.ready = { "vsock:any:" .. exec.READY_PORT }
  end
  local port = find_port(mux.PORT_NAME)
  if port then opts.mux = { port } end
end

-- All that was asked for, or nothing: { exec = listeners, ready = listeners, link = streams }.
local function open_all(opts)
  local opened = { exec = {}, ready = {}, link = {} }
  local mode = #opts.uid > 0 and SHARED or nil
  for name, list in pairs { exec = opts.listen, ready = opts.ready } do
    for _, where in ipairs(list) do
      local listener, err, code = dial.listen(where, { mode = mode })
      if not listener then return nil, err, code end
      table.insert(opened[name], listener)
    end
  end
  for _, path in ipairs(opts.mux) do
    local link, err, code = dial.dial(address.serial(path))
    if not link then return nil, err, code end
    table.insert(opened.link, link)
  end
  return opened
end

-- What a large file or much input has left behind would otherwise stay until the next large one.
local function tidy()
  if collectgarbage "count" > IDLE_MEMORY then collectgarbage() end
end

local function serve_link(scope, link, serving)
  local server = mux.server()
  task.spawn_in(scope, exec.serve, server:listen(exec.PORT), serving)
  task.spawn_in(scope, exec.serve_ready, server:listen(exec.READY_PORT), {})
  task.spawn_in(scope, server.run, server, link)
end

local function await_signal(scope, fd)
  local signals <close> = assert(core.open(fd, "pipe", "signals"))
  signals:read(math.maxinteger, math.huge)
  scope:cancel()
end

-- Serves until a signal says to end; commands that still run are ended then.
local function serve_all(opened, opts, signals)
  local allow = { cid = opts.cid, tcp = opts.tcp, uid = opts.uid }
  local serving = { allow = allow, root = opts.root, on_idle = tidy }
  task.scope(function(scope)
    for _, listener in ipairs(opened.exec) do task.spawn_in(scope, exec.serve, listener, serving) end
    for _, listener in ipairs(opened.ready) do task.spawn_in(scope, exec.serve_ready, listener, { allow = allow }) end
    for _, link in ipairs(opened.link) do serve_link(scope, link, serving) end
    if signals then task.spawn_in(scope, await_signal, scope, signals) end
  end)
end

local function check_addresses(opts)
  for name, list in pairs { ["--listen"] = opts.listen, ["--ready"] = opts.ready } do
    for _, where in ipairs(list) do
      local at, err = address.parse(where)
      if not at then return nil, ("%s %s: %s"):format(name, where, err) end
    end
  end
  return true
end

local function serve(args, opts)
  choose_defaults(opts)
  if #opts.listen + #opts.mux == 0 then
    return fail(2, "nothing to listen on: no CID, no virtio-serial port; see --help")
  end
  local ok, err = check_addresses(opts)
  if not ok then return fail(2, "%s", err) end
  local opened
  opened, err = task.run(open_all, opts)
  if not opened then return fail(1, "%s", err) end
  if args.init then io.stderr:write("vmctl-agent: ready\n") end
  ok, err = pcall(task.run, serve_all, opened, opts, not args.init and args.signals())
  if not ok then return fail(1, "%s", err) end
  return 0
end

--- The agent's main function.
---@param args table the command line; init: a child of PID 1, which is ours; power(how), signals() -> fd: see main.c
---@return integer exit status
return function(args)
  local opts, err = parse(args)
  if not opts then return fail(2, "%s", err) end
  if opts.help then
    io.stdout:write(USAGE)
    return 0
  elseif opts.version then
    print("vmctl-agent " .. VERSION)
    return 0
  elseif opts.lua then
    return require("vmctl.agent.script").run(table.unpack(opts.lua, 1, opts.lua.n))
  end
  return serve(args, opts)
end
