--- ttrpc: our client drives the reference's server, in Go.
local echo = require "ttrpc_echo"
local support = require "support"
local vmctl = require "vmctl"

local NAME, text = echo.NAME, echo.text

local function fails(report, name, expected, value, err, code, status)
  report:same(("ttrpc client: %s fails with %s"):format(name, expected), expected, value == nil and code or "no failure")
  return err, status
end

local function check_calls(report, client)
  local function call(...) return client:call(NAME, ...) end
  report:same("ttrpc client: echo", text "h\u{e4}llo", call("Echo", text "h\u{e4}llo"))
  report:same("ttrpc client: an empty message", text "", call("Echo", text ""))
  local names = { [1] = "CANCELLED", [3] = "INVALID_ARGUMENT", [5] = "NOT_FOUND", [10] = "ABORTED", [16] = "UNAUTHENTICATED" }
  for number, name in pairs(names) do
    local _, status = fails(report, "status " .. number, name, call("Fail", text(tostring(number))))
    report:same("ttrpc client: its text", "refused with " .. number, status and status.message)
  end
  fails(report, "a plain error", "UNKNOWN", call("Fail", text "?"))
  fails(report, "an unknown service", "UNIMPLEMENTED", client:call("no.Such", "Nope", ""))
  fails(report, "an unknown method", "UNIMPLEMENTED", client:call(NAME, "Nope", ""))
  report:same("ttrpc client: metadata", text "one,two", call("Metadata", text "key", { metadata = { Key = { "one", "two" } } }))
  -- Both sides keep the deadline, and either may be the first to tell.
  local _, _, late = call("Wait", text "", 0.1)
  report:check("ttrpc client: a deadline", late == "ETIMEDOUT" or late == "DEADLINE_EXCEEDED", tostring(late))
  fails(report, "a request over the limit", "ETOOBIG", call("Echo", text(("x"):rep(5000000))))
  local limit = text(("x"):rep(4194304 - 100))
  local echoed = call("Echo", limit)
  report:check("ttrpc client: a message near the limit", echoed and echoed.target == limit.target, "another message")
  report:same("ttrpc client: after all that", text "again", call("Echo", text "again"))
end

local function collect(stream)
  local got = {}
  while true do
    local message, _, code = stream:recv(5)
    got[#got + 1] = message and message.target or code
    if not message then return table.concat(got, " ") end
  end
end

local function check_streams(report, client)
  local stream = assert(client:stream(NAME, "Gather"))
  for _ = 1, 200 do assert(stream:send(text "x")) end
  assert(stream:close_send())
  report:same("ttrpc client: client stream", ("x"):rep(200) .. " EOF", collect(stream))
  report:same("ttrpc client: server stream", "1 2 3 4 EOF", collect(assert(client:stream(NAME, "Count", text "4"))))
  report:same("ttrpc client: server stream, error", "1 2 3 DATA_LOSS", collect(assert(client:stream(NAME, "Count", text "3"))))
  stream = assert(client:stream(NAME, "Chat"))
  for _, word in ipairs { "a", "", "b" } do assert(stream:send(text(word))) end
  assert(stream:close_send())
  report:same("ttrpc client: both", "<a> <> <b> bye EOF", collect(stream))
  local waiting = assert(client:stream(NAME, "Chat"))
  waiting:close()
  stream = assert(client:stream(NAME, "Count", text "5000")) -- nobody reads it: the reference would stop here
  report:same("ttrpc client: a call beside a stream that is not read", text "x", client:call(NAME, "Echo", text "x", 5))
  stream:close()
end

local function check_many(report, client)
  local good, tasks = 0, {}
  for i = 1, 64 do tasks[i] = i end
  vmctl.map(tasks, function(i)
    for j = 1, 50 do
      local word = ("%d/%d"):format(i, j)
      local answer = client:call(NAME, "Echo", text(word))
      if answer and answer.target == word then good = good + 1 end
    end
  end)
  report:same("ttrpc client: 64 calls at once", 3200, good)
end

local function drive(report, program, path)
  local child <close> = support.start(program, "serve", "unix:" .. path)
  report:same("ttrpc server in Go: is there", "ready", (child.stdout:read_line(100, 10)))
  local client <close> = assert(vmctl.ttrpc.connect("unix:" .. path, { services = { echo.service } }))
  check_calls(report, client)
  check_streams(report, client)
  check_many(report, client)
  fails(report, "a result over the limit", "ERESET", client:call(NAME, "Large", text "5000000")) -- it closes the connection
  child:kill "KILL"
  child:wait(5)
end

return function(report)
  if not support.has_go() then return report:skip("ttrpc, our client drives a server in Go", "no Go here") end
  local program, why, is_missing = support.build "ttrpc_go"
  if is_missing then return report:skip("ttrpc, our client drives a server in Go", "the reference is not to be had: " .. why) end
  if not program then return report:check("ttrpc, a program on the reference package", false, why) end
  local folder <close> = support.directory()
  drive(report, program, folder.path .. "/ttrpc")
end
