--- vmctl-agent: what it listens on, and for whom.
local core = require "vmctl.core"
local address = require "vmctl.address"
local dial = require "vmctl.dial"
local exec = require "vmctl.protocol.exec"
local mux = require "vmctl.mux"
local task = require "vmctl.task"

local VERSION = "0.1.0"

local USAGE = [[
vmctl-agent [options]        serves commands and files to a host (as PID 1: boots the guest first)

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

local function fail(...)
  io.stderr:write("vmctl-agent: ", string.format(...), "\n")
  return 2
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
    if flags[name] and not value then
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

local function serve_all(opts)
  local allow = { cid = opts.cid, tcp = opts.tcp, uid = opts.uid }
  local serving = { allow = allow, root = opts.root }
  return task.scope(function(scope)
    for _, where in ipairs(opts.listen) do
      task.spawn_in(scope, exec.serve, assert(dial.listen(where)), serving)
    end
    for _, where in ipairs(opts.ready) do
      task.spawn_in(scope, exec.serve_ready, assert(dial.listen(where)), { allow = allow })
    end
    for _, path in ipairs(opts.mux) do
      local server = mux.server()
      task.spawn_in(scope, exec.serve, server:listen(exec.PORT), serving)
      task.spawn_in(scope, exec.serve_ready, server:listen(exec.READY_PORT), {})
      task.spawn_in(scope, server.run, server, assert(dial.dial(address.serial(path))))
    end
  end)
end

return function(args)
  local opts, err = parse(args)
  if not opts then return fail("%s", err) end
  if opts.help then
    io.stdout:write(USAGE)
    return 0
  elseif opts.version then
    print("vmctl-agent " .. VERSION)
    return 0
  end
  choose_defaults(opts)
  if #opts.listen + #opts.mux == 0 then return fail("nothing to listen on: no CID, no virtio-serial port; see --help") end
  for _, where in ipairs(opts.listen) do
    local at, bad = address.parse(where)
    if not at then return fail("--listen %s: %s", where, bad) end
  end
  if args.init then io.stderr:write("vmctl-agent: ready\n") end
  local ok, why = pcall(task.run, serve_all, opts)
  if not ok then return fail("%s", why) end
  return 0
end
