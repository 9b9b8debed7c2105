-- The hosts that the specs of ssh have (`make test-ssh`).
local assert = require "luassert"
local ssh_hosts = require "spec.support.ssh_hosts"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 60

local function as_task(fn) return support.shared(fn, LIMIT) end

it("hosts with an sshd are for make test-ssh alone, whose network is not this machine's", function()
  assert.equal(os.getenv "VMCTL_SSH" == nil, ssh_hosts.missing() ~= nil)
end)

describe("hosts with an sshd #ssh", function()
  local hosts
  lazy_setup(function() hosts = ssh_hosts.start(2) end)
  lazy_teardown(function() if hosts then hosts:close() end end)

  local function ssh(...)
    local words = { "ssh", "-o", "ConnectTimeout=2", ... }
    words.env, words.timeout = hosts:environment(), LIMIT
    return assert(vmctl.host:run(words))
  end

  it("are reached by name, have homes of their own, and reach each other", support.run(function()
    assert.equal(0, ssh("h1", "touch ~/mine && vmctl --version").exit_code)
    assert.equal("mine\n", ssh("h1", "ls").stdout)
    assert.equal("", ssh("h2", "ls").stdout)
    assert.equal(0, ssh("h2", ("bash -c '</dev/tcp/%s/22'"):format(hosts[1].address)).exit_code)
  end, LIMIT))

  it("can be cut off, die with all of their processes, and come back", as_task(function()
    hosts[2]:cut()
    assert.equal(255, ssh("h2", "true").exit_code)
    hosts[2]:cut(true)
    support.eventually(function() return ssh("h2", "true").exit_code == 0 end)
    ssh("h2", "sleep 1000 >/dev/null 2>&1 &")
    assert.same({ "sleep 1000 " }, hosts[2]:processes())
    hosts[2]:kill()
    assert.equal(255, ssh("h2", "true").exit_code)
    hosts[2]:start()
    assert.same({}, hosts[2]:processes())
  end))
end)
