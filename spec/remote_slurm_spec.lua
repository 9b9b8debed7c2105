-- A scenario whose machines run on nodes of a real Slurm (`make test-slurm`).
local assert = require "luassert"
local clusters = require "spec.support.slurm_cluster"
local core = require "vmctl.core"
local guest = require "spec.support.guest"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 240

local SCRIPT = [[
local vmctl = require "vmctl"
local defaults = { kernel = %q, initrd = %q, networks = { "lan" }, boot_timeout = 120 }
local opts = { defaults = defaults, hosts = { slurm = { "-p", "p" }, command = %q }, artefacts = %q }
vmctl.scenario.run("nodes", { "one", "two" }, opts, function(vms)
  vms.one:succeed "ping -c 1 -W 30 two"
  io.stdout:write(vms.one:machine().host, " ", vms.two:machine().host, "\n"):flush()
  if arg[1] == "stay" then vmctl.sleep(1000) end
end)
]]

local function task(fn) return support.shared(fn, LIMIT) end

describe("the machines of a scenario on nodes of Slurm #slurm", function()
  local cluster, folder
  lazy_setup(function()
    assert.is_nil(clusters.missing())
    cluster = clusters.start()
    folder = assert(core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-spec"))
    local file <close> = assert(io.open(folder .. "/script.lua", "w"))
    assert(file:write(SCRIPT:format(guest.kernel, guest.image, assert(core.fs.real(guest.root .. "bin/vmctl")), folder .. "/artefacts")))
  end)
  lazy_teardown(function()
    if cluster then cluster:close() end
    if folder then os.execute(("rm -r '%s'"):format(folder)) end
  end)

  local function start(...)
    local words = { "lua5.4", folder .. "/script.lua", ... }
    words.env, words.stdin, words.stdout, words.stderr = cluster:environment(), "null", "pipe", "inherit"
    return assert(vmctl.process.spawn(words))
  end

  -- No salloc is left either, once its allocation is gone.
  local function nothing_left()
    cluster:wait_empty()
    clusters.wait_until(function()
      for _, name in ipairs(core.fs.list "/proc") do
        local file = name:find "^%d+$" and io.open(("/proc/%s/environ"):format(name))
        local environment = file and file:read "a" or ""
        local comm = file and io.open(("/proc/%s/comm"):format(name))
        local program = comm and comm:read "l"
        if file then file:close() end
        if comm then comm:close() end
        if program == "salloc" and environment:find("SLURM_CONF=" .. cluster.conf, 1, true) then return false end
      end
      return true
    end, "a salloc is left")
  end

  it("are spread over them, share a network, and give the nodes back", task(function()
    local script <close> = start()
    assert.equal("slurm:n1 slurm:n2", script.stdout:read_line(1000, LIMIT))
    assert.same({ exit_code = 0 }, script:wait(LIMIT))
    nothing_left()
  end))

  it("give them back when the script is killed", task(function()
    local script <close> = start "stay"
    assert.equal("slurm:n1 slurm:n2", script.stdout:read_line(1000, LIMIT))
    script:kill("KILL", true)
    assert(script:wait(LIMIT))
    nothing_left()
    assert.equal(1, select(2, cluster:ask("sinfo", "-h", "-o", "%T").stdout:gsub("idle\n", "")))
  end))

  it("are waited for no longer than was said, and then withdrawn from the queue", task(function()
    local job = cluster:ask("sbatch", "--parsable", "-N2", "-o", "/dev/null", "--wrap", "sleep 1000").stdout:match "%d+"
    clusters.wait_until(function() return cluster:ask("squeue", "-h", "-o", "%T").stdout == "RUNNING\n" end, "the job never ran")
    local result = assert(vmctl.host:run { "lua5.4", "-e", [[
      print(select(3, require("vmctl.scenario.slurm_hosts").allocate({ slurm = { "-p", "p" }, timeout = 2 }, 2)))
    ]], env = cluster:environment(), timeout = LIMIT })
    assert.equal("ETIMEDOUT\n", result.stdout)
    clusters.wait_until(function() return cluster:ask("squeue", "-h", "-o", "%A").stdout == job .. "\n" end, "it waits in the queue")
    cluster:ask("scancel", job)
    nothing_left()
  end))
end)
