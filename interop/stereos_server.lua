--- StereOS' control plane: programs in Go drive our server, first the reference client package, then a stand-in that knows
--- the wire only.
local json = require "vmctl.json"
local support = require "support"
local vmctl = require "vmctl"

local CONFIG = '[a]\nb = "<&>\u{2028}\u{2029}\\ \u{e4}\u{20ac}\u{1F600}\t"\n'
local AGENTS = { { name = "one", running = true, session = "<s>", restarts = 2 } }
local UPTIME = 9007199254740993 -- no float has this value

-- The steps of a boot: the type and the payload that our handlers must get.
local steps = {
  { "set_config", "set_config", { content = CONFIG } },
  { "inject_ssh_key", "inject_ssh_key", { user = "admin", public_key = "ssh-ed25519 AAAA a@b\nssh-rsa BBBB c@d\n" } },
  { "inject_secret", "inject_secret", { name = "TOKEN", value = 's3cr3t \1<>&"\\\n', mode = 384 } },
  { "inject_secret plain", "inject_secret", { name = "EMPTY", value = "", mode = 0 } },
  { "mount", "mount", { tag = "share0", guest_path = "/work/a b", fs_type = "9p", read_only = false } },
  { "mount read-only", "mount", { tag = "share1", guest_path = "/data", fs_type = "virtiofs", read_only = true } },
  { "mount refused", "mount", { tag = "share2", guest_path = "/etc", fs_type = "9p", read_only = false } },
  { "shutdown", "shutdown", { reason = "mb down" } },
}

-- Handlers that remember what they were asked. The guest is ready when it has been asked three times.
local function recorder()
  local seen, asked, off = {}, 0, false
  local handlers = { after = { shutdown = function() off = true end } }
  function handlers.get_health()
    asked = asked + 1
    return { state = asked > 2 and "ready" or "booting", agents = AGENTS, uptime_seconds = UPTIME }
  end
  for _, kind in ipairs { "set_config", "inject_secret", "inject_ssh_key", "mount", "shutdown" } do
    handlers[kind] = function(payload)
      table.insert(seen, { kind, payload })
      if payload.guest_path == "/etc" then return nil, "mount at /etc: not allowed <&>", "EINVAL" end
      return true, { changed = true }
    end
  end
  return handlers, seen, function() return off end
end

-- Calls fn(address) while a server is there.
local function with_server(handlers, path, fn)
  local address = "unix:" .. path
  local listener <close> = assert(vmctl.listen(address))
  local server = vmctl.spawn(vmctl.stereos.serve, listener, handlers)
  fn(address)
  listener:close()
  server:join(5)
end

local function check_steps(report, who, results, seen)
  local at = 0
  for _, step in ipairs(steps) do
    local name, result = step[1], results[step[1]]
    if result then
      at = at + 1
      local said = result.error
      local as_expected = name == "mount refused" and said:find("not allowed <&>", 1, true) or said == ""
      report:check(("%s: %s is answered"):format(who, name), as_expected, said)
      report:same(("%s: %s comes as it was sent"):format(who, name), { step[2], step[3] }, seen[at])
    elseif name ~= "inject_secret plain" then -- the reference package has no call for that
      report:check(("%s: %s"):format(who, name), false, "not reported")
    end
  end
  report:same(who .. ": nothing else was asked", at, #seen)
end

local function drive(report, who, path, ...)
  local handlers, seen, is_off = recorder()
  local command = { ... }
  with_server(handlers, path, function(address)
    command[#command + 1] = address
    local child <close> = support.start(table.unpack(command))
    local lines, ok = support.lines(child)
    report:check(who .. ": runs to its end", ok, "it failed, see above")
    local results = {}
    for _, line in ipairs(lines) do
      local result = json.decode(line)
      if result then results[result.step] = result end
    end
    for _, name in ipairs { "wait_for_ready", "ping", "get_health", "ping after a refusal" } do
      local said = results[name] and results[name].error or "not reported"
      report:check(("%s: %s"):format(who, name), said == "", said)
    end
    local health = results.get_health and results.get_health.health
    local expected = { state = "ready", agents = AGENTS, uptime_seconds = UPTIME }
    report:same(who .. ": health comes as it was sent", expected, health)
    check_steps(report, who, results, seen)
    report:check(who .. ": power is turned off after the ack", support.eventually(is_off), "after.shutdown was not called")
  end)
end

-- Answers of the reference guest to lines that no client sends (docs/wire/stereos.md#ack-rules): reply_to, and the beginning of
-- `error`; or the type of the reply.
local refusals = {
  ["not JSON"] = { "", "malformed JSON" }, ["cut object"] = { "", "malformed JSON" }, ["list"] = { "", "malformed JSON" },
  ["two objects"] = { "", "malformed JSON" }, ["type a number"] = { "", "malformed JSON" },
  ["empty object"] = { "", "unknown message type" }, ["null"] = { "", "unknown message type" },
  ["unknown type"] = { "frob<>", "unknown message type: frob<>" },
  ["no payload"] = { "set_config", "decode config payload: envelope set_config has no payload" },
  ["payload a list"] = { "mount", "decode mount payload" },
  ["mode a string"] = { "inject_secret", "decode secret payload" },
  ["mode over 32 bits"] = { "inject_secret", "decode secret payload" },
  ["empty lines and CR"] = "pong", ["ping with a payload"] = "pong", ["longest line"] = { "set_config" },
}

local function check_reply(report, name, text)
  local expected, message = refusals[name], json.decode(text) or {}
  local payload = message.payload or {}
  local ok = false
  if type(expected) == "string" then
    ok = message.type == expected
  elseif expected then
    local says = expected[2] and (payload.error or ""):sub(1, #expected[2]) == expected[2]
    ok = message.type == "ack" and payload.reply_to == expected[1] and payload.ok == not expected[2] and
      (says or not expected[2])
  end
  report:check("raw: " .. name, ok, text)
end

local function send_raw(report, path, program)
  local handlers, seen = recorder()
  with_server(handlers, path, function(address)
    local child <close> = support.start(program, "raw", address)
    local lines, ok = support.lines(child)
    report:check("raw: runs to its end", ok, "it failed, see above")
    local count = 0
    for _, line in ipairs(lines) do
      local name, text = line:match "^(.-)\t(.*)$"
      if refusals[name] then
        count = count + 1
        check_reply(report, name, text)
      elseif name == "pipeline" then
        report:same("raw: 64 requests at once are answered in order", ("ph"):rep(32), text)
      elseif name == "line too long" then
        local payload = (json.decode(text) or {}).payload or {}
        report:check("raw: line too long", text:find "^!" or payload.ok == false, text)
      else
        report:check("raw: " .. name, text == '{"type":"pong"}', text)
      end
    end
    local all = 0
    for _ in pairs(refusals) do all = all + 1 end
    report:same("raw: every case was answered", all, count)
  end)
  report:same("raw: only the longest line reached a handler", 1, #seen)
end

return function(report)
  local folder <close> = support.directory()
  if not support.has_go() then return report:skip("stereos, programs in Go drive our server", "no Go here") end
  local reference, why, is_missing = support.build "stereos"
  if reference then
    drive(report, "reference client", folder.path .. "/a", reference)
  elseif is_missing then
    report:skip("stereos, the reference client drives our server", "it is not to be had: " .. why)
  else
    report:check("stereos, a program on the reference client", false, why)
  end
  local program
  program, why = support.build "stereos_go"
  if not program then return report:check("stereos, a client in Go", false, why) end
  drive(report, "client in Go", folder.path .. "/b", program, "boot")
  send_raw(report, folder.path .. "/c", program)
end
