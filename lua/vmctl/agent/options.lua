--- vmctl-agent's command line, and its default listeners.
local arguments = require "vmctl.base.arguments"
local core = require "vmctl.core"
local address = require "vmctl.net.address"
local mux = require "vmctl.mux"
local ports = require "vmctl.net.agent_ports"
local task = require "vmctl.base.task"
local vsock = require "vmctl.net.vsock_numbers"

local M = {}

local VIRTIO, CONSOLE = "/sys/bus/virtio/devices", "0x0003" -- virtio's number of a console device
local PAGE = 4096                           -- bytes that a file of /sys claims to have
local PORT_WAIT, PORT_PAUSE = 10, 0.02      -- seconds

M.USAGE = (([[
vmctl-agent [options]        serves commands and files to a host (as PID 1: boots the guest first)
vmctl-agent --lua SCRIPT [ARG ...]
                             runs a Lua script with vmctl inside ("-": from standard input); other modules by LUA_PATH

  --listen ADDRESS    serve the exec protocol there; may be given more than once
                      (vsock:any:{EXEC}, unix:/run/agent.sock)
  --ready ADDRESS     accept and close connections there, as a sign of readiness
  --stereos ADDRESS   serve StereOS' control plane there; may be given more than once (vsock:any:{STEREOS})
  --cc ADDRESS        serve cc-helper's file, command and network requests there (vsock:any:{CC})
  --forward ADDRESS   serve socket forwarding there (ttrpc; vsock:any:{FORWARD}), and its streams at
  --forward-streams ADDRESS
                      (vsock:any:{FORWARD_STREAMS}); both may be given more than once
  --dial-rpc ADDRESS  dial a host that waits for this connection, and serve socket forwarding on it (vsock:host:{FORWARD})
  --forward-folder DIR
                      sockets may be forwarded in this folder alone (/run/socketfwd; / is anywhere); may be given more than once
  --mux PATH          serve streams over this virtio-serial port: exec, readiness, the control plane, cc, forwarding
  --allow-cid CID     on vsock: let this CID in as well (a number, or any); default: the host's, 2
  --allow-tcp WHO     TCP addresses are refused without this, since TCP does not say which user connects:
                      local serves every user of this machine, any serves whoever reaches the port
  --allow-uid UID     on a Unix socket: let this user in besides root and our own
  --root FOLDER       stands for / in file requests and for the control plane (whose secrets are then on that disk)
  --health-dir DIR    where agents tell how they are, one JSON file each (/run/stereos/agents)
  --poweroff COMMAND  powers the guest off; signal-init: SIGTERM to PID 1
                      (as PID 1: the kernel's own; else systemctl poweroff or poweroff)
  --version, --help

Without --listen, --stereos, --cc, --forward, --dial-rpc and --mux:
AF_VSOCK ports {EXEC}, {READY}, {STEREOS}, {CC}, {FORWARD} and {FORWARD_STREAMS} where the guest has a CID,
and the virtio-serial port org.vmctl.mux.0 where there is one.
]]):gsub("{([%u_]+)}", ports))

local function read_cid(text)
  return text == "any" and "any" or math.tointeger(tonumber(text))
end

local function read_integer(text)
  return math.tointeger(tonumber(text))
end

local function read_tcp(text)
  return (text == "local" or text == "any") and text or nil
end

local function read_absolute(path)
  return path:sub(1, 1) == "/" and path or nil
end

local known = {
  ["--lua"] = { into = "lua", rest = true },
  ["--listen"] = { into = "listen", many = true },
  ["--ready"] = { into = "ready", many = true },
  ["--stereos"] = { into = "stereos", many = true },
  ["--cc"] = { into = "cc", many = true },
  ["--forward"] = { into = "forward", many = true },
  ["--forward-streams"] = { into = "forward_streams", many = true },
  ["--dial-rpc"] = { into = "dial_rpc", many = true },
  ["--forward-folder"] = { into = "forward_folders", many = true, read = read_absolute },
  ["--mux"] = { into = "mux", many = true },
  ["--allow-cid"] = { into = "cid", many = true, read = read_cid },
  ["--allow-uid"] = { into = "uid", many = true, read = read_integer },
  ["--allow-tcp"] = { into = "tcp", read = read_tcp },
  ["--root"] = { into = "root" },
  ["--health-dir"] = { into = "health_dir", read = read_absolute },
  ["--poweroff"] = { into = "poweroff" },
  ["--help"] = { into = "help", flag = true },
  ["--version"] = { into = "version", flag = true },
}

--- Reads the command line.
---@param args string[]
---@return table|nil options, string? message
function M.parse(args)
  return arguments.parse(args, known, {
    listen = {}, ready = {}, stereos = {}, cc = {}, forward = {}, forward_streams = {}, dial_rpc = {}, forward_folders = {},
    mux = {}, cid = { vsock.CID_HOST }, uid = {},
  })
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

-- Tells if this guest has a virtio console, whose ports get their names from the host a moment after the driver is there.
local function has_console()
  for _, device in ipairs(core.fs.list(VIRTIO) or {}) do
    if (core.fs.read(("%s/%s/device"):format(VIRTIO, device), PAGE) or ""):sub(1, #CONSOLE) == CONSOLE then return true end
  end
  return false
end

-- Waits for the port: a busy host may take a while.
local function await_port(name)
  local port, deadline = find_port(name), core.now() + PORT_WAIT
  if port or not has_console() then return port end
  io.stderr:write("vmctl-agent: waiting for the virtio-serial port ", name, "\n")
  while not port and core.now() < deadline do
    task.sleep(PORT_PAUSE)
    port = find_port(name)
  end
  return port
end

local function count(opts)
  return #opts.listen + #opts.stereos + #opts.cc + #opts.forward + #opts.dial_rpc + #opts.mux
end

-- Checks that all addresses are valid, and that TCP addresses have a rule who is served. (--ready serves nothing, and needs none.)
local function check_addresses(opts)
  local given = {
    ["--listen"] = opts.listen, ["--ready"] = opts.ready, ["--stereos"] = opts.stereos, ["--cc"] = opts.cc,
    ["--forward"] = opts.forward, ["--forward-streams"] = opts.forward_streams, ["--dial-rpc"] = opts.dial_rpc,
  }
  for name, list in pairs(given) do
    for _, where in ipairs(list) do
      local at, err = address.parse(where)
      if not at then return nil, ("%s %s: %s"):format(name, where, err) end
      if at.kind == "tcp" and not opts.tcp and name ~= "--ready" then
        return nil, ("%s %s: TCP does not say which user connects; take a Unix socket, or say --allow-tcp local or any"):format(name, at)
      end
    end
  end
  return true
end

--- Adds the default listeners if none are given, and checks given ones. Waits for a virtio-serial port, ten seconds at most, in a guest
--- that has no other transport and a virtio console.
---@param opts table as from parse
---@return true|nil, string? message
function M.complete(opts)
  if count(opts) == 0 then
    local cid = core.local_cid()
    if cid and cid >= vsock.FIRST_GUEST and cid ~= vsock.CID_ANY then
      opts.listen = { "vsock:any:" .. ports.EXEC }
      opts.ready = { "vsock:any:" .. ports.READY }
      opts.stereos = { "vsock:any:" .. ports.STEREOS }
      opts.forward = { "vsock:any:" .. ports.FORWARD }
      opts.forward_streams = { "vsock:any:" .. ports.FORWARD_STREAMS }
      opts.cc = { "vsock:any:" .. ports.CC }
    end
    local port = (count(opts) == 0 and await_port or find_port)(mux.PORT_NAME)
    if port then opts.mux = { port } end
  end
  if count(opts) == 0 then return nil, "nothing to listen on: no CID, no virtio-serial port; see --help" end
  return check_addresses(opts)
end

return M
