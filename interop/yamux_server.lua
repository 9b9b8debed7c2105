--- yamux: sessions on the reference package, in Go, drive ours, in either role; and a host in Go our mux. It reports a line per
--- step.
local mux = require "vmctl.mux"
local service = require "yamux_service"
local support = require "support"
local vmctl = require "vmctl"
local yamux = require "vmctl.yamux"

local PORT = 5000

-- How a transport ends that Go closes: what we have just sent may be unread there, or on its way.
local over = { EOF = true, ECONNRESET = true, EPIPE = true }

-- Lets Go's side connect to us as `role`; `serve(transport)` answers it.
local function with_go(report, program, role, steps, path, serve)
  local listener <close> = assert(vmctl.listen("unix:" .. path))
  local child <close> = support.start(program, "drive", role, "unix:" .. path)
  local transport <close> = assert(listener:accept(10))
  local serving = vmctl.spawn(serve, transport)
  local lines, ok = support.lines(child)
  local prefix = ("yamux %s in Go, driving: "):format(role)
  report:check(prefix .. "runs to its end", ok, "it failed, see above")
  for _, line in ipairs(lines) do
    local name, said = line:match "^(.-)\t(.*)$"
    report:check(prefix .. tostring(name), said == "ok", said or line)
  end
  report:same(prefix .. "every step was reported", steps, #lines)
  local _, err, code = serving:join(10)
  report:check(prefix .. "our side ends with the transport", over[code], err)
end

local function serve(is_client)
  return function(transport)
    local session
    session = yamux.session(transport, { client = is_client, on_stream = function(s) service.work(s, session) end })
    return session:run()
  end
end

local function serve_mux(transport)
  local guest = mux.server()
  local listener = guest:listen(PORT)
  return vmctl.scope(function(scope)
    vmctl.spawn_in(scope, function()
      for s in function() return (listener:accept(math.huge)) end do vmctl.spawn_in(scope, service.work, s) end
    end)
    local _, err, code = guest:run(transport)
    scope:cancel()
    return nil, err, code
  end)
end

return function(report)
  if not support.has_go() then return report:skip("yamux, Go's sessions drive ours", "no Go here") end
  local program, why, is_missing = support.build "yamux_go"
  if is_missing then return report:skip("yamux, Go's sessions drive ours", "the reference is not to be had: " .. why) end
  if not program then return report:check("yamux, a program on the reference package", false, why) end
  local folder <close> = support.directory()
  with_go(report, program, "client", 14, folder.path .. "/client", serve(false))
  with_go(report, program, "server", 14, folder.path .. "/server", serve(true))
  with_go(report, program, "mux", 4, folder.path .. "/mux", serve_mux)
end
