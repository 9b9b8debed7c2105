-- A real guest, driven through the StereOS control plane from boot to power-off.
-- Also in kvm: the control plane is on AF_VSOCK.
local assert = require "luassert"
local guest = require "spec.support.guest"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run
local LIMIT = 90

guest.on_each_channel(describe, "a real guest's control plane", function(channel)
  local vm

  lazy_setup(function() vm = assert(guest.launch { name = "stereos", channel = channel }) end)
  lazy_teardown(function() if vm then vm:close() end end)

  local function output(...)
    local result = assert(vm:run { "sh", "-c", ... })
    assert.equal("", result.stderr)
    return result.stdout
  end

  -- Without the search for what is left open: the machine's link opens here.
  it("is waited for from the moment of its launch", function()
    local c = assert(vm:stereos())
    local states = {}
    local health = assert(c:wait_for_ready { timeout = 60, on_attempt = function(_, state, err) states[#states + 1] = state or err end })
    assert.equal("ready", health.state)
    assert.is_true(health.uptime_seconds < 60)
    assert.equal("ready", states[#states])
    assert.is_true(c:ping())
    local address = channel == "vsock" and "vsock:CID=%d+,port=1024" or "stereos:1024"
    assert.matches("^vmctl.StereosClient%(" .. address .. "%)$", tostring(c))
  end)

  it("answers many tasks at once", run(function()
    local c = assert(vm:stereos())
    local list = {}
    for i = 1, 200 do list[i] = i end
    vmctl.map(list, function(i)
      if i % 2 == 0 then assert(c:ping()) else assert.equal("ready", assert(c:get_health()).state) end
    end)
  end, LIMIT))

  it("takes a configuration whole, and says whether it was new", run(function()
    local c = assert(vm:stereos())
    local text = ("mixtape = \"bäse\" # <&>\u{2028}\n"):rep(20000)
    assert.same({ true, true }, { c:set_config(text) })
    assert.same({ true, false }, { c:set_config(text) })
    assert.equal(text, assert(vm:read_file "/etc/stereos/jcard.toml"))
    assert.equal("644 0:0\n", output "stat -c '%a %u:%g' /etc/stereos/jcard.toml")
    assert.equal("jcard.toml\n", output "ls -A /etc/stereos")
  end, LIMIT))

  it("keeps secrets in memory, for their owner alone, under safe names", run(function()
    local c = assert(vm:stereos())
    assert.same({ true, true }, { c:inject_secret("API_KEY", "s3cr3t\n") })
    assert.same({ true, false }, { c:inject_secret("API_KEY", "s3cr3t\n", 384) })
    assert.same({ true, true }, { c:inject_secret("PUBLIC", "x", 420) })
    assert.equal("s3cr3t\n", assert(vm:read_file "/run/stereos/secrets/API_KEY"))
    assert.equal("600\n644\n700\n", output "cd /run/stereos/secrets; stat -c %a API_KEY PUBLIC .")
    assert.truthy(output("grep ' /run/stereos/secrets \\| /run ' /proc/mounts"):find("tmpfs", 1, true))
    for _, name in ipairs { "", "..", "a/b", "../x", ".hidden", "a\nb" } do
      assert.equal("EREMOTE", code(c:inject_secret(name, "v")))
    end
    assert.equal("EREMOTE", code(c:inject_secret("OCTAL", "v", 600))) -- 01130
    assert.equal("API_KEY\nPUBLIC\n", output "ls -A /run/stereos/secrets")
  end, LIMIT))

  it("replaces a user's keys, and checks each line", run(function()
    local c = assert(vm:stereos())
    local blob = require "vmctl.core".base64_encode(("\0\0\0\11ssh-ed25519\0\0\0\32" .. ("k"):rep(32)))
    local key = "ssh-ed25519 " .. blob .. " spec"
    assert.is_true(c:inject_ssh_key("root", key .. " one\n" .. key .. " two\n"))
    assert.is_true(c:inject_ssh_key("root", key))
    local file = output "cat ~root/.ssh/authorized_keys"
    assert.equal(key, (file:gsub("\n$", "")))
    assert.equal("700 0:0\n600 0:0\n", output "cd ~root/.ssh; stat -c '%a %u:%g' . authorized_keys")
    assert.equal("EREMOTE", code(c:inject_ssh_key("root", key .. "\nno key at all")))
    assert.equal("EREMOTE", code(c:inject_ssh_key("nobody-here", key)))
    assert.equal(file, output "cat ~root/.ssh/authorized_keys")
  end, LIMIT))

  it("refuses mounts that would hide the system, and says what lacks", run(function()
    local c = assert(vm:stereos())
    for _, path in ipairs { "/", "/etc", "/etc/x", "/proc/../etc", "/nix/store", "relative", "/run" } do
      assert.equal("EREMOTE", code(c:mount { tag = "share0", guest_path = path, fs_type = "9p" }), path)
    end
    assert.equal("EREMOTE", code(c:mount { tag = "share0", guest_path = "/mnt/x", fs_type = "ext4" }))
    local _, err, name = c:mount({ tag = "not-there", guest_path = "/mnt/x", fs_type = "virtiofs" }, 30)
    assert.equal("EREMOTE", name)
    assert.truthy(err:find("not-there", 1, true) or err:find("virtiofs", 1, true), err)
    assert.is_true(c:ping())
  end, LIMIT))

  it("tells bad lines what is wrong with them, and loses nothing for others", run(function()
    local c = assert(vm:stereos())
    local raw <close> = assert(vmctl.dial(vm:address(1024)))
    assert(raw:write 'no json\n{"type":"nope"}\n{"type":"set_config","payload":null}\n{"type":"ping"}\n')
    local replies = {}
    for i = 1, 4 do replies[i] = assert(vmctl.stereos.decode(assert(raw:read_line(1 << 20, 10)))) end
    assert.equal("", replies[1].payload.reply_to)
    assert.equal("unknown message type: nope", replies[2].payload.error)
    assert.is_false(replies[3].payload.ok)
    assert.equal("pong", replies[4].type)
    assert(raw:write('{"type":"' .. ("x"):rep(1 << 20), 30))
    local refused = assert(vmctl.stereos.decode(assert(raw:read_line(1 << 20, 30))))
    assert.truthy(refused.payload.error:find "over the limit")
    assert.is_true(c:ping())
  end, LIMIT))

  it("is configured as a whole by one call, twice to the same effect", run(function()
    local set = {
      files = { { path = "/srv/app/run.sh", content = "#!/bin/sh\n", mode = 493 } },
      secrets = { TOKEN = "t0ken" }, config = "mixtape = 'pushed'\n",
    }
    local report = assert(vm:push_config(set))
    assert.is_true(report.changed)
    assert.is_false(assert(vm:push_config(set)).changed)
    assert.equal("755\n", output "stat -c %a /srv/app/run.sh")
    assert.equal("t0ken", assert(vm:read_file "/run/stereos/secrets/TOKEN"))
    assert.equal(set.config, assert(vm:read_file "/etc/stereos/jcard.toml"))
  end, LIMIT))

  it("is found ready by every kind of probe", run(function()
    local ready = vmctl.ready
    assert(ready.all {
      stereos = ready.stereos(vm:stereos()), exec = ready.exec(vm), console = ready.console(vm, "vmctl%-agent: ready"),
      file = ready.file(vm, "/etc/stereos/jcard.toml"), command = ready.command(vm, { "true" }),
      fn = ready.fn(function() return vm:stereos():ping() end, "ping"), timeout = 30,
    })
    local _, err, name = ready.wait(ready.file(vm, "/not/there"), { timeout = 0.5 })
    assert.equal("ETIMEDOUT", name)
    assert.truthy(err:find("/not/there", 1, true))
  end, LIMIT))

  -- Without the search for what is left open, as above.
  it("is reached by another address, and that is the machine's then", function()
    local before, at = assert(vm:stereos()), vm._clients._channel:address(1024)
    local dialled = 0
    local c = assert(vm:stereos { timeout = 20, address = function(timeout)
      dialled = dialled + 1
      return vmctl.dial(at, timeout)
    end })
    assert.is_true(c:ping())
    assert.equal(1, dialled)
    assert.equal("ECLOSED", code(before:ping()))
    assert.equal(c, vm:stereos())
    assert(vmctl.ready.wait(vmctl.ready.stereos(vm), { timeout = 30 }))
    assert.equal("EINVAL", code(vm:stereos { address = "nonsense" }))
    assert.equal(c, vm:stereos())
  end)

  it("acknowledges a shutdown, tells all clients, and powers off", run(function()
    local c = assert(vm:stereos())
    local next_event = c:events { timeout = 20 }
    assert.is_true(c:shutdown "spec is over")
    assert.equal("shutdown", assert(next_event()).state)
    assert.same({ exit_code = 0 }, { exit_code = assert(vm:wait(30)).exit_code })
    assert.equal("ERESET", code(vm:stereos()))
  end, LIMIT))
end)
