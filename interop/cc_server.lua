--- cc-helper's protocol: a client in Go drives our server with the helper's handlers, whose machine is a folder.
local support = require "support"
local vmctl = require "vmctl"

local cc = vmctl.cc

local function hex(bytes)
  return (bytes:gsub(".", function(char) return ("%02x"):format(char:byte()) end))
end

local function ok(build)
  local r = cc.response():success()
  if build then build(r) end
  return "ff00\t" .. hex(r:build())
end

local function no(code, message)
  return "ff01\t" .. hex(cc.encoder():error({ code = code, message = message }):bytes())
end

local expected = {
  ["no instance"] = no(1, "no instance"), new = ok(), running = ok(function(r) r:bool(true) end), write = ok(),
  read = ok(function(r) r:write_bytes "hello" end), open = ok(function(r) r:uint64(1) end),
  piece = ok(function(r) r:write_bytes "hel" end), rest = ok(function(r) r:write_bytes "lo" end),
  ["end"] = ok(function(r) r:write_bytes "" end), seek = ok(function(r) r:int64(3) end), close = ok(),
  closed = no(1, "invalid file handle"), short = no(99, "unexpected EOF"), unknown = no(2, "unknown message type: 0x0999"),
  ["free of none"] = ok(), command = ok(function(r) r:uint64(2) end),
  output = ok(function(r) r:write_bytes("a b\n"):int32(0) end),
}

local function check_lines(report, lines)
  local seen = {}
  for _, line in ipairs(lines) do
    local name, answer = line:match "^([^\t]*)\t(.*)$"
    seen[name] = true
    if expected[name] then report:same("cc server: " .. name, expected[name], answer) end
    if name == "list" then report:check("cc server: list", answer:find("ff00\t0000000001", 1, true), answer) end
  end
  for name in pairs(expected) do
    if not seen[name] then report:check("cc server: " .. name, false, "no answer") end
  end
end

return function(report)
  if not support.has_go() then return report:skip("cc, a client in Go drives our server", "no Go here") end
  local program, why = support.build "cc_go"
  if not program then return report:check("cc, a client in Go", false, why) end
  local folder <close> = support.directory()
  local root = folder.path .. "/root"
  assert(os.execute("mkdir " .. root))
  local helper = assert(require("vmctl.cc_helper").new { root = root })
  local server = assert(cc.server(folder.path .. "/cc", helper:handler()))
  local serving = vmctl.spawn(server.serve, server)
  local child <close> = support.start(program, "drive", server:socket_path())
  local lines, well = support.lines(child)
  report:check("cc server: the client in Go runs to its end", well, "it failed, see above")
  check_lines(report, lines)
  server:close()
  serving:join(5)
  helper:close()
end
