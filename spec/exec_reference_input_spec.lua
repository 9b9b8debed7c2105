-- Takes about 10 seconds.
-- Also in asan: input of others.
local agent = require "spec.support.agent"
local core = require "vmctl.core"
local reference = require "spec.support.reference"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run

-- Calls fn(client, agent, folder) with an agent of a revision whose temporary files go into the folder, where none may be left.
local function with(revision, fn, quirks)
  local folder = support.tmpdir()
  quirks = quirks or {}
  quirks.env = quirks.env or {}
  quirks.env.TMPDIR = folder
  reference.serve(revision, function(address, far)
    fn(assert(vmctl.exec.client(address)), far, folder)
    support.eventually(function() return #core.fs.list(folder) == 0 end)
  end, quirks)
end

local function on(revisions, title, fn, quirks)
  for revision in revisions:gmatch "%S+" do
    it(("%s (%s)"):format(title, revision), run(function()
      with(revision, fn, quirks and quirks())
    end, 120))
  end
end

-- A folder of programs for PATH: those named, and a script in place of each of `others`.
local function programs(names, others)
  local folder = support.tmpdir()
  for name in names:gmatch "%S+" do
    local pipe = assert(io.popen("command -v " .. name))
    assert(core.fs.symlink(assert(pipe:read "l"), folder .. "/" .. name))
    pipe:close()
  end
  for name, script in pairs(others or {}) do
    assert(io.open(folder .. "/" .. name, "w")):write("#!/bin/sh\n" .. script .. "\n"):close()
    assert(core.fs.chmod(folder .. "/" .. name, 493))
  end
  return folder
end

local every_byte = {}
for i = 0, 255 do every_byte[i] = string.char(i) end
local BYTES = table.concat(every_byte, "", 0)
local INPUT = BYTES:rep(12000) -- 3 MB
local TEE = "tee /dev/stderr; exit 3"

local function sessions(far)
  local count = 0
  for _, message in ipairs(far.seen) do if message[1] == 9 then count = count + 1 end end
  return count
end

describe("exec: an input for a command of an agent that gives none", function()
  on("0.1.9", "is any bytes, of any number, and stderr stays apart", function(client, far)
    for _, input in ipairs { INPUT, INPUT:rep(2), ("\0"):rep(100000), ("\4\3\26\17\19\r\n"):rep(20000) } do
      local before = sessions(far)
      local result = assert(client:run { "sh", "-c", TEE, stdin = input })
      assert.is_true(input == result.stdout and input == result.stderr)
      assert.equal(3, result.exit_code)
      assert.equal(#input > 4 << 20 and 2 or 1, sessions(far) - before)
    end
  end)

  on("0.1.9", "comes from a function, a stream or a string; a command of a shell takes it as well", function(client)
    local left = 40
    local result = assert(client:run { "wc", "-c", stdin = function()
      left = left - 1
      return left >= 0 and BYTES:rep(400) or nil
    end })
    assert.equal(40 * 256 * 400, math.tointeger(tonumber(result.stdout)))
    local near, far_end = support.pair()
    vmctl.scope(function()
      vmctl.spawn(function()
        near:write(INPUT, math.huge)
        near:shutdown()
      end)
      assert.is_true(INPUT == assert(client:run { "cat", stdin = far_end }).stdout)
    end)
    near:close()
    far_end:close()
    assert.is_true(INPUT .. "x" == assert(client:run { "sh", "-c", "cat; printf x", stdin = INPUT, env = { X = "\xff" } }).stdout)
  end)

  on("0.1.9", "that fails, or does not end in time, is not given to the command", function(client, far)
    local path = support.tmpdir() .. "/ran"
    local pieces = { { INPUT:rep(2) }, { nil, "the disk is gone", "EIO" } }
    local result, message, why = client:run { "touch", path, stdin = function() return table.unpack(table.remove(pieces, 1)) end }
    assert.is_nil(result)
    assert.equal("EIO", why)
    assert.is_truthy(message:find("standard input: the disk is gone", 1, true))
    assert.equal(1, sessions(far))
    local near, open = support.pair()
    near:write "some"
    assert.equal("ETIMEDOUT", code(client:run { "touch", path, stdin = open, timeout = 0.2 }))
    near:close()
    open:close()
    assert.is_nil(core.fs.stat(path))
  end)

  on("0.1.9", "that the guest cannot hold is EREMOTE, with its words", function(client)
    local result, message, why = client:run { "cat", stdin = INPUT }
    assert.is_nil(result)
    assert.equal("EREMOTE", why)
    assert.is_truthy(message:find("standard input: head: No space left on device", 1, true), message)
  end, function() return { env = { PATH = programs("sh mkdir stty rm wc",
    { head = "echo 'head: No space left on device' >&2; exit 1" }) } } end)

  on("0.1.9", "that is cut short on its way is EREMOTE", function(client)
    assert.equal("EREMOTE", code(client:run { "cat", stdin = INPUT }))
  end, function() return { env = { PATH = programs("sh mkdir stty rm wc dd", { head = "exec dd bs=1000 count=1 2>/dev/null" }) } } end)

  on("0.1.9", "comes in pieces where there is no stty", function(client, far)
    assert.is_true(INPUT:sub(1, 200000) == assert(client:run { "cat", stdin = INPUT:sub(1, 200000) }).stdout)
    assert.equal(1, sessions(far))
  end, function() return { env = { PATH = programs("sh mkdir rm wc base64 cat head") } } end)

  on("0.1.9", "is of files of any size", function(client)
    local path = support.tmpdir() .. "/file"
    assert(client:write_file(path, INPUT, { mode = 384 }))
    assert.equal(384, core.fs.stat(path).mode)
    assert.is_true(INPUT == assert(client:read_file(path)))
  end)
end)

describe("exec: a command whose whole input comes before it", function()
  on("0.1.9 0.2", "reads, writes and ends as any", function(client, _, folder)
    local late = client:probe() == "0.1.9" -- the other one gives an input, and mixes up two streams
    local p = assert(client:start { "sh", "-c", late and TEE or "cat; exit 3", stdin = "whole" })
    assert.is_true(p:has_stdin())
    local texts = { stdout = {}, stderr = {} }
    vmctl.scope(function()
      vmctl.spawn(function()
        for data, name in function() return p:read(60) end do
          if not texts[name] then break end
          table.insert(texts[name], data)
        end
      end)
      for at = 1, #INPUT, 100000 do assert(p:write(INPUT:sub(at, at + 99999))) end
      if late then assert.same({ stdout = {}, stderr = {} }, texts) end
      assert(p:close_stdin())
    end)
    assert.same({ exit_code = 3 }, p:wait())
    assert.is_true(INPUT == table.concat(texts.stdout) and (late and INPUT or "") == table.concat(texts.stderr))
    assert.equal("ESRCH", code(p:write "x"))
    assert.is_truthy(tostring(p):find("sh on unix:", 1, true))
    p:close()
    assert.equal(0, #core.fs.list(folder))
  end)

  on("0.1.9", "does not begin without its end, and leaves nothing when it is dropped", function(client)
    local p = assert(client:start { "cat", stdin = "whole" })
    assert(p:write(INPUT:rep(2)))
    assert.equal("ETIMEDOUT", code(p:read(0.02)))
    assert.equal("ETIMEDOUT", code(p:wait(0)))
    assert.same({ "ENOTSUP", "ENOTSUP", "ENOTTY" }, { code(p:kill()), code(p:close_stdout()), code(p:resize(1, 1)) })
    vmctl.scope(function()
      local reader = vmctl.spawn(function() return code(p:read(60)) end)
      vmctl.yield()
      p:close()
      assert.equal("ECLOSED", reader:join())
    end)
    assert.same({ "ECLOSED", "ECLOSED", "ECLOSED" }, { code(p:write "x"), code(p:wait()), code(p:close_stdin()) })
    p:close()
  end)

  on("0.1.9", "fails for all who wait when its input cannot be stored", function(client)
    local p = assert(client:start { "cat", stdin = "whole" })
    vmctl.scope(function()
      local reader = vmctl.spawn(function() return code(p:read(60)) end)
      assert.equal("EREMOTE", code(p:write(INPUT:rep(2))))
      assert.equal("EREMOTE", reader:join())
    end)
    assert.equal("EREMOTE", code(p:close_stdin()))
    p:close()
  end, function() return { env = { PATH = programs("sh mkdir stty rm wc", { head = "exit 1" }) } } end)

  on("0.1.9", "is a stage of a pipeline, and the target of a copy", function(client)
    local result = assert(client:pipeline { stdin = INPUT, { "cat" }, { "sh", "-c", "cat; echo e >&2" }, { "wc", "-c" } })
    assert.equal(#INPUT, math.tointeger(tonumber(result.stdout)))
    assert.equal("e\n", result.stages[2].stderr)
    result = assert(client:pipeline { { "seq", "100000", on = vmctl.host }, { "tail", "-n", "1" }, { "cat", on = vmctl.host } })
    assert.equal("100000\n", result.stdout)
    local from, to = support.tmpdir(), support.tmpdir()
    assert(io.open(from .. "/a", "w")):write(INPUT):close()
    assert(vmctl.files.push(client, from, to .. "/copy"))
    assert.is_true(INPUT == assert(io.open(to .. "/copy/a")):read "a")
  end)
end)

describe("exec: a command line over 128 KiB for an agent of the reference", function()
  local arguments = {}
  for i = 1, 20000 do arguments[i] = ("argument %d'"):format(i) end
  arguments[7] = "\xff\n"

  on("0.1.9 0.2", "comes through its standard input, exactly", function(client)
    local result = assert(client:run { "printf", "%s\\0", table.unpack(arguments) })
    assert.is_true(table.concat(arguments, "\0") .. "\0" == result.stdout)
    assert.equal(0, result.exit_code)
  end)

  on("0.1.9 0.2", "keeps its input, its variables, its folder and its end", function(client)
    local script = "cat; printf '%s' \"$A$B\" \"$PWD\" $#; echo e >&2; exit 5"
    for _, input in ipairs { "in", INPUT } do
      local result = assert(client:run { "sh", "-c", script, "sh", stdin = input, cwd = "/usr", env = { A = "a", B = "\xff" },
        table.unpack(arguments) })
      assert.is_true(input .. "a\xff/usr20000" == result.stdout)
      assert.same({ "e\n", 5 }, { result.stderr, result.exit_code })
    end
    local merged = assert(client:run { "sh", "-c", "echo $#; echo e >&2", "sh", merge_stderr = true, table.unpack(arguments) })
    assert.same({ "20000\ne\n", "" }, { merged.stdout, merged.stderr })
    assert.same({ stdout = "", stderr = "", signal = "unknown" },
      client:run { "sh", "-c", "kill -SEGV $$", "sh", table.unpack(arguments) })
  end)

  on("0.1.9 0.2", "may be started, also in a terminal", function(client)
    for _, tty in ipairs { false, true } do
      local p <close> = assert(client:start { "sh", "-c", "echo $#; exit 4", "sh", tty = tty, table.unpack(arguments) }) -- luacheck: ignore
      assert.equal(tty and "20000\r\n" or "20000\n", p:read())
      assert.same({ exit_code = 4 }, p:wait())
    end
  end)

  on("0.2", "that could not be sent leaves nothing", function(client)
    assert.equal("ENOTSUP", code(client:run { "true", env = { MATCHLOCK_X = "x" }, table.unpack(arguments) }))
  end)
end)

describe("exec: on_output with an agent of the reference", function()
  on("0.1.9 0.2", "has all output of a command that is busy on both streams", function(client)
    local texts = { stdout = {}, stderr = {} }
    local result = assert(client:run { "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do seq 2000; seq 2000 >&2; done; exit 2",
      on_output = function(data, name) table.insert(texts[name], data) end })
    local want = assert(vmctl.host:run "for i in 1 2 3 4 5 6 7 8; do seq 2000; done").stdout
    assert.is_true(want == table.concat(texts.stdout) and want == table.concat(texts.stderr))
    assert.equal(2, result.exit_code)
  end, function() return { race = true } end)

  on("0.1.9 0.2", "has output as it comes where stderr is merged", function(client)
    local path = support.tmpdir() .. "/seen"
    local parts = {}
    assert(client:run { "sh", "-c", 'echo one >&2; while [ ! -e "$1" ]; do sleep 0.01; done; echo two', "sh", path, merge_stderr = true,
      on_output = function(data)
        table.insert(parts, data)
        if not core.fs.stat(path) then io.open(path, "w"):close() end
      end })
    assert.equal("one\ntwo\n", table.concat(parts))
  end)
end)

describe("exec: an agent of ours", function()
  it("gives a whole input as any", run(function()
    agent.serve(function(client)
      local p <close> = assert(client:start { "cat", stdin = "whole" }) -- luacheck: ignore
      assert(p:write "x")
      assert.equal("x", p:read())
      assert(p:close_stdin())
      assert.same({ exit_code = 0 }, p:wait())
    end)
  end))
end)
