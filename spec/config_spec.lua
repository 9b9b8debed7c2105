-- Configuration as a set: its checks, its order, its report, and the control plane's part in it. What commands do:
-- config_exec_spec.lua.
local assert = require "luassert"
local core = require "vmctl.core"
local guest = require "vmctl.guest.stereos"
local jcard = require "vmctl.config.jcard"
local support = require "spec.support"
local vmctl = require "vmctl"

local run = support.run
local push = vmctl.config.push

local KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk3+9Vb2gWJwJ3oQ0e6mF8pXn8WkqY6v5c2m9r0Zz1A joe@x"

local function message(...) return (select(2, ...)) end

-- A control plane with these handlers while `fn(client)` runs.
local function with_guest(handlers, fn)
  local path = "unix:" .. support.tmpdir() .. "/sock"
  local listener = assert(vmctl.listen(path))
  local server = vmctl.spawn(vmctl.stereos.serve, listener, handlers)
  local client <close> = assert(vmctl.stereos.client(path))
  local fine, err = xpcall(fn, debug.traceback, client)
  listener:close()
  client:close()
  server:join()
  if not fine then error(err, 0) end
end

-- Handlers that note what they were asked for.
local function recorder(log, answer)
  local handlers = {}
  for _, kind in ipairs { "set_config", "inject_secret", "inject_ssh_key", "mount" } do
    handlers[kind] = function(payload)
      log[#log + 1] = { kind, payload }
      if answer then return answer(kind, payload) end
      return true
    end
  end
  return handlers
end

-- A target that runs commands: it notes the scripts' arguments and says that something changed.
local function commands(log, reply)
  return {
    start = print, probe = function() return "vmctl" end,
    run = function(_, command)
      log[#log + 1] = command
      return { exit_code = 0, stdout = reply or "changed\n", stderr = "" }
    end,
  }
end

local function untouched()
  local function never() error "nothing may be done" end
  return { exec = { run = never, start = never, probe = never }, stereos = { get_health = never, ping = never }, label = "nobody" }
end

local whole = {
  secrets = { B = "two", A = { value = "one", mode = 416 } }, config = "x = 1\n", ssh_keys = { admin = { KEY, KEY } },
  mounts = { { tag = "share1", guest_path = "/b", fs_type = "virtiofs" },
    { tag = "share0", guest_path = "/a/", fs_type = "9p", read_only = true } },
}

describe("vmctl.config.push", function()
  it("asks the control plane: mounts first, the configuration last", run(function()
    local log = {}
    with_guest(recorder(log), function(client)
      local report = assert(push(client, whole))
      assert.same({
        { "mount", { tag = "share1", guest_path = "/b", fs_type = "virtiofs", read_only = false } },
        { "mount", { tag = "share0", guest_path = "/a", fs_type = "9p", read_only = true } },
        { "inject_ssh_key", { user = "admin", public_key = KEY .. "\n" .. KEY .. "\n" } },
        { "inject_secret", { name = "A", value = "one", mode = 416 } },
        { "inject_secret", { name = "B", value = "two", mode = 384 } },
        { "set_config", { content = "x = 1\n" } },
      }, log)
      assert.equal(6, #report.steps)
      assert.same({ "secret", "B", "stereos" }, { report.steps[5].kind, report.steps[5].name, report.steps[5].via })
      assert.is_nil(report.steps[5].changed) -- this guest does not say
      assert.is_true(report.changed)
      assert.matches("^configuration of unix:[^\n]*: changed\n  mount /b: done %(stereos, %d+ ms%)\n", tostring(report))
    end)
  end))

  it("tells what changed, where the guest says so", run(function()
    local root = support.tmpdir()
    local own = core.fs.identity()
    assert(vmctl.host:write_file(root .. "/etc/passwd", ("admin:x:%d:0::/home:/bin/sh\n"):format(own)))
    assert(vmctl.host:run { "mkdir", root .. "/home", check = true })
    local set = { secrets = { A = "one" }, ssh_keys = { admin = KEY }, config = "x = 1\n" }
    with_guest((guest.handlers { root = root }), function(client)
      local report = assert(push(client, set))
      for _, step in ipairs(report.steps) do assert.is_true(step.changed, step.kind) end
      report = assert(push(client, set))
      for _, step in ipairs(report.steps) do assert.is_false(step.changed, step.kind) end
      assert.is_false(report.changed)
    end)
    assert.equal("one", vmctl.host:read_file(root .. "/run/stereos/secrets/A"))
  end))

  it("works on the agent program, by both ways at once", run(function()
    local root, folder = support.tmpdir(), support.tmpdir()
    local control, commanded = "unix:" .. folder .. "/control", "unix:" .. folder .. "/exec"
    local program = os.getenv "VMCTL_AGENT" or "build/vmctl-agent"
    local child <close> = assert(vmctl.process.spawn { -- luacheck: ignore
      program, "--root", root, "--stereos", control, "--listen", commanded,
      stdin = "null", stdout = "null", stderr = "inherit", death_signal = "KILL" })
    local stereos <close> = assert(vmctl.stereos.client(control))
    assert(vmctl.ready.all { vmctl.ready.stereos(stereos), vmctl.ready.exec(commanded), timeout = 10 })
    local target = { stereos = stereos, exec = assert(vmctl.exec.client(commanded)), label = "agent" }
    local set = { secrets = { A = "one" }, config = "x = 1\n", files = { [folder .. "/file"] = "text" } }
    local report = assert(push(target, set))
    assert.same({ "exec", "stereos", "stereos" }, { report.steps[1].via, report.steps[2].via, report.steps[3].via })
    assert.is_true(report.changed)
    assert.is_false(assert(push(target, set)).changed)
    assert.equal("x = 1\n", vmctl.host:read_file(root .. "/etc/stereos/jcard.toml"))
    assert.equal("one", vmctl.host:read_file(root .. "/run/stereos/secrets/A"))
  end, 15))

  -- The reference's guest: its program mount fails, and says no more.
  local function mounts_once(log)
    local there = {}
    return recorder(log, function(kind, payload)
      if kind ~= "mount" then return true end
      if there[payload.tag] or payload.tag == "absent" then
        return nil, ("mount %s at %s: exit status 32"):format(payload.tag, payload.guest_path), ""
      end
      there[payload.tag] = true
      return true
    end)
  end

  it("does not take a mount that it has done before for a failure, on a guest that refuses a second one", run(function()
    local log = {}
    local function set(tag) return { mounts = { { tag = tag, guest_path = "/mnt", fs_type = "9p" } }, config = "x = 1" } end
    with_guest(mounts_once(log), function(client)
      assert(push(client, set "share0"))
      local report = assert(push(client, set "share0"))
      assert.same({ "mount", false }, { report.steps[1].kind, report.steps[1].changed })
      assert.equal("config", report.steps[2].kind)
      local nothing, err, code
      nothing, err, code, report = push(client, set "absent")
      assert.is_nil(nothing)
      assert.matches("mount /mnt: .*exit status 32 %(this guest refuses a share that is mounted already", err)
      assert.equal("EREMOTE", code)
      assert.same({ "config" }, { report.steps[1].kind }) -- the rest was done
      assert.equal(1, #report.failures)
    end)
  end))

  it("applies [secrets] and [[shared]] of the configuration when told to", run(function()
    local home = assert(os.getenv "HOME")
    local config = 'name = "x"\n[secrets]\nHOME_IS = "${HOME}/x"\nNONE = \'a${VMCTL_SPEC_NOT_SET}b\'\n"\\u0041" = "q\\"\\\\" # c\n'
      .. 'L = """\none\ntwo"""\n[[shared]]\nhost = "./"\nguest = "/workspace"\n[[shared]]\nguest = "/ro"\nreadonly = true # c\n'
    local log = {}
    with_guest(recorder(log), function(client)
      assert(push(client, { config = config, secrets = { NONE = "own" } }, { jcard_apply = true }))
    end)
    local secrets, mounts, sent = {}, {}, nil
    for _, call in ipairs(log) do
      if call[1] == "inject_secret" then secrets[call[2].name] = call[2].value end
      if call[1] == "mount" then mounts[#mounts + 1] = call[2] end
      if call[1] == "set_config" then sent = call[2].content end
    end
    assert.same({ HOME_IS = home .. "/x", NONE = "own", A = 'q"\\', L = "one\ntwo" }, secrets)
    assert.same({ { tag = "share0", guest_path = "/workspace", fs_type = "9p", read_only = false },
      { tag = "share1", guest_path = "/ro", fs_type = "9p", read_only = true } }, mounts)
    assert.is_nil(sent:find("secrets", 1, true))
    assert.truthy(sent:find("[[shared]]", 1, true))
    for _, wrong in ipairs { "[secrets]\nA = 1\n", 'secrets = { A = "b" }\n', "[[shared]]\nhost = 'x'\n", "[[shared]]\nguest = 5\n",
      '[[shared]]\nguest = "/a"\nreadonly = 1\n', "nothing" } do
      local nothing, _, code = push(untouched(), { config = wrong }, { jcard_apply = true })
      assert.same({ nil, "EINVAL" }, { nothing, code }, wrong)
    end
  end))

  it("goes on behind a failed step when told to, and reports all that have failed", run(function()
    local log = {}
    with_guest(recorder(log, function(kind, payload)
      if kind == "inject_secret" and payload.name ~= "B" then return nil, "disk full" end
      return true
    end), function(client)
      local set = { secrets = { A = "first", B = "second", C = "third" }, config = "x = 1" }
      local nothing, err, code, report = push(client, set, { keep_going = true })
      assert.is_nil(nothing)
      assert.matches("secret A: .*disk full %(and 1 more steps failed%)$", err)
      assert.equal("EREMOTE", code)
      assert.same({ "A", "C" }, { report.failures[1].name, report.failures[2].name })
      assert.same({ "B", "jcard.toml" }, { report.steps[1].name, report.steps[2].name })
      assert.matches("secret C: failed: ", tostring(report))
      local _, _, _, short = push(client, set)
      assert.equal(0, #short.steps)
    end)
  end))

  it("names the step that the guest refused, and tells what was done before", run(function()
    local log = {}
    with_guest(recorder(log, function(kind)
      if kind == "inject_secret" then return nil, "disk full of twofold" end
      return true, { changed = false }
    end), function(client)
      local nothing, err, code, report = push({ stereos = client, label = "web" },
        { secrets = { B = "twofold" }, ssh_keys = { admin = KEY }, config = "x = 1" })
      assert.is_nil(nothing)
      assert.matches("^push configuration to web: secret B: inject_secret on .*: disk full of %*%*%*$", err)
      assert.equal("EREMOTE", code)
      assert.equal(1, #report.steps)
      assert.same({ "secret", "B", "EREMOTE" }, { report.failed.kind, report.failed.name, report.failed.code })
      assert.equal(2, #log)
    end)
  end))

  it("does with commands what an old guest does not know", run(function()
    local asked, ran = {}, {}
    local handlers = recorder(asked)
    handlers.set_config = nil
    with_guest(handlers, function(client)
      local report = assert(push({ stereos = client, exec = commands(ran) },
        { secrets = { A = "one" }, config = "x = 1", files = { ["/f"] = "text" } }))
      assert.same({ "exec", "stereos", "exec" }, { report.steps[1].via, report.steps[2].via, report.steps[3].via })
      assert.same({ "the guest's control plane does not know config requests: through commands" }, report.notes)
      assert.equal("/etc/stereos/jcard.toml", ran[#ran][5])
      assert.equal(1, #asked)
      assert.matches("config jcard.toml: set_config on .*: unknown message type: set_config$", message(push(client, { config = "x" })))
    end)
  end))

  it("does with commands what there is no control plane for", run(function()
    local ran = {}
    local client <close> = assert(vmctl.stereos.client("unix:" .. support.tmpdir() .. "/nobody"))
    local report = assert(push({ stereos = client, exec = commands(ran) }, { config = "x = 1" }))
    assert.equal("exec", report.steps[1].via)
    assert.matches("^no control plane, so through commands: ping on .*No such file", report.notes[1])
    assert.equal("ENOENT", select(3, push(client, { config = "x = 1" })))
  end))

  it("gives commands what no line of the control plane can carry", run(function()
    local asked, ran = {}, {}
    local big, bytes = ("\n"):rep(600000), "\255\254"
    with_guest(recorder(asked), function(client)
      local both = { stereos = client, exec = commands(ran) }
      assert.equal("exec", assert(push(both, { config = big })).steps[1].via)
      assert.equal("exec", assert(push(both, { config = bytes })).steps[1].via)
      assert.equal(0, #asked)
      local _, err, code = push(client, { secrets = { A = "x", Z = big } })
      assert.equal("ETOOBIG", code)
      assert.matches("secret Z: 12%d+ bytes with escapes, a line has at most 1048576$", err)
      assert.equal("EINVAL", select(3, push(client, { secrets = { A = "x", Z = bytes } })))
      assert.equal(0, #asked)
    end)
  end))

  it("looks before it asks a guest to mount, which may do it twice", run(function()
    local asked, ran = {}, {}
    local mounts = "/data\n40 1 0:9 / /a ro - 9p share0 ro\n41 1 0:9 / /b rw - virtiofs old rw\n"
    with_guest(recorder(asked), function(client)
      local both = { stereos = client, exec = commands(ran, mounts) }
      local share = { tag = "share0", guest_path = "/a", fs_type = "9p", read_only = true }
      assert.is_false(assert(push(both, { mounts = { share } })).steps[1].changed)
      assert.equal(0, #asked)
      share.guest_path = "/c"
      assert.is_true(assert(push(both, { mounts = { share } })).steps[1].changed)
      assert.equal(1, #asked)
      share.guest_path = "/b"
      assert.equal("EBUSY", select(3, push(both, { mounts = { share } })))
    end)
  end))

  it("keeps secrets out of the log while they are on their way", run(function()
    local log, lines = vmctl.log, {}
    local write = log.write
    log.write = function(text) lines[#lines + 1] = text end
    log.set_level "debug"
    with_guest(recorder({}, function(kind, payload)
      log.info("leak: %s %s", kind, payload.value or "")
      return nil, "bad value: " .. (payload.value or "")
    end), function(client)
      local err = message(push(client, { secrets = { A = "hush-hush" } }))
      assert.is_nil(err:find("hush", 1, true))
    end)
    log.set_level "off"
    log.write = write
    assert.is_true(#lines > 0)
    assert.is_nil(table.concat(lines):find("hush", 1, true))
    assert.equal("hush-hush", log.mask "hush-hush") -- no longer hidden
  end))

  it("takes [secrets] out of the configuration, unless told to keep it", run(function()
    local log, text = {}, 'name = "x"\n[secrets]\nKEY = "hush"\n[net]\nport = 1\n'
    with_guest(recorder(log), function(client)
      local report = assert(push(client, { config = text }))
      assert.equal('name = "x"\n[net]\nport = 1\n', log[1][2].content)
      assert.equal("[secrets] was taken out of it", report.steps[1].note)
      assert.matches("config jcard.toml: done: %[secrets%] was taken out of it", tostring(report))
      report = assert(push(client, { config = text }, { keep_secrets = true }))
      assert.equal(text, log[2][2].content)
      assert.is_nil(report.steps[1].note)
      assert(push(client, { config = "no toml, but no matter either" }))
      local _, err, code = push(client, { config = 'a = "\n[secrets]\n' })
      assert.equal("EINVAL", code)
      assert.matches("config: line 1 is no TOML, so that it cannot be told where %[secrets%] ends", err)
    end)
  end))

  it("only plans with dry_run", run(function()
    local bare = untouched()
    bare.exec = nil
    local report = assert(push(bare, whole, { dry_run = true }))
    assert.is_nil(report.changed)
    assert.equal(6, #report.steps)
    assert.matches("^configuration of nobody: planned\n  mount /b: to be done\n", tostring(report))
  end))

  it("tells of each step", run(function()
    local seen = {}
    with_guest(recorder {}, function(client)
      assert(push(client, whole, { on_step = function(step) seen[#seen + 1] = step.kind end }))
    end)
    assert.same({ "mount", "mount", "ssh_key", "secret", "secret", "config" }, seen)
  end))

  it("does nothing for an empty set", run(function()
    assert.is_false(assert(push(untouched(), {}, { dry_run = true })).changed or false)
    local report = assert(push(commands {}, {}))
    assert.same({ changed = false, steps = 0 }, { changed = report.changed, steps = #report.steps })
  end))

  it("needs commands for files, and says so before anything is done", run(function()
    local target = untouched()
    target.exec = nil
    local _, err, code = push(target, { secrets = { A = "x" }, files = { ["/f"] = "x" } })
    assert.equal("ENOTSUP", code)
    assert.equal("push configuration to nobody: file /f: a file needs a target that runs commands", err)
  end))
end)

describe("a bad set for vmctl.config.push changes nothing:", function()
  local good = { secrets = { A = "x" }, files = { ["/f"] = "x" } }
  local function bad(what, part, expected)
    it(what, run(function()
      local set = {}
      for name, value in pairs(good) do set[name] = value end
      for name, value in pairs(part) do set[name] = value end
      local nothing, err, code, report = push(untouched(), set)
      assert.is_nil(nothing)
      assert.matches(expected, err)
      assert.matches("^E%u+$", code)
      assert.same({}, report.steps)
    end))
  end

  bad("a secret's name with a slash", { secrets = { ["a/b"] = "x" } }, "secret a/b: ")
  bad("a secret's name with dots", { secrets = { ["..x"] = "x" } }, "secret ..x: ")
  bad("a secret without a name", { secrets = { [""] = "x" } }, "secret : ")
  bad("a secret's mode as people write it", { secrets = { A = { value = "hush", mode = 600 } } }, "mode 600 is over 0777")
  bad("a relative path", { files = { ["etc/x"] = "x" } }, "file etc/x: it is not absolute")
  bad("a path with '..'", { files = { ["/etc/../x"] = "x" } }, "file /etc/../x: it has '.' or '..' in it")
  bad("a folder's path", { files = { ["/etc/"] = "x" } }, "it names a folder")
  bad("a file without a path", { files = { { content = "x" } } }, "file %?: it has no path")
  bad("a file twice", { files = { { path = "/x", content = "x" }, ["/x"] = "y" } }, "file /x: it is there twice")
  bad("a file with neither content nor source", { files = { { path = "/x" } } }, "either 'content' or 'source'")
  bad("a source that is not there", { files = { { path = "/x", source = "/no/such" } } }, "file /x: open /no/such: No such file")
  bad("an owner that is none", { files = { { path = "/x", content = "", owner = "-R root" } } }, "'%-R root' is no user")
  bad("a key of an unknown type", { ssh_keys = { joe = "ssh-dss AAAA" } }, "ssh key of joe: line 1")
  bad("one bad key among good ones", { ssh_keys = { joe = { KEY, "command=x" } } }, "ssh key of joe: line 2")
  bad("no key at all", { ssh_keys = { joe = {} } }, "ssh key of joe: ")
  bad("a user's name that is none", { ssh_keys = { ["-x"] = KEY } }, "'%-x' is no user's name")
  for _, path in ipairs { "/", "/etc", "/run/x", "/proc", "relative", "/a/../b" } do
    bad("a mount at " .. path, { mounts = { { tag = "t", guest_path = path, fs_type = "9p" } } },
      "mount " .. path:gsub("%p", "%%%0") .. ": ")
  end
  bad("a mount of another kind", { mounts = { { tag = "t", guest_path = "/m", fs_type = "nfs" } } }, "fs_type 'virtiofs' or '9p'")
  bad("a mount without a tag", { mounts = { { guest_path = "/m", fs_type = "9p" } } }, "no usable tag")
  bad("a [secrets] whose end cannot be told", { config = 'a = "\n[\\u0073ecrets]' }, "config: line 1 is no TOML")
  bad("a mount twice", { mounts = { { tag = "t", guest_path = "/m", fs_type = "9p" },
    { tag = "u", guest_path = "/m/", fs_type = "9p" } } }, "it is there twice")

  it("what is no such set raises at the caller's line", run(function()
    local function raises(expected, ...)
      local target, set, opts = ...
      local fine, err = pcall(function() local x = push(target, set, opts) return x end)
      assert.is_false(fine)
      assert.matches("config_spec.lua:%d+: config.push: " .. expected, err)
    end
    raises("unknown option 'secret' %(did you mean 'secrets'%?%)", untouched(), { secret = {} })
    raises("files: option 'mode': integer", untouched(), { files = { { path = "/x", content = "", mode = 4096 } } })
    raises("files: unknown option 'contents'", untouched(), { files = { { path = "/x", contents = "" } } })
    raises("secrets: a value expected", untouched(), { secrets = { A = {} } })
    raises("secrets: a name expected", untouched(), { secrets = { "x" } })
    raises("ssh_keys: a key or a list of keys expected", untouched(), { ssh_keys = { joe = { 5 } } })
    raises("mounts: unknown option 'path'", untouched(), { mounts = { { path = "/x" } } })
    raises("mounts: a list of mounts expected", untouched(), { mounts = { tag = "t", guest_path = "/m", fs_type = "9p" } })
    raises("unknown option 'time_out'", untouched(), {}, { time_out = 1 })
    raises("a machine, a client", 5, {})
    raises("'root' needs a target that runs commands", { stereos = untouched().stereos }, {}, { root = "/x" })
  end))
end)

describe("taking a table out of a jcard.toml", function()
  local function left(expected, removed, text)
    it(("%q"):format(text):gsub("\\\n", "\\n"):sub(1, 60), function()
      assert.same({ expected, removed }, { jcard.without(text, "secrets") })
    end)
  end

  left("", false, "")
  left("a = 1\n", false, "a = 1\n")
  left("[b]\nc = 1\n", true, '[secrets]\nA = "x"\n[b]\nc = 1\n')
  left("a = 1\n[b]\n", true, 'a = 1\n[ "secrets" ] # those\n# T = 1\nA = """\n[b]\n"""\n[secrets.x]\nq = 1\n[b]\n')
  left('z = ["[secrets]",\n"]"]\n', true, 'z = ["[secrets]",\n"]"]\n[[secrets]]\nq = 1')
  left("x = 2", true, 'secrets = { A = "b" } # c\nx = 2')
  left("x = 2\n", true, "secrets.A = '''\nsecret\n'''\nx = 2\n")
  left("b = 2", true, '"secr\\u0065ts".A = 1\nb = 2')
  left("b = 2", true, "Secrets.A = 1\nb = 2")
  left("[b]\nc = 2", true, '["\\U00000073ecrets"]\nA = 1\n[b]\nc = 2')
  left("b = 2", true, '"\\x73ecrets".A = 1\nb = 2')
  left('"\\\\u0073ecrets".A = 1\n', false, '"\\\\u0073ecrets".A = 1\n') -- a backslash, and then letters
  left("[a]\nsecrets = 5\n", false, "[a]\nsecrets = 5\n")
  left('a = """\n[secrets]\n"""""\nb = \'[secrets]\'\n', false, 'a = """\n[secrets]\n"""""\nb = \'[secrets]\'\n')
  left("a = 1\r\n[b]\r\nc = 2\r\n", true, "a = 1\r\n[secrets]\r\nA = 1\r\n[b]\r\nc = 2\r\n")

  for _, text in ipairs { "nothing",
    '"\\q" = 1', '"\\U00110000" = 1', '"\\u12" = 1', 'a = "\n', "[a\n", "= 3", "a = [1,", "[a] b", "a = '''x" } do
    it(("says where %q is no TOML"):format(text), function()
      local rest, err = jcard.without("x = 1\n\n" .. text, "secrets")
      assert.is_nil(rest)
      assert.equal("line 3 is no TOML", err)
    end)
  end
end)
