-- `vmctl test --on slurm` on a real Slurm of two nodes (`make test-slurm`): each file runs once in the report, whatever dies.
-- Takes about 90 seconds.
local artefacts = require "vmctl.scenario.artefacts"
local assert = require "luassert"
local cjson = require "cjson"
local clusters = require "spec.support.slurm_cluster"
local cli = require "spec.support.cli"
local core = require "vmctl.core"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 240

local QUICK = [[describe("quick", function() it("says where", function() print("node " .. os.getenv "SLURMD_NODENAME") end) end)]]
-- Its first run says that it has begun, and lasts until a file is there.
local HELD = [[describe("held", function() it("waits", function()
  local folder = %q
  local runs = io.open(folder .. "/runs", "a")
  runs:write(os.getenv "SLURMD_NODENAME", " ", io.open "/proc/self/stat":read "n", "\n")
  runs:close()
  while not io.open(folder .. "/go") do os.execute "sleep 0.1" end
end) end)]]

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  assert(file:write(text))
end

local function read(path)
  local file = io.open(path)
  if not file then return "" end
  local text = file:read "a"
  file:close()
  return text
end

local function as_task(fn) return support.shared(fn, LIMIT) end

describe("vmctl test --on slurm #slurm", function()
  local cluster, unshared
  lazy_setup(function()
    assert.is_nil(clusters.missing())
    unshared = assert(core.fs.temporary "/tmp/vmctl-unshared")
    cluster = clusters.start { hide = unshared }
  end)
  lazy_teardown(function()
    if cluster then cluster:close() end
    if unshared then artefacts.remove(unshared) end
  end)

  local function suite(files, folder)
    folder = folder or support.tmpdir()
    assert(core.fs.mkdir(folder .. "/specs"))
    for name, text in pairs(files) do write(("%s/specs/%s_spec.lua"):format(folder, name), (text:gsub("%%q", ("%q"):format(folder)))) end
    return folder
  end

  local function command(folder, ...)
    local words = { cli.PROGRAM, "test", "--on", "slurm", "--json", "--artefacts", folder .. "/artefacts", folder .. "/specs", ... }
    words.env = cluster:environment()
    return words
  end

  -- Starts it; its result is in a file, also when it is killed.
  local function start(folder, ...)
    local words = command(folder, ...)
    words.stdin, words.stdout, words.stderr = "null", "pipe", "null"
    return assert(vmctl.process.spawn(words))
  end

  local function finish(program)
    local parts = {}
    while true do
      local bytes = program.stdout:read(1 << 16, LIMIT)
      if not bytes or bytes == "" then break end
      parts[#parts + 1] = bytes
    end
    local record = assert(program:wait(LIMIT))
    return cjson.decode(table.concat(parts)), record.exit_code
  end

  local function wait_for_begin(folder)
    clusters.wait_until(function() return read(folder .. "/runs") ~= "" end, "the test never began")
  end

  it("runs forty files on both nodes, each once", support.run(function()
    local files = {}
    for i = 1, 40 do files["f" .. i] = QUICK end
    local folder = suite(files)
    local document, code = finish(start(folder))
    assert.same({ 0, 40, 0 }, { code, document.passed, document.failed })
    local paths, nodes = {}, {}
    for _, file in ipairs(document.files) do
      paths[file.path] = true
      nodes[file.output:match "node (%w+)"] = true
    end
    assert.same({ n1 = true, n2 = true }, nodes)
    assert.equal(40, #document.files)
    for i = 1, 40 do assert.is_true(paths[("%s/specs/f%d_spec.lua"):format(folder, i)]) end
    cluster:wait_empty()
  end, LIMIT))

  it("fails for a file that fails, dies or hangs", support.run(function()
    local folder = suite {
      bad = [[describe("bad", function() it("fails", function() error "why" end) end)]],
      dies = [[describe("dies", function() it("at once", function() os.exit(3) end) end)]],
      hangs = [[describe("hangs", function() it("for ever", function() os.execute "sleep 1000" end) end)]],
    }
    local document, code = finish(start(folder, "--file-limit", "2"))
    assert.same({ 1, 0, 3 }, { code, document.passed, document.failed })
    local messages = {}
    for i, file in ipairs(document.files) do messages[i] = file.tests[1].message:match "[^\n]*$" end
    assert.matches("why", messages[1])
    assert.same({ "ended early, with exit code 3", "not finished in time" }, { messages[2], messages[3] })
  end, LIMIT))

  it("waits while the nodes are taken, and while the controller starts anew", as_task(function()
    local folder = suite { one = QUICK }
    local blocker = cluster:ask("sbatch", "--parsable", "--array=1-2", "--output=/dev/null", "--wrap=sleep 1000").stdout:match "%d+"
    local program <close> = start(folder)
    clusters.wait_until(function() return cluster:ask("squeue", "-h", "-n", "vmctl").stdout:find " PD " end, "it is not waited for")
    cluster:restart_controller()
    cluster:ask("scancel", blocker)
    local document, code = finish(program)
    assert.same({ 0, 1, 0 }, { code, document.passed, document.failed })
  end))

  it("runs a file again whose node died, and has it once in the report", as_task(function()
    local folder = suite { held = HELD, one = QUICK }
    local program <close> = start(folder)
    wait_for_begin(folder)
    local node, pid = read(folder .. "/runs"):match "n(%d) (%d+)"
    cluster:kill_node(tonumber(node), tonumber(pid))
    write(folder .. "/go", "")
    local document, code = finish(program)
    assert.same({ 0, 2, 0, 2 }, { code, document.passed, document.failed, #document.files })
    assert.matches("^n%d %d+\nn%d %d+\n$", read(folder .. "/runs"))
    cluster:start_node(tonumber(node))
    cluster:wait_idle()
  end))

  it("leaves its tasks to run when it is killed, and collects them later", support.run(function()
    local folder = suite { held = HELD, one = QUICK }
    local program <close> = start(folder)
    wait_for_begin(folder)
    program:kill "KILL"
    program:wait(LIMIT)
    write(folder .. "/go", "")
    local left
    for _, name in ipairs(core.fs.list(folder .. "/artefacts")) do left = name:find "^slurm" and name or left end
    local resumed = assert(vmctl.host:run { cli.PROGRAM, "test", "--json", "--artefacts", folder .. "/artefacts", "--resume",
      folder .. "/artefacts/" .. left, env = cluster:environment(), timeout = LIMIT })
    local document = cjson.decode(resumed.stdout)
    assert.same({ 0, 2, 0 }, { resumed.exit_code, document.passed, document.failed })
  end, LIMIT))

  it("cancels its tasks when it is interrupted", support.run(function()
    local folder = suite { held = HELD }
    local program <close> = start(folder)
    wait_for_begin(folder)
    program:kill("INT", true)
    local document, code = finish(program)
    assert.equal(130, code)
    assert.equal("Slurm: it was cancelled", document.files[1].ended)
    cluster:wait_empty()
  end, LIMIT))

  -- A suite in a folder of its own on each node, and vmctl test there.
  local function start_copied(name, files, tmp)
    local folder = unshared .. "/" .. name
    assert(core.fs.mkdir(folder))
    suite(files, folder)
    local words = { core.fs.real(cli.PROGRAM), "test", "--on", "slurm", "--copy", "--json", "--artefacts", "out", "specs" }
    words.cwd, words.env = folder, cluster:environment()
    words.env.TMPDIR = tmp
    words.stdin, words.stdout, words.stderr = "null", "pipe", "null"
    return assert(vmctl.process.spawn(words)), folder
  end

  it("copies the folder to nodes that share none, and brings results and artefacts back", support.run(function()
    local files = { bad = [[describe("bad", function() it("fails", function()
      local folder = os.getenv "VMCTL_ARTEFACTS" .. "/bad_fails"
      os.execute("mkdir -p " .. folder .. "; cat specs/data_spec.lua > " .. folder .. "/note")
      error "why"
    end) end)]], data = QUICK }
    for i = 1, 6 do files["f" .. i] = QUICK end
    local program, folder = start_copied("whole", files)
    local document, code = finish(program)
    assert.same({ 1, 7, 1, 8 }, { code, document.passed, document.failed, #document.files })
    local nodes = {}
    for _, file in ipairs(document.files) do nodes[file.output:match "node (%w+)" or "bad"] = true end
    assert.same({ n1 = true, n2 = true, bad = true }, nodes)
    local test = document.files[1].tests[1]
    assert.same({ "bad fails", "out/specs_bad_spec.lua/bad_fails" }, { test.name, test.artefacts })
    assert.equal(QUICK, read(folder .. "/" .. test.artefacts .. "/note"))
  end, LIMIT))

  it("runs a copied file again whose node died, and leaves nothing behind when it is interrupted", as_task(function()
    local flags = support.tmpdir()
    local program <close> = start_copied("dies", { held = HELD:gsub("%%q", ("%q"):format(flags)), one = QUICK }, flags)
    wait_for_begin(flags)
    local node, pid = read(flags .. "/runs"):match "n(%d) (%d+)"
    cluster:kill_node(tonumber(node), tonumber(pid))
    clusters.wait_until(function() return read(flags .. "/runs"):find "\n." end, "the test never began again")
    cluster:start_node(tonumber(node))
    program:kill("INT", true)
    local document, code = finish(program)
    assert.same({ 130, "Slurm: it was cancelled", 2 }, { code, document.files[1].ended, #document.files })
    cluster:wait_empty()
    cluster:wait_idle()
    local left = table.concat(core.fs.list(flags), " ")
    assert.equal(1, select(2, left:gsub("vmctl%-", "")), left) -- of the node that died
  end))

  it("says what it cannot do", support.run(function()
    local folder = suite { one = QUICK }
    local words = command(folder, "--slurm", "--partition=none")
    words.timeout = LIMIT
    local result = assert(vmctl.host:run(words))
    assert.equal(125, result.exit_code)
    assert.truthy(cjson.decode(result.stdout).error.message:find("sbatch: ", 1, true), result.stdout)
    assert.equal(125, cli.run({ "test", "--on", "moon", folder .. "/specs" }).exit_code)
    assert.equal(125, cli.run({ "test", "--resume", folder, folder .. "/specs" }).exit_code)
  end, LIMIT))
end)
