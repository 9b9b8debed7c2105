--- vmctl-agent: its services and their access rules.
local core = require "vmctl.core"
local address = require "vmctl.net.address"
local dial = require "vmctl.net.dial"
local exec = require "vmctl.exec"
local mux = require "vmctl.mux"
local options = require "vmctl.agent.options"
local ports = require "vmctl.net.agent_ports"
local task = require "vmctl.base.task"
local version = require "vmctl.base.version"

local IDLE_MEMORY = 1024    -- KiB of Lua's own that an agent without connections may keep: it needs about 500
local TRIM_PAUSE = 0.5      -- seconds between two small returns of memory to the system
local FAILURE_PAUSE = 0.1   -- seconds after an accept that failed for a reason which may pass
local OWN_PROGRAM = "/proc/self/exe"
local SHARED = 438          -- mode 0666 of a Unix socket to which other users may connect as well: the access rules are checked then

local function fail(status, ...)
  io.stderr:write("vmctl-agent: ", string.format(...), "\n")
  return status
end

local LISTENED = { "listen", "ready", "stereos", "cc", "forward", "forward_streams" }

-- Opens all listeners, or none: by the names of the options, and mux = streams.
local function open_all(opts)
  local opened = { mux = {} }
  local mode = #opts.uid > 0 and SHARED or nil
  for _, name in ipairs(LISTENED) do
    opened[name] = {}
    for _, where in ipairs(opts[name]) do
      local listener, err, code = dial.listen(where, { mode = mode })
      if not listener then return nil, err, code end
      table.insert(opened[name], listener)
    end
  end
  for _, path in ipairs(opts.mux) do
    local stream, err, code = dial.dial(address.serial(path))
    if not stream then return nil, err, code end
    table.insert(opened.mux, stream)
  end
  return opened
end

-- Frees memory that a large file or much input has used; otherwise it would be kept until the next large one.
local trim
local trimmed = -math.huge

local function tidy()
  if collectgarbage "count" > IDLE_MEMORY then
    collectgarbage()
  elseif core.now() < trimmed + TRIM_PAUSE then
    return
  end
  trim()
  trimmed = core.now()
end

local function make_control(opts, args, allow, began)
  local server
  local power = args.init and not opts.poweroff and args.power or nil
  local handlers, service = require("vmctl.guest.stereos").handlers {
    root = opts.root, health_dir = opts.health_dir, poweroff = opts.poweroff, power = power, began = began,
    on_state = function(state, message) server:lifecycle(state, message) end,
  }
  server = require("vmctl.stereos.server").new(handlers, { allow = allow, on_idle = tidy })
  service:ready()
  return server, service
end

-- StereOS' control plane: one for all listeners, and loaded at the first connection. Most guests never need its memory.
local function control_plane(scope, opts, args, allow)
  local began, server, service = core.now(), nil, nil
  return function()
    if not server then
      server, service = make_control(opts, args, allow, began)
      task.spawn_in(scope, service.run, service)
    end
    return server
  end
end

-- cc-helper's protocol: likewise.
local function cc_server(opts, allow)
  local server
  return function()
    server = server or require("vmctl.agent.cc").server { root = opts.root, allow = allow, on_idle = tidy }
    return server
  end
end

-- Socket forwarding: likewise. Returns the functions that serve its RPC port and its streams, and that dial a host.
local function forwarding(opts, allow)
  local made
  local function get()
    made = made or require("vmctl.agent.forwarding").new(opts, allow, tidy)
    return made
  end
  return { rpc = function() return get().rpc end, streams = function() return get().streams end, get = get, close = function()
    if made then made:close() end
  end }
end

-- A listener that gives `first` before all others.
local function begin_with(first, listener)
  return {
    accept = function(_, timeout)
      local s = first
      if not s then return listener:accept(timeout) end
      first = nil
      return s
    end,
    close = function() return listener:close() end,
  }
end

-- Serves a listener; `get` makes the server at the first connection.
local function serve_lazily(listener, get)
  local first, err, code = listener:accept()
  while not first and code ~= "ECLOSED" and code ~= "ECANCELED" do
    core.sleep(FAILURE_PAUSE)
    first, err, code = listener:accept()
  end
  if not first then return nil, err, code end
  return get():serve(begin_with(first, listener))
end

local function serve_mux(scope, stream, serving, control, cc, forwards)
  local server = mux.server()
  task.spawn_in(scope, exec.serve, server:listen(ports.EXEC), serving)
  task.spawn_in(scope, exec.serve_ready, server:listen(ports.READY), {})
  task.spawn_in(scope, serve_lazily, server:listen(ports.STEREOS), control)
  task.spawn_in(scope, serve_lazily, server:listen(ports.CC), cc)
  task.spawn_in(scope, serve_lazily, server:listen(ports.FORWARD), forwards.rpc)
  task.spawn_in(scope, serve_lazily, server:listen(ports.FORWARD_STREAMS), forwards.streams)
  task.spawn_in(scope, server.run, server, stream)
end

local function refresh(request) return require("vmctl.guest.refresh").answer(request) end

local function await_signal(scope, fd, forwards)
  local signals <close> = assert(core.open(fd, "pipe", "signals"))
  signals:read(math.maxinteger, math.huge)
  forwards.close()
  scope:cancel()
end

-- Serves until a signal asks it to end; commands that still run are ended then.
local function serve_all(opened, opts, args, signals)
  local allow = { cid = opts.cid, tcp = opts.tcp == "any" and "any" or nil, uid = opts.uid }
  local serving = { allow = allow, root = opts.root, on_idle = tidy, on_ready = not opts.root and refresh or nil,
    packs = core.fs.stat(OWN_PROGRAM) ~= nil }
  task.scope(function(scope)
    local control, cc, forwards = control_plane(scope, opts, args, allow), cc_server(opts, allow), forwarding(opts, allow)
    for _, listener in ipairs(opened.listen) do task.spawn_in(scope, exec.serve, listener, serving) end
    for _, listener in ipairs(opened.ready) do task.spawn_in(scope, exec.serve_ready, listener, { allow = allow }) end
    local lazy = { stereos = control, cc = cc, forward = forwards.rpc, forward_streams = forwards.streams }
    for name, get in pairs(lazy) do
      for _, listener in ipairs(opened[name]) do task.spawn_in(scope, serve_lazily, listener, get) end
    end
    for _, where in ipairs(opts.dial_rpc) do task.spawn_in(scope, function() forwards.get():dial_rpc(where) end) end
    for _, stream in ipairs(opened.mux) do serve_mux(scope, stream, serving, control, cc, forwards) end
    if signals then task.spawn_in(scope, await_signal, scope, signals, forwards) end
  end)
end

local function serve(args, opts)
  local ok, err = options.complete(opts)
  if not ok then return fail(2, "%s", err) end
  local opened
  opened, err = task.run(open_all, opts)
  if not opened then return fail(1, "%s", err) end
  if args.init then io.stderr:write("vmctl-agent: ready\n") end
  ok, err = pcall(task.run, serve_all, opened, opts, args, not args.init and args.signals())
  if not ok then return fail(1, "%s", err) end
  return 0
end

--- The agent's main function.
---@param args table the command line; init: a child of PID 1, which is ours; power(how), signals() -> fd, trim(): see main.c
---@return integer exit status
return function(args)
  trim = args.trim
  local opts, err = options.parse(args)
  if not opts then return fail(2, "%s", err) end
  if opts.help then
    io.stdout:write(options.USAGE)
    return 0
  elseif opts.version then
    print("vmctl-agent " .. version)
    return 0
  elseif opts.lua then
    return require("vmctl.agent.run_script").run(table.unpack(opts.lua, 1, opts.lua.n))
  end
  return serve(args, opts)
end
