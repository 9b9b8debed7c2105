-- A guest with a network of its own, in a network namespace of its own that leads nowhere: the "outside" is an address of that namespace's.
-- Takes about 25 seconds.
local assert = require "luassert"
local core = require "vmctl.core"
local guest = require "spec.support.guest"
local roots = require "spec.support.roots"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 120

local NAMESPACE = [[
  ip link set lo up && ip link add out type veth peer name far && ip link set far up && ip addr add 192.0.2.1/24 dev out &&
  ip link set out up && ip route add default via 192.0.2.2 && exec lua5.4 -e "$0"]]

-- Says "yes" and "no": the outside answers, this machine's loopback does, by the gateway and by its own address; then what the guest
-- knows of its network, and that a port leads in (who connects speaks first: a passt of 2023 finishes its handshake no sooner).
local SCRIPT = [[
  local vmctl = require "vmctl"
  local servers = { assert(vmctl.listen "tcp:192.0.2.1:7000"), assert(vmctl.listen "tcp:127.0.0.1:7001") }
  local vm <close> = assert(vmctl.machine.launch { root = "erofs:FOLDER/image.erofs", kernel = KERNEL, modules_dir = MODULES, agent = AGENT,
    cache_dir = "FOLDER/cache", network = NETWORK, ports = { "7002:80" } })
  assert(vm:wait_ready(100))
  local function can_connect(where)
    local command = "busybox sleep 3 | busybox timeout 10 busybox nc -w 5 " .. where
    return assert(vm:run { "sh", "-c", command, timeout = 60 }).stdout == "served\n" and "yes" or "no"
  end
  for _, server in ipairs(servers) do
    vmctl.spawn(function()
      local stream <close> = server:accept(100)
      if stream then stream:write "served\n" end
    end)
  end
  print(can_connect "192.0.2.1 7000", can_connect "10.0.2.2 7001", can_connect "127.0.0.1 7001")
  print((vm:run "cat /etc/resolv.conf; busybox ip route").stdout)
  local _ <close> = assert(vm:start { "busybox", "nc", "-ll", "-p", "80", "-e", "/bin/cat" })
  assert(vmctl.ready.wait(vmctl.ready.port(vm:_client(), 80), 30))
  local stream <close> = assert(vmctl.dial "tcp:127.0.0.1:7002")
  assert(stream:write "hello\n")
  print(stream:read_line(100, 30))
  assert(vm:shutdown())
  for _, server in ipairs(servers) do server:close() end]]

describe("a guest's network", function()
  -- Runs the script with a network, and returns its output.
  local function tried(network)
    local folder = support.tmpdir()
    assert(os.execute(("chmod 755 '%s'; mkdir '%s/tree'"):format(folder, folder)))
    roots.erofs(roots.folder(folder .. "/tree"), folder .. "/image.erofs")
    local script = SCRIPT:gsub("FOLDER", folder):gsub("%u%u%u+", {
      KERNEL = ("%q"):format(guest.kernel), MODULES = ("%q"):format(guest.modules_dir()), AGENT = ("%q"):format(guest.agent),
      NETWORK = network,
    })
    local result = assert(vmctl.host:run { "unshare", core.fs.identity() == 0 and "-n" or "-rn", "sh", "-c", NAMESPACE, script,
      timeout = LIMIT, env = { LUA_PATH = package.path, LUA_CPATH = package.cpath } })
    assert.truthy(result.stdout:find("\nhello\n$"), result.stdout .. result.stderr)
    return result.stdout
  end

  local function has(command) return vmctl.host:run({ "sh", "-c", command }).exit_code == 0 end

  it("leads nowhere where nothing else is asked for", support.run(function()
    if not has "unshare -rn true" then return pending "no namespaces here" end
    local said = tried '"user"'
    assert.truthy(said:find "^no\tno\tno\n", said)
    assert.falsy(said:find("nameserver", 1, true), said)
    assert.falsy(said:find("default", 1, true), said)
  end, LIMIT))

  it("has a way out where that is asked for, and none to this machine's loopback", support.run(function()
    if not has "command -v passt && unshare -rn true" then return pending "no passt here" end
    local said = tried '{ "user", out = true }'
    assert.truthy(said:find "^yes\tno\tno\n", said)
    assert.truthy(said:find("nameserver 10.0.2.2\n", 1, true), said)
    assert.truthy(said:find("default via 10.0.2.2 ", 1, true), said)
  end, LIMIT))

  it("leads by its gateway to this machine's loopback as well where that is asked for", support.run(function()
    if not has "unshare -rn true" then return pending "no namespaces here" end
    local said = tried '{ "user", out = true, host_loopback = true }'
    assert.truthy(said:find "^yes\tyes\tno\n", said)
    assert.truthy(said:find("nameserver 10.0.2.3\n", 1, true), said)
    assert.truthy(said:find("default via 10.0.2.2 ", 1, true), said)
  end, LIMIT))

  it("is refused where it cannot be", support.run(function()
    local function refused(what)
      return support.code(vmctl.machine.launch { kernel = guest.kernel, initrd = guest.image, network = what })
    end
    assert.equal("EINVAL", refused { "user", host_loopback = true })
    for _, bad in ipairs { "world", { "world" }, { "user", dns = true } } do
      assert.has_error(function() refused(bad) end)
    end
  end))
end)
