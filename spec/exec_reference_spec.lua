-- Takes about 12 seconds.
local agent = require "spec.support.agent"
local core = require "vmctl.core"
local reference = require "spec.support.reference"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run
local is_root = core.fs.identity() == 0

-- Calls fn(client, reference agent) with an agent of a revision: "vmctl", "0.2" or "0.1.9".
local function with(revision, fn, quirks)
  if revision == "vmctl" then return agent.serve(fn) end
  reference.serve(revision, function(address, far) fn(assert(vmctl.exec.client(address)), far) end, quirks)
end

local function on(revisions, title, fn, limit)
  for revision in revisions:gmatch "%S+" do
    it(("%s (%s)"):format(title, revision), run(function()
      with(revision, function(client, far) fn(client, revision, far) end)
    end, limit))
  end
end

local ALL, BOTH = "vmctl 0.2 0.1.9", "0.2 0.1.9"

local function types(far)
  local list = {}
  for i, message in ipairs(far.seen) do list[i] = message[1] end
  return list
end

describe("exec client: probe", function()
  on(ALL, "tells the revisions apart, and asks once", function(client, revision)
    assert.equal(revision, client:probe())
    assert.equal(revision, client:probe())
    assert.equal(revision, client.revision)
  end)

  it("tries what each one knows, in order", run(function()
    with("0.1.9", function(client, far)
      client:probe()
      assert.same({ 6, 12, 1 }, types(far))
    end)
    with("0.2", function(client, far)
      client:probe()
      assert.same({ 6, 12 }, types(far))
    end)
  end))

  it("is not made when the revision is given", run(function()
    reference.serve("0.1.9", function(address, far)
      local client = vmctl.exec.client(address, { revision = "0.1.9" })
      assert.equal("x\n", client:run({ "echo", "x" }).stdout)
      assert.same({ 1 }, types(far))
    end)
  end))
end)

local every_byte = {}
for i = 1, 255 do every_byte[i] = string.char(i) end

local arguments = {
  "", " ", "a b", "'", '"', "it's", "''", "\\", "\\n", "\\\\", "$HOME", "${x}", "`id`", "$(id)", "*", "?", "[a]", "~", "#x",
  "-n", "-e", "--", "-", "=", "A=B", "\n", "\n\n", "x\n", "\nx", "\r\n", "\t", "\xff\xfe", "\xff\n", "\x80'\n\n", "é", "\u{fffd}",
  "!", "!!", "%s%d%%", "<a> & b", "\u{2028}", "\27[0m", ";", "|", "&&", "{}", "\xc3", table.concat(every_byte), "",
}

local function split_zero(text)
  local list = {}
  for item in text:gmatch "([^\0]*)\0" do list[#list + 1] = item end
  return list
end

describe("exec client: a command", function()
  on(ALL, "gets its arguments exactly as they are given", function(client)
    local result = assert(client:run { "printf", "%s\\0", table.unpack(arguments) })
    assert.same(arguments, split_zero(result.stdout))
    assert.equal(0, result.exit_code)
  end)

  on(ALL, "is the program of that name, whatever a shell makes of its first word", function(client)
    assert.equal("a\\tb\\n\n", client:run({ "echo", "a\\tb\\n" }).stdout)
    for _, name in ipairs { "if", "exit", "A=B", "!", "{", "cd -", "", "no such\nprogram", "-n", "--" } do
      local result = assert(client:run { name, "0" })
      assert.is_true(result.exit_code == 127 or (name == "" and result.exit_code == 126), name)
    end
  end)

  on(ALL, "as a string is a shell's", function(client)
    local result = assert(client:run "a=1; echo $((a + 1)); echo e >&2; exit 3")
    assert.same({ "2\n", "e\n", 3 }, { result.stdout, result.stderr, result.exit_code })
    assert.equal("\xff\xfe", client:run("printf '\xff\xfe'").stdout)
  end)

  on(ALL, "gets its environment, and its folder", function(client)
    local env = { A = "1", B = "two words", C = "it's\n\n", D = "\xff\n", E = "", F = "$A" }
    local result = assert(client:run { "sh", "-c", 'printf "%s\\0" "$A" "$B" "$C" "$D" "$E" "$F" "$PWD"', env = env, cwd = "/usr" })
    assert.same({ "1", "two words", "it's\n\n", "\xff\n", "", "$A", "/usr" }, split_zero(result.stdout))
  end)

  on(ALL, "has no input unless it is given one", function(client)
    assert.same({ stdout = "", stderr = "", exit_code = 0 }, client:run { "cat" })
  end)

  on(ALL, "gets a string, a function's pieces or a stream as its input", function(client)
    local input = table.concat(every_byte) .. "\0\n"
    assert.equal(input, client:run({ "cat", stdin = input }).stdout)
    assert.equal("", client:run({ "cat", stdin = "" }).stdout)
    local pieces = { "one ", "two" }
    assert.equal("one two", client:run({ "cat", stdin = function() return table.remove(pieces, 1) end }).stdout)
    local near, far = support.pair()
    near:write "streamed"
    near:shutdown()
    assert.equal("streamed", client:run({ "cat", stdin = far }).stdout)
    near:close()
    far:close()
  end)

  on(ALL, "that does not read all of its input is no failure", function(client)
    assert.same({ stdout = "", stderr = "", exit_code = 0 }, client:run { "true", stdin = ("x"):rep(80000) })
  end)

  on("vmctl 0.2", "gets an input that fits into no command line", function(client)
    local input = ("0123456789abcdef"):rep(100000)
    assert.is_true(input == client:run({ "cat", stdin = input }).stdout)
  end, 10)

  on(ALL, "whose input fails is not run with half of it", function(client)
    local pieces = { { "one" }, { nil, "the disk is gone", "EIO" } }
    local result, message, why = client:run { "cat", stdin = function() return table.unpack(table.remove(pieces, 1)) end }
    assert.is_nil(result)
    assert.equal("EIO", why)
    assert.is_truthy(message:find("standard input: the disk is gone", 1, true))
  end)

  on(ALL, "that cannot start says why", function(client, revision)
    local result = assert(client:run { "true", cwd = "/no/such" })
    assert.equal(revision == "vmctl" and 127 or 1, result.exit_code)
    assert.is_truthy(result.error:lower():find "no such file or directory")
    if revision ~= "vmctl" then
      result = assert(client:run { "true", ("x"):rep(140000) })
      assert.equal(126, result.exit_code)
      assert.is_truthy(result.stderr:lower():find "argument list too long")
    end
  end)

  on(ALL, "killed by a signal has that for an end, and no exit code", function(client, revision)
    local result = assert(client:run { "sh", "-c", "kill -SEGV $$" })
    assert.is_nil(result.exit_code)
    assert.equal(revision == "vmctl" and "SEGV" or "unknown", result.signal)
    assert.equal("EEXIT", code(client:run { "sh", "-c", "kill -SEGV $$", check = true }))
  end)

  on(ALL, "whose child is killed has the shell's exit code", function(client)
    assert.equal(137, client:run({ "sh", "-c", "sh -c 'kill -9 $$'; exit $?" }).exit_code)
  end)

  if is_root then
    on("vmctl 0.2", "runs as another user", function(client)
      assert.equal("65534\n", client:run({ "id", "-u", user = "nobody" }).stdout)
      assert.equal("12 34\n", client:run({ "sh", "-c", "echo $(id -u) $(id -g)", user = "12:34" }).stdout)
      local result = assert(client:run { "id", user = "no-such-user" })
      assert.equal(127, result.exit_code)
      assert.is_truthy((result.error or result.stderr):find "unknown user")
    end)
  end

  it("is not run as root in place of another user", run(function()
    with("0.1.9", function(client, far)
      assert.equal("ENOTSUP", code(client:run { "id", user = "nobody" }))
      assert.same({ 6, 12, 1 }, types(far))
    end)
  end))

  it("with an environment that such an agent would obey is ENOTSUP", run(function()
    with("0.2", function(client)
      for _, name in ipairs { "MATCHLOCK_USER", "MATCHLOCK_ARG_2", "MATCHLOCK_CMD", "__MATCHLOCK_SANDBOX_LAUNCHER" } do
        assert.equal("ENOTSUP", code(client:run { "true", env = { [name] = "root" } }))
      end
      assert.equal("ENOTSUP", code(client:run { "true", env = { ["a-b"] = "\xff" } }))
    end)
  end))

  on(ALL, "with merge_stderr has one stream", function(client)
    assert.equal("o\ne\n", client:run({ "sh", "-c", "echo o; echo e >&2", merge_stderr = true }).stdout)
    assert.equal("o\ne\n", client:run({ "echo o; echo e >&2", merge_stderr = true }).stdout == "" and ""
      or client:run({ "sh", "-c", "echo o; echo e >&2", merge_stderr = true }).stdout)
    local result = assert(client:run { "cat", "/no/such\xff", merge_stderr = true, env = { X = "\xff" } })
    assert.equal("", result.stderr)
    assert.is_truthy(result.stdout:find "No such file")
  end)
end)

describe("exec client: the end of a command", function()
  on(ALL, "is seen at once, though no end of stream comes", function(client)
    assert(client:run { "true" })
    assert(client:run { "true", stdin = "x" })
    if client.revision ~= "0.1.9" then assert(client:run { "cat", stdin = ("x"):rep(100000) }) end
    assert(client:run { "true", tty = true })
    assert(client:start({ "true", stdin = false }):wait())
  end)

  for revision in BOTH:gmatch "%S+" do
    it(("that is missing is ERESET, in every mode (%s)"):format(revision), run(function()
      with(revision, function(client, far)
        client = assert(vmctl.exec.client(client.address, { revision = revision }))
        far.quirks.no_exit = true
        far.linger = function() end
        for _, command in ipairs { { "echo", "x" }, { "echo", "x", on_output = function() end } } do
          local result, _, why = client:run(command)
          assert.is_nil(result)
          assert.equal("ERESET", why)
        end
        local p = assert(client:start { "echo", "x", stdin = false })
        assert.equal("x\n", p:read()) -- what had arrived is not lost
        assert.equal("ERESET", code(p:read()))
        assert.equal("ERESET", code(p:wait()))
        p:close()
      end)
    end))
  end

  it("with fewer than four bytes is EPROTO, not 0", run(function()
    with("0.2", function(client)
      assert.equal("EPROTO", code(client:start({ "true" }):wait()))
      assert.equal("EPROTO", code(client:run { "true", tty = true }))
    end, { short_exit = true })
  end))

  on("0.2 0.1.9", "may come before the last output of a terminal", function(client, _, far)
    far.quirks.early_exit = true
    for _ = 1, 5 do
      local result = assert(client:run { "sh", "-c", "seq 200; exit 4", tty = true })
      assert.equal(4, result.exit_code)
      assert.is_truthy(result.stdout:find "^1\r\n2\r\n")
      assert.is_truthy(result.stdout:find "\r\n200\r\n$")
    end
  end, 5)

  on(BOTH, "does not come when the framing is lost: EPROTO", function(client, _, far)
    client:probe()
    far.quirks.race = true
    local p = assert(client:start { "sh", "-c", "while :; do echo out; echo err >&2; done", stdin = false, timeout = 5 })
    local why
    repeat why = code(p:read()) until why and why ~= "stdout" and why ~= "stderr"
    assert.equal("EPROTO", why)
    assert.equal("EPROTO", code(p:wait()))
  end, 5)

  on(ALL, "comes with all of the output of a command that is busy on both streams", function(client)
    local result = assert(client:run [[for i in 1 2 3 4 5 6 7 8; do seq 2000; seq 2000 >&2; done]])
    local want = assert(client:run "for i in 1 2 3 4 5 6 7 8; do seq 2000; done").stdout
    assert.is_true(want == result.stdout and want == result.stderr)
  end, 5)
end)

describe("exec client: a started command", function()
  on("vmctl 0.2", "has an input, an output and signals", function(client)
    local p = assert(client:start { "sh", "-c", "trap 'echo got TERM; exit 5' TERM; echo go; while read l; do echo $l; done; sleep 3" })
    assert.same({ "go\n", "stdout" }, { p:read() })
    assert.is_true(p:write "line\n")
    assert.equal("line\n", p:read())
    assert.is_true(p:kill "TERM")
    if client.revision == "0.2" then p:write "\n" end
    local text = ""
    for data in function() return (p:read()) end do text = text .. data end
    assert.is_truthy(text:find "got TERM")
    assert.same({ exit_code = 5 }, p:wait())
  end)

  it("of the older revision has neither: ENOTSUP", run(function()
    with("0.1.9", function(client)
      local p = assert(client:start { "sleep", "0.05" })
      assert.is_false(p:has_stdin())
      assert.equal("ENOTSUP", code(p:write "x"))
      assert.equal("ENOTSUP", code(p:kill "TERM"))
      assert.is_true(p:close_stdin())
      assert.same({ exit_code = 0 }, p:wait())
      assert.equal("ENOTTY", code(p:resize(1, 1)))
    end)
  end))

  it("of the newer one ignores SIGTERM, as PID 1 does, and dies of SIGKILL", run(function()
    with("0.2", function(client)
      local p = assert(client:start { "sleep", "60" })
      assert(p:kill "TERM")
      assert.equal("ETIMEDOUT", code(p:wait(0.05)))
      assert(p:kill "KILL")
      assert.same({ signal = "unknown" }, p:wait())
    end)
  end))

  on(ALL, "with a terminal has its size, its keys and a size again", function(client)
    local p = assert(client:start { "sh", "-c", "stty size; read x; stty size; read y; exit 7", tty = true, rows = 40, cols = 100 })
    assert.equal("40 100\r\n", p:read())
    assert(p:resize(24, 80))
    assert(p:write "\n")
    local text = ""
    repeat text = text .. p:read() until text:find "24 80"
    p:close_stdin()
    assert.same({ exit_code = 7 }, (function() repeat local more = p:read() until not more return p:wait() end)())
  end)

  on(ALL, "is told by Ctrl-C", function(client)
    local p = assert(client:start { "sh", "-c", "trap 'exit 9' INT; echo go; read x", tty = true })
    p:read()
    assert(p:write "\3")
    assert.equal(9, p:wait().exit_code)
  end)

  on("vmctl 0.2", "ends when it is dropped", function(client, _, far)
    local p = assert(client:start { "sh", "-c", "echo $$; sleep 60; sleep 60", stdin = false })
    local pid = p:read():match "%d+"
    p:close()
    support.eventually(function() return agent.has_ended(pid) end)
    if far.seen then -- nothing was sent after the request
      for _, message in ipairs(far.seen) do assert.is_false(message[1] == "watched" and message[2] ~= nil) end
    end
  end)

  on(ALL, "with a terminal ends when it is dropped, and when its time is over", function(client)
    local p = assert(client:start { "sh", "-c", "trap '' HUP TERM; echo $$; sleep 60; sleep 60", tty = true })
    local pid = p:read():match "%d+"
    p:close()
    support.eventually(function() return agent.has_ended(pid) end)
    local _, _, why, partial = client:run { "sh", "-c", "echo $$; sleep 60; sleep 60", tty = true, timeout = 1 }
    assert.equal("ETIMEDOUT", why)
    pid = assert(partial.stdout:match "%d+")
    support.eventually(function() return agent.has_ended(pid) end)
  end, 60)

  on(ALL, "that takes too long is ETIMEDOUT, with what there was until then", function(client, revision)
    local result, _, why, partial = client:run { "sh", "-c", "echo begun; sleep 30", timeout = 0.3,
      tty = revision == "0.1.9" or nil }
    assert.is_nil(result)
    assert.equal("ETIMEDOUT", why)
    assert.is_true(partial.timed_out)
    assert.equal(revision == "vmctl" and "begun\n" or revision == "0.1.9" and "begun\r\n" or "", partial.stdout)
  end)
end)

describe("exec client: files", function()
  local function check_files(client)
    local folder = support.tmpdir()
    local path = folder .. "/new/it's a\n$file"
    local content = table.concat(every_byte):rep(400) .. "\0"
    assert(client:write_file(path, content, { mode = 384 }))
    assert.is_true(content == assert(client:read_file(path)))
    assert.equal(384, core.fs.stat(path).mode)
    assert(client:write_file(path, "", { mode = 420 }))
    assert.equal("", client:read_file(path))
    assert.equal(420, core.fs.stat(path).mode)
    os.remove(path)
    assert(client:write_file(folder .. "/new/b", "12345"))
    assert.same({ { name = "b", size = 5, mode = 420, type = "file", is_dir = false } }, client:list_files(folder .. "/new"))
    assert.is_true(client:list_files(folder)[1].is_dir)
    assert.equal(1, #core.fs.list(folder .. "/new")) -- no temporary file is left
    for _, call in ipairs { "read_file", "list_files" } do
      assert.equal("EREMOTE", code(client[call](client, folder .. "/none")))
    end
    assert.equal("EREMOTE", code(client:write_file(folder .. "/new/b/c", "x")))
    assert.equal("EREMOTE", code(client:read_file(folder)))
  end

  on(ALL, "are written, read and listed", check_files, 10)

  it("are so by commands where the agent has no messages for them (0.1.12 to 0.1.24)", run(function()
    with("0.2", check_files, { no_files = true })
  end, 10))

  on(ALL, "have the mode that is asked for, also where one was, and are replaced as a whole; a link is followed", function(client)
    local folder = support.tmpdir()
    for i, name in ipairs { "/f", "/link", "/dangling", "/chain" } do
      if i == 2 then
        assert(core.fs.mkdir(folder .. "/d") and core.fs.symlink("d/old", folder .. "/link"))
        assert(core.fs.symlink("d/new", folder .. "/dangling"))
        assert(core.fs.symlink("link", folder .. "/chain"))
        assert(client:write_file(folder .. "/d/old", "old"))
      end
      for _, mode in ipairs { 2541, 438, 384 } do
        local before = core.fs.stat(folder .. name)
        assert(client:write_file(folder .. name, "text " .. mode, { mode = mode }))
        local after = core.fs.stat(folder .. name)
        assert.equal(mode, after.mode)
        assert.is_true(not before or before.inode ~= after.inode)
        assert.equal("text " .. mode, client:read_file(folder .. name))
      end
      if i > 1 then assert.equal("link", core.fs.stat(folder .. name, true).type) end
    end
    assert.equal("text 384", client:read_file(folder .. "/d/new"))
    assert.equal(2, #core.fs.list(folder .. "/d"))
    assert.equal(5, #core.fs.list(folder))
  end, 60)

  on("0.2", "of more than 16 MiB are read, whatever the agent's words for that are; other refusals stand", function(client)
    local folder = support.tmpdir()
    local content = ("0123456789abcde\n"):rep((16 << 20) // 16 + 1)
    assert(io.open(folder .. "/f", "w")):write(content):close()
    assert.is_true(content == assert(client:read_file(folder .. "/f")))
    os.execute(("mkfifo %s/p"):format(folder))
    local _, _, why, said = client:read_file(folder .. "/p")
    assert.same({ "EREMOTE", "not a regular file" }, { why, said })
  end, 60)

  on(ALL, "are listed with their types", function(client)
    local folder = support.tmpdir()
    os.execute(("cd %s && mkfifo fifo && ln -s x link && mkdir folder && : > file && chmod 4755 file"):format(folder))
    local kinds, modes = {}, {}
    for _, file in ipairs(assert(client:list_files(folder))) do kinds[file.name], modes[file.name] = file.type, file.mode end
    assert.same({ fifo = "fifo", link = "link", folder = "directory", file = "file" }, kinds)
    assert.equal(2541, modes.file)
  end, 30)

  it("keep their names of any bytes", run(function()
    for revision in ALL:gmatch "%S+" do
      with(revision, function(client)
        local folder = support.tmpdir()
        assert(client:write_file(folder .. "/\xff\xfe", "odd"))
        assert.equal("odd", client:read_file(folder .. "/\xff\xfe"))
        if revision ~= "0.2" then assert.equal("\xff\xfe", client:list_files(folder)[1].name) end
      end)
    end
  end, 10))
end)

describe("exec client: forward", function()
  on("vmctl 0.2", "gives a stream of raw bytes, with both ends closed one after the other", function(client)
    local listener = assert(vmctl.listen "tcp:127.0.0.1:0")
    local port = listener:address().port
    local server = vmctl.spawn(function()
      local s = assert(listener:accept())
      local all = {}
      for data in function() return (s:read()) end do all[#all + 1] = data end
      s:write("got " .. table.concat(all))
      s:close()
    end)
    local s = assert(client:forward("127.0.0.1", port))
    assert(s:write "hello\0")
    assert(s:shutdown())
    assert.equal("got hello\0", s:read_exact(10))
    assert.equal("EOF", code(s:read()))
    s:close()
    server:join()
    listener:close()
    local refused, _, why, said = client:forward("127.0.0.1", port)
    assert.is_nil(refused)
    assert.equal("EREMOTE", why)
    assert.is_truthy(said:lower():find "refused")
  end)

  it("is ENOTSUP with the older revision", run(function()
    with("0.1.9", function(client) assert.equal("ENOTSUP", code(client:forward("127.0.0.1", 1))) end)
  end))
end)

describe("exec client: an agent of the reference that is taken for one of ours", function()
  on(BOTH, "runs nothing, and that is no success", function(_, _, far)
    local client = assert(vmctl.exec.client(far.address, { revision = "vmctl" }))
    local path = support.tmpdir() .. "/f"
    for _, tty in ipairs { false, true } do
      local result, message, why = client:run { "touch", path, tty = tty }
      assert.is_nil(result)
      assert.equal("ESTALE", why)
      assert.is_truthy(message:find("the agent is not vmctl's", 1, true))
    end
    local p = assert(client:start { "touch", path, stdin = false })
    assert.equal(126, p:wait().exit_code)
    assert.is_nil(core.fs.stat(path))
  end, 30)

  on(BOTH, "because another was there before is asked again", function(_, revision, far)
    local client = assert(vmctl.exec.client(far.address))
    client.revision = "vmctl"
    assert.equal("ESTALE", code(client:run { "true" }))
    assert.equal("x\n", client:run({ "echo", "x" }).stdout)
    assert.equal(revision, client.revision)
  end, 30)
end)

describe("exec client: a terminal session whose Exit and last output are torn", function()
  local ORDERS = { "Hchb", "Hhcb", "Hhbc", "hHcb", "hHbc", "hbHc" }
  local OUTPUTS = { "hello", "\n", "\n\n", "x", "ab\r\ncd\r\n", ("0123456789abcdef"):rep(256), "\255\0\1" }

  for _, dribble in ipairs { false, true } do
    for _, order in ipairs(ORDERS) do
      local title = ("has all of it, and its exit code: %s%s"):format(order, dribble and ", byte by byte" or "")
      on(dribble and "0.2" or BOTH, title, function(_, _, far)
        far.quirks.order, far.quirks.dribble = order, dribble
        local client = assert(vmctl.exec.client(far.address, { revision = far.revision }))
        vmctl.map(OUTPUTS, function(output)
          local file = support.tmpdir() .. "/output"
          assert(io.open(file, "w")):write(output):close()
          for _, exit_code in ipairs { 0, 2, 255 } do
            local result = assert(client:run { "sh", "-c", 'stty raw; cat "$1"; exit $2', "sh", file, tostring(exit_code), tty = true })
            assert.equal(exit_code, result.exit_code)
            assert.is_true(output == result.stdout, ("%q in place of %q"):format(result.stdout:sub(1, 40), output:sub(1, 40)))
          end
        end)
      end, 60)
    end
  end

  it("with an exit code that no command has is EPROTO in every mode", run(function()
    for _, value in ipairs { -2, 256, 50331648, -2147483648 } do
      with("0.2", function(client)
        assert.equal("0.2", client:probe())
        client._given = true
        for _, command in ipairs { { "true", tty = value ~= 50331648 }, { "true", stdin = ("x"):rep(200000) }, { "true" } } do
          local result, _, why = client:run(command)
          assert.is_nil(result)
          assert.equal("EPROTO", why)
        end
      end, { exit_code = value })
    end
  end, 60))
end)
