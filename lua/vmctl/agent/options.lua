--- vmctl-agent's command line: what it says, and what it listens on when it says nothing.
local core = require "vmctl.core"
local address = require "vmctl.net.address"
local mux = require "vmctl.mux"
local ports = require "vmctl.net.agent_ports"

local M = {}

M.USAGE = (([[
vmctl-agent [options]        serves commands and files to a host (as PID 1: boots the guest first)
vmctl-agent --lua SCRIPT [ARG ...]
                             runs a Lua script with vmctl inside ("-": from standard input); other modules by LUA_PATH

  --listen ADDRESS    serve the exec protocol there; may be given more than once
                      (vsock:any:{EXEC}, unix:/run/agent.sock, tcp:127.0.0.1:{EXEC})
  --ready ADDRESS     accept and close connections there, as a sign of readiness
  --stereos ADDRESS   serve StereOS' control plane there; may be given more than once (vsock:any:{STEREOS})
  --cc ADDRESS        serve cc-helper's file, command and network requests there (vsock:any:{CC})
  --forward ADDRESS   serve socket forwarding there (ttrpc; vsock:any:{FORWARD}), and its streams at
  --forward-streams ADDRESS
                      (vsock:any:{FORWARD_STREAMS}); both may be given more than once
  --dial-rpc ADDRESS  dial a host that waits for this connection, and serve socket forwarding on it (vsock:host:{FORWARD})
  --forward-folder DIR
                      sockets may be forwarded in this folder alone; may be given more than once
  --mux PATH          serve streams over this virtio-serial port: exec, readiness, the control plane, cc, forwarding
  --allow-cid CID     on vsock: let this CID in as well (a number, or any); default: the host's, 2
  --allow-tcp         on TCP: let in others than this machine
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

local function parse_cid(text)
  return text == "any" and "any" or math.tointeger(tonumber(text))
end

local function absolute(path)
  return path:sub(1, 1) == "/" and path or error(path)
end

-- Options with a value, and without one; an error is a value that does not fit.
local takes = {
  ["--listen"] = function(opts, v) table.insert(opts.listen, v) end,
  ["--ready"] = function(opts, v) table.insert(opts.ready, v) end,
  ["--stereos"] = function(opts, v) table.insert(opts.stereos, v) end,
  ["--cc"] = function(opts, v) table.insert(opts.cc, v) end,
  ["--forward"] = function(opts, v) table.insert(opts.forward, v) end,
  ["--forward-streams"] = function(opts, v) table.insert(opts.forward_streams, v) end,
  ["--dial-rpc"] = function(opts, v) table.insert(opts.dial_rpc, v) end,
  ["--forward-folder"] = function(opts, v) table.insert(opts.forward_folders, absolute(v)) end,
  ["--mux"] = function(opts, v) table.insert(opts.mux, v) end,
  ["--allow-cid"] = function(opts, v) table.insert(opts.cid, parse_cid(v) or error(v)) end,
  ["--allow-uid"] = function(opts, v) table.insert(opts.uid, math.tointeger(tonumber(v)) or error(v)) end,
  ["--root"] = function(opts, v) opts.root = v end,
  ["--health-dir"] = function(opts, v) opts.health_dir = absolute(v) end,
  ["--poweroff"] = function(opts, v) opts.poweroff = v end,
}
local flags = {
  ["--allow-tcp"] = function(opts) opts.tcp = "any" end,
  ["--help"] = function(opts) opts.help = true end,
  ["--version"] = function(opts) opts.version = true end,
}

--- Reads the command line.
---@param args string[]
---@return table|nil options, string? message
function M.parse(args)
  local opts = {
    listen = {}, ready = {}, stereos = {}, cc = {}, forward = {}, forward_streams = {}, dial_rpc = {}, forward_folders = {},
    mux = {}, cid = { 2 }, uid = {},
  }
  local i = 1
  while args[i] do
    local name, value = args[i]:match "^(%-%-[%w-]+)=(.*)$"
    name = name or args[i]
    if name == "--lua" and not value and args[i + 1] then
      opts.lua = table.pack(table.unpack(args, i + 1))
      return opts
    elseif flags[name] and not value then
      flags[name](opts)
    elseif takes[name] then
      if not value then
        i = i + 1
        value = args[i]
      end
      if not value or not pcall(takes[name], opts, value) then return nil, ("%s: a value expected"):format(name) end
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

local function count(opts)
  return #opts.listen + #opts.stereos + #opts.cc + #opts.forward + #opts.dial_rpc + #opts.mux
end

local function check_addresses(opts)
  local given = {
    ["--listen"] = opts.listen, ["--ready"] = opts.ready, ["--stereos"] = opts.stereos, ["--cc"] = opts.cc,
    ["--forward"] = opts.forward, ["--forward-streams"] = opts.forward_streams, ["--dial-rpc"] = opts.dial_rpc,
  }
  for name, list in pairs(given) do
    for _, where in ipairs(list) do
      local at, err = address.parse(where)
      if not at then return nil, ("%s %s: %s"):format(name, where, err) end
    end
  end
  return true
end

--- Fills in where to listen if nothing was said, and checks what was.
---@param opts table as from parse
---@return true|nil, string? message
function M.complete(opts)
  if count(opts) == 0 then
    local cid = core.local_cid()
    if cid and cid >= 3 and cid ~= 0xffffffff then
      opts.listen = { "vsock:any:" .. ports.EXEC }
      opts.ready = { "vsock:any:" .. ports.READY }
      opts.stereos = { "vsock:any:" .. ports.STEREOS }
      opts.forward = { "vsock:any:" .. ports.FORWARD }
      opts.forward_streams = { "vsock:any:" .. ports.FORWARD_STREAMS }
      opts.cc = { "vsock:any:" .. ports.CC }
    end
    local port = find_port(mux.PORT_NAME)
    if port then opts.mux = { port } end
  end
  if count(opts) == 0 then return nil, "nothing to listen on: no CID, no virtio-serial port; see --help" end
  return check_addresses(opts)
end

return M
