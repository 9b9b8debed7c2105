-- A guest that lives, seen from outside and inside. How guests come up, fail and end is in machine_life_spec.lua.
-- Also in kvm: the processor and the channel are others there.
local agent = require "spec.support.agent"
local assert = require "luassert"
local guest = require "spec.support.guest"
local lfs = require "lfs"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run
local host = vmctl.host

local LIMIT = 30        -- seconds: commands take milliseconds, but the machine may be busy
local RING = 8 * 1024
local MIB = 1 << 20

local function random_bytes(count)
  local file <close> = assert(io.open("/dev/urandom", "rb"))
  return file:read(count)
end

guest.on_each_channel(describe, "a guest", function(channel)
  local vm, folder

  lazy_setup(function()
    folder = assert(os.tmpname())
    os.remove(folder)
    assert(lfs.mkdir(folder))
    vm = guest.boot { name = "spec", channel = channel, console_log = folder .. "/console", console_size = RING }
  end)

  lazy_teardown(function()
    if vm then vm:close() end
    os.remove(folder .. "/console")
    lfs.rmdir(folder)
  end)

  -- The body of an `it` with the guest that all share.
  local function with_guest(fn, limit)
    return run(function() fn(vm) end, limit or LIMIT)
  end

  local function output(command)
    local result = assert(vm:run(command))
    assert.same({ "", 0 }, { result.stderr, result.exit_code })
    return result.stdout
  end

  -- How many processes of the guest have this command line.
  local function count(command)
    local n = 0
    for line in output { "ps", "-o", "args" }:gmatch "[^\n]+" do n = n + (line == command and 1 or 0) end
    return n
  end

  local function patiently(what, fn)
    return support.eventually(fn, what .. " did not come")
  end

  local function eventually_gone(command)
    patiently("the end of " .. command, function() return count(command) == 0 end)
  end

  it("is ready at once when it is asked again", with_guest(function()
    assert.is_true(assert(vm:wait_ready(30)) < 5)
  end))

  it("tells which accelerator it has, and why", with_guest(function()
    assert.truthy(vm.accel == "kvm" or vm.accel == "tcg")
    assert.truthy(#vm.accel_reason > 0)
    assert.equal(("vmctl.Machine(spec, %s)"):format(vm.accel), tostring(vm))
  end))

  it("has the agent as its first process, and no network card", with_guest(function()
    assert.equal("/sbin/vmctl-agent\n", output { "readlink", "/proc/1/exe" })
    assert.equal("lo\n", output { "ls", "/sys/class/net" })
  end))

  describe("run", function()
    it("gives stdout, stderr and the exit code", with_guest(function()
      local result = assert(vm:run "echo out; echo err >&2; exit 7")
      assert.same({ "out\n", "err\n", 7 }, { result.stdout, result.stderr, result.exit_code })
      assert.is_nil(result.signal)
    end))

    it("tells the signal that ended a command", with_guest(function()
      assert.equal("KILL", assert(vm:run { "sh", "-c", "kill -9 $$" }).signal)
      assert.equal("TERM", assert(vm:run { "sh", "-c", "kill -15 $$" }).signal)
    end))

    it("gives arguments exactly as they are", with_guest(function()
      local odd = { "a b", "'", '"', "line\nfeed", "", "$HOME", "\\", "\1\127\128\255" }
      local want = table.concat(odd, "\0") .. "\0"
      assert.equal(want, output { "printf", "%s\\0", table.unpack(odd) })
    end))

    it("takes a folder, variables and an input", with_guest(function()
      assert.equal("/proc blue in", output { "sh", "-c", 'printf "%s %s %s" "$PWD" "$COLOUR" "$(cat)"', cwd = "/proc",
        env = { COLOUR = "blue" }, stdin = "in" })
    end))

    it("fails with check when the command does", with_guest(function()
      local result, message, name, record = vm:run { "sh", "-c", "echo why >&2; exit 3", check = true }
      assert.is_nil(result)
      assert.equal("EEXIT", name)
      assert.truthy(message:find("why", 1, true))
      assert.equal(3, record.exit_code)
    end))

    it("says what does not exist", with_guest(function()
      assert.equal(127, assert(vm:run { "/no/such/program" }).exit_code)
    end))

    it("gives what there was when the time is over, and ends the command", with_guest(function()
      local result, _, name, partial = vm:run { "sh", "-c", "echo begun; sleep 4711", timeout = 0.5 }
      assert.is_nil(result)
      assert.equal("ETIMEDOUT", name)
      assert.equal("begun\n", partial.stdout)
      eventually_gone "sleep 4711"
    end))

    it("works for twenty at once", with_guest(function()
      local numbers = {}
      for i = 1, 20 do numbers[i] = i end
      -- Each waits until all of them have begun.
      local script = [[mkdir -p /tmp/twenty; touch /tmp/twenty/$1
        while [ "$(ls /tmp/twenty | wc -l)" -lt 20 ]; do sleep 0.1; done; echo $1; exit $1]]
      local results = vmctl.map(numbers, function(i)
        return assert(vm:run { "sh", "-c", script, "sh", tostring(i), timeout = LIMIT })
      end)
      for i = 1, 20 do
        assert.same({ ("%d\n"):format(i), i }, { results[i].stdout, results[i].exit_code })
      end
    end))

    it("delivers 64 MiB intact", with_guest(function()
      local block = random_bytes(MIB)
      assert(vm:write_file("/tmp/block", block))
      local parts, sum = {}, 0
      local result = assert(vm:run { "sh", "-c", "for i in $(seq 64); do echo $i; cat /tmp/block; done; exit 5",
        timeout = LIMIT * 4, on_output = function(data) parts[#parts + 1], sum = data, sum + #data end })
      assert.equal(5, result.exit_code)
      local text, at = table.concat(parts), 1
      assert.equal(#text, sum)
      for i = 1, 64 do
        local want = ("%d\n"):format(i) .. block
        assert.is_true(text:sub(at, at + #want - 1) == want, ("block %d is damaged"):format(i))
        at = at + #want
      end
      assert.equal(#text, at - 1)
    end, LIMIT * 4))

    it("delivers 16 MiB of input intact", with_guest(function()
      local bytes = random_bytes(16 * MIB)
      local here = assert(host:run { "md5sum", stdin = bytes, check = true }).stdout
      assert.equal(here, output { "md5sum", stdin = bytes, timeout = LIMIT * 2 })
    end, LIMIT * 2))
  end)

  describe("start", function()
    it("gives the streams apart, and takes input", with_guest(function()
      local p <close> = assert(vm:start { "sh", "-c", "read a; echo got $a; echo err >&2; read b; exit 4" })
      assert(p:write "one\n")
      local seen = {}
      while not (seen.stdout and seen.stderr) do
        local data, stream = p:read(10)
        seen[assert(stream)] = data
      end
      assert.same({ stdout = "got one\n", stderr = "err\n" }, seen)
      assert(p:close_stdin())
      assert.same({ exit_code = 4 }, p:wait(10))
    end))

    it("outlives the time limit under which it was started", with_guest(function()
      local p <close> = vmctl.timeout(0.5, function() return assert(vm:start { "cat" }) end)
      assert(vmctl.sleep(0.6))
      assert(p:write("still there", 5))
      assert.equal("still there", p:read(5))
    end))

    it("sends signals", with_guest(function()
      local p <close> = assert(vm:start { "sh", "-c", "trap 'exit 9' TERM; echo up; while :; do sleep 0.1; done" })
      assert.equal("up\n", p:read(10))
      assert(p:kill "TERM")
      assert.same({ exit_code = 9 }, p:wait(10))
      local q <close> = assert(vm:start { "sleep", "100" })
      assert(q:kill "INT")
      assert.same({ signal = "INT" }, q:wait(10))
    end))

    it("gives a terminal that can be resized", with_guest(function()
      local p <close> = assert(vm:start { "sh", "-c", "stty size; read x; stty size; echo got $x", tty = true, rows = 41,
        cols = 101 })
      local text = ""
      repeat text = text .. assert(p:read(10)) until text:find "\n"
      assert(p:resize(24, 80))
      assert(p:write "hello\n")
      for data in function() return (p:read(10)) end do text = text .. data end
      assert.equal("41 101\r\nhello\r\n24 80\r\ngot hello\r\n", text)
      assert.same({ exit_code = 0 }, p:wait(10))
    end))

    it("ends the command's whole group when it is closed", with_guest(function()
      local p = assert(vm:start { "sh", "-c", "sleep 987 & sleep 987 & trap '' TERM; echo up; sleep 987; sleep 987" })
      assert.equal("up\n", p:read(10))
      assert.equal(3, count "sleep 987")
      p:close()
      eventually_gone "sleep 987" -- one of them takes no SIGTERM: SIGKILL comes two seconds later
    end))
  end)

  describe("pipeline", function()
    it("streams from guest to host to guest", with_guest(function()
      local out = assert(vm:pipeline {
        { "seq", "1", "20000" }, { "sort", "-r", on = host }, { "head", "-n", "1" },
      })
      assert.equal("9999\n", out.stdout)
      assert.is_nil(out.failed)
    end))

    it("keeps every exit code and names the first failure", with_guest(function()
      local out = assert(vm:pipeline { { "sh", "-c", "echo x; exit 3" }, { "sh", "-c", "cat; exit 4", on = host } })
      assert.same({ 3, 4 }, { out.stages[1].exit_code, out.stages[2].exit_code })
      assert.equal(1, out.failed.stage)
      assert.equal("x\n", out.stdout)
    end))

    it("ends an endless first command when the last has enough", with_guest(function()
      local out = assert(vm:pipeline { { "yes" }, { "head", "-n", "2", on = host } })
      assert.equal("y\ny\n", out.stdout)
      assert.is_nil(out.failed)
    end))
  end)

  describe("files", function()
    it("are written and read, with their mode", with_guest(function()
      local bytes = random_bytes(100000)
      assert(vm:write_file("/tmp/new/folder/file", bytes, { mode = 384 }))
      assert.is_true(vm:read_file "/tmp/new/folder/file" == bytes)
      assert.equal("600\n", output { "stat", "-c", "%a", "/tmp/new/folder/file" })
      local list = assert(vm:list_files "/tmp/new")
      assert.same({ "folder", true }, { list[1].name, list[1].is_dir })
    end))

    it("that do not exist are EREMOTE", with_guest(function()
      assert.equal("EREMOTE", code(vm:read_file "/no/such/file"))
    end))
  end)

  describe("forward", function()
    it("reaches a server inside", with_guest(function()
      local server <close> = assert(vm:start { "/sbin/vmctl-agent", "--allow-tcp", "local", "--listen",
        "tcp:127.0.0.1:7070" })
      local inner = assert(vmctl.exec.client(function(timeout) return vm:forward("127.0.0.1", 7070, timeout) end))
      patiently("a server", function() return inner:probe(5) end)
      assert.equal("through\n", assert(inner:run { "echo", "through" }).stdout)
      assert(server:kill "TERM")
      assert.same({ exit_code = 0 }, server:wait(10))
    end))

    it("says that nobody listens", with_guest(function()
      local stream, message, name = vm:forward("127.0.0.1", 7071)
      assert.is_nil(stream)
      assert.equal("EREMOTE", name)
      assert.truthy(message:find("refused", 1, true))
    end))
  end)

  describe("the console", function()
    it("is waited for, in what was and in what comes", with_guest(function()
      assert(vm:run "echo first-mark-17 > /dev/console")
      assert.equal("first-mark-17", vm:wait_console("first%-mark%-%d+", 10))
      local waiting = vmctl.spawn(function() return vm:wait_console("second mark", { timeout = 10, plain = true }) end)
      vmctl.yield()
      assert(vm:run "echo second mark > /dev/console")
      assert.equal("second mark", waiting:join())
      assert.truthy(vm:console():find("second mark", 1, true))
    end))

    it("shows its last lines when a pattern never comes", with_guest(function()
      assert(vm:run "echo the last line > /dev/console")
      assert(vm:wait_console("the last line", 10))
      local found, message, name = vm:wait_console("never shown", 0.1)
      assert.is_nil(found)
      assert.equal("ETIMEDOUT", name)
      assert.truthy(message:find("never shown", 1, true))
      assert.truthy(message:find("the last line$"))
    end))

    it("takes what is typed", with_guest(function()
      local p <close> = assert(vm:start { "sh", "-c", "exec < /dev/console; echo open; head -n 1" })
      assert.equal("open\n", p:read(30))
      assert(vm:console_write "typed\n")
      assert.equal("typed\n", p:read(10))
    end))

    it("is kept up to its limit, and all of it in the file", with_guest(function()
      assert(vm:run "for i in $(seq 2000); do echo line $i of many; done > /dev/console")
      assert(vm:wait_console("line 2000 of many", LIMIT))
      assert.is_true(#vm:console() <= RING)
      assert.is_nil(vm:console():find("line 1 of many", 1, true))
      local file <close> = assert(io.open(folder .. "/console", "rb"))
      local log = file:read "a"
      for i = 1, 2000 do assert.truthy(log:find(("line %d of many"):format(i), 1, true)) end
    end, 4 * LIMIT)) -- where each character is an exit to an emulated hypervisor
  end)

  describe("the agent", function()
    it("has at most 2 MiB", function()
      assert.is_true(lfs.attributes(guest.agent, "size") <= agent.most_bytes())
    end)

    it("takes at most 4 MiB of memory when it is idle", with_guest(function()
      local sum = 0
      -- VmRSS counts pages that processes share for each of them, and in some kernels in batches.
      for pss in output("for p in $(pidof vmctl-agent); do cat /proc/$p/smaps_rollup; done"):gmatch "\nPss:%s*(%d+) kB" do
        sum = sum + pss
      end
      assert.is_true(sum > 100 and sum <= 4096, sum .. " KiB")
    end))

    it("leaves no zombie", with_guest(function()
      local pid = output "(sleep 0.1 & echo $!) ; exit 0":match "%d+"
      support.eventually(function() return assert(vm:run { "test", "-e", "/proc/" .. pid }).exit_code == 1 end)
      assert.is_nil(output "cat /proc/[0-9]*/stat 2>/dev/null":match "%) Z ")
    end))
  end)
end)
