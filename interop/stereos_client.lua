--- StereOS' control plane: our client drives a guest in Go, one that is quiet and one that sends a lifecycle line before
--- each reply, which the reference client takes for the reply.
local json = require "vmctl.json"
local support = require "support"
local vmctl = require "vmctl"

local MAX_LINE = vmctl.stereos.MAX_LINE
local TEXT = '[a]\nb = "<&>\u{2028}\u{2029}\\/ \u{e4}\u{20ac}\u{1F600}\t\1\127"\n'

-- Checks the first value of a call, which must not fail.
local function gives(report, name, expected, value, err)
  report:check(name, value ~= nil, err)
  if value ~= nil then report:same(name .. ": what it says", expected, value) end
end

local function fails(report, name, expected, _, err, code)
  report:same(("%s fails with %s"):format(name, expected), expected, code)
  return err
end

local requests = {
  { "set_config", { content = TEXT }, function(c) return c:set_config(TEXT) end },
  { "inject_secret", { name = "T\u{e4}", value = TEXT, mode = 384 },
    function(c) return c:inject_secret("T\u{e4}", TEXT, 384) end },
  { "inject_secret", { name = "E", value = "" }, function(c) return c:inject_secret("E", "") end },
  { "inject_ssh_key", { user = "admin", public_key = "ssh-rsa A b\nssh-rsa C d" },
    function(c) return c:inject_ssh_key("admin", "ssh-rsa A b\nssh-rsa C d") end },
  { "mount", { tag = "share0", guest_path = "/w", fs_type = "9p" },
    function(c) return c:mount { tag = "share0", guest_path = "/w", fs_type = "9p" } end },
  { "mount", { tag = "share1", guest_path = "/w", fs_type = "9p", read_only = true },
    function(c) return c:mount { tag = "share1", guest_path = "/w", fs_type = "9p", read_only = true } end },
  { "shutdown", { reason = "mb down" }, function(c) return c:shutdown "mb down" end },
}

local HEALTH = { state = "healthy", uptime_seconds = 9007199254740993, agents = {
  { name = "one", running = true, session = "<s>", restarts = -1, error = "" },
  { name = "two", running = false, session = "", restarts = 0, error = "it & \u{2028} failed" },
} }

local function check_calls(report, who, client, heard)
  local ready, err = client:wait_for_ready { interval = 0.02, timeout = 5 }
  report:check(who .. ": wait_for_ready", ready, err)
  report:check(who .. ": ping", client:ping())
  gives(report, who .. ": get_health", HEALTH, client:get_health())
  for _, request in ipairs(requests) do
    local ok, why = request[3](client)
    report:check(("%s: %s"):format(who, request[1]), ok, why)
    local sent = heard(request[1])
    for name, value in pairs(request[2]) do -- what is empty may be left out
      report:same(("%s: %s comes as it was sent: %s"):format(who, request[1], name), value, sent and sent[name])
    end
  end
  err = fails(report, who .. ": a refused secret", "EREMOTE", client:inject_secret("../x", "s3cr3t"))
  report:check(who .. ": the refusal says why", tostring(err):find('invalid secret name "../x"', 1, true), err)
  err = fails(report, who .. ": an unknown type", "EREMOTE", client:request("frob<>"))
  report:check(who .. ": and says which", tostring(err):find("unknown message type: frob<>", 1, true), err)
  report:check(who .. ": ping after refusals", client:ping())
end

local function check_many(report, who, client)
  local failed = 0
  vmctl.scope(function()
    for i = 1, 64 do
      vmctl.spawn(function()
        local ok = i % 3 == 0 and client:get_health() or i % 3 == 1 and client:ping() or
          i % 3 == 2 and client:set_config(("%d"):format(i))
        if not ok then failed = failed + 1 end
      end)
    end
  end)
  report:same(who .. ": 64 calls at once, none failed", 0, failed)
end

local function check_limits(report, who, client)
  local frame = #assert(vmctl.stereos.envelope("set_config", { content = "" })) + 1
  local ok, err = client:set_config(("x"):rep(MAX_LINE - frame))
  report:check(who .. ": the longest line", ok, err)
  fails(report, who .. ": a line too long", "ETOOBIG", client:set_config(("x"):rep(MAX_LINE - frame + 1)))
  report:check(who .. ": ping after it", client:ping())
end

-- Guests that do wrong: the call says how, and the next one is answered.
local function check_misdeeds(report, who, client)
  for _, case in ipairs {
    { "say_garbage", "EPROTO", 5 }, { "say_too_much", "ETOOBIG", 5 }, { "hang_up", "ERESET", 5 },
    { "sleep", "ETIMEDOUT", 0.2 },
  } do
    fails(report, ("%s: %s"):format(who, case[1]), case[2], client:request(case[1], nil, { timeout = case[3] }))
    local ok, err = client:ping()
    report:check(("%s: ping after %s"):format(who, case[1]), ok, err)
  end
end

-- Follows what the guest says that it was asked: heard(kind) gives the payload of the last such request.
local function follow(child)
  local last = {}
  vmctl.spawn(function()
    for line in function() return child.stdout:read_line(1 << 20, math.huge) end do
      local request = json.decode(line)
      if request then last[request.type] = request.payload or {} end
    end
  end)
  return function(kind)
    local payload = support.eventually(function() return last[kind] end)
    last[kind] = nil
    return payload
  end
end

local function drive(report, who, program, role, path)
  local child <close> = support.start(program, role, "unix:" .. path)
  report:same(who .. ": starts", "ready", child.stdout:read_line(100, 10))
  local heard = follow(child)
  local client <close> = assert(vmctl.stereos.connect("unix:" .. path, { timeout = 5 }))
  local states = {}
  client:on_lifecycle(function(event) states[event.state] = event.message end)
  check_calls(report, who, client, heard)
  check_many(report, who, client)
  check_limits(report, who, client)
  check_misdeeds(report, who, client)
  local expected = role == "talkative" and "before <pong>" or nil
  report:same(who .. ": its lifecycle lines", expected, states.healthy)
end

return function(report)
  local folder <close> = support.directory()
  if not support.has_go() then return report:skip("stereos, our client drives a guest in Go", "no Go here") end
  local program, why = support.build "stereos_go"
  if not program then return report:check("stereos, a guest in Go", false, why) end
  vmctl.scope(function()
    drive(report, "guest in Go", program, "guest", folder.path .. "/a")
    drive(report, "talkative guest in Go", program, "talkative", folder.path .. "/b")
  end)
end
