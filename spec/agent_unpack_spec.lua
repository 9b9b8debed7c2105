-- The agent's own program unpacks files: all of an archive or nothing, in what is there already, and what is left after a failure.
local assert = require "luassert"
local copies = require "spec.support.copies"
local core = require "vmctl.core"
local support = require "spec.support"
local vmctl = require "vmctl"

local sh, run, code = copies.sh, support.run, support.code
local AGENT = os.getenv "VMCTL_AGENT" or "build/vmctl-agent"
local LIMIT = 60
local STAGE = ".vmctl-stage"

local function archive(entries)
  return copies.archive(entries, 1, "vmctl")
end

-- To `folder`/new.
local function command(folder, script)
  return { AGENT, "--unpack", folder .. "/new", folder .. "/new", "name", folder, "new", STAGE, "o", "", script or "exit 1" }
end

local function unpack_into(folder, bytes)
  local parsed = command(folder)
  parsed.stdin = bytes
  return assert(vmctl.host:run(parsed))
end

local function found(folder)
  return sh('cd "$1"; find . | LC_ALL=C sort | tr "\\n" " "', folder)
end

describe("vmctl-agent --unpack", function()
  it("says where the files go, and puts them there", run(function()
    local folder = support.tmpdir()
    local result = unpack_into(folder, archive { { path = "t/new", type = "directory" },
      { path = "t/new/file", type = "file", content = "x", nsec = 123456789 }, { path = "t/new/two", type = "hard", link = "t/new/file" },
      { path = "folders", type = "file", content = archive { { path = ".", type = "directory", mode = 488, mtime = 77 } } } })
    assert.same({ 0, "none\nvmctl\nother\n" .. folder .. "\0", "" }, { result.exit_code, result.stdout, result.stderr })
    assert.equal(". ./new ./new/file ./new/two ", found(folder))
    local file, top = core.fs.stat(folder .. "/new/file"), core.fs.stat(folder .. "/new")
    assert.same({ 1, 123456789, 2, 420 }, { file.mtime, file.nsec, file.links, file.mode })
    assert.same({ 77, 488 }, { top.mtime, top.mode })
  end, LIMIT))

  it("leaves nothing of half an archive, of rubbish, of a device, nor of what would lie elsewhere", run(function()
    local whole = archive { { path = "t/new", type = "directory" }, { path = "t/new/a", type = "file", content = ("x"):rep(5000) } }
    for what, bytes in pairs {
      half = whole:sub(1, 3000), rubbish = ("rubbish "):rep(1000), nothing = "",
      device = archive { { path = "t/new", type = "char", major = 1, minor = 3 } },
      outside = archive { { path = "t/new", type = "directory" }, { path = "t/../../outside", type = "file", content = "x" } },
      link = archive { { path = "t/new", type = "link", link = "/tmp" }, { path = "t/new/file", type = "file", content = "x" } },
    } do
      local folder = support.tmpdir()
      local result = unpack_into(folder, bytes)
      assert.equal(2, result.exit_code, what)
      assert.truthy(result.stderr:find "^tar: ", what)
      assert.equal(". ", found(folder), what)
    end
  end, LIMIT))

  it("says why it gives no answer", run(function()
    local folder, agent = support.tmpdir(), assert(core.fs.real(AGENT))
    local unpack = ' --unpack new . name . new stage o "" "exit 1" < /dev/null'
    local function refused(script)
      local result = assert(vmctl.host:run { "sh", "-c", script .. unpack, agent, folder })
      return { result.exit_code, result.stderr }
    end
    assert.same({ 1, "tar: the answer: Cannot write: No space left on device\n" }, refused 'cd "$1"; exec > /dev/full; exec "$0"')
    assert.same({ 1, "tar: .: Cannot find its full path: No such file or directory\n" },
      refused 'mkdir "$1/gone"; cd "$1/gone"; rmdir "$1/gone"; exec "$0"')
    assert.equal(". ", found(folder))
  end, LIMIT))

  it("leaves nothing when it is told to end", run(function()
    local folder = support.tmpdir()
    local program <close> = assert(vmctl.host:start(command(folder))) -- luacheck: ignore
    assert(program:write(("\0"):rep(100)))
    support.eventually(function() return core.fs.stat(folder .. "/" .. STAGE .. "/t") ~= nil end)
    assert(program:kill "TERM")
    assert.equal(2, assert(program:wait(10)).exit_code)
    assert.equal(". ", found(folder))
  end, LIMIT))

  it("is merged into what is there, or changes nothing", run(function()
    copies.with_agent(nil, function(client, folder)
      sh([[cd "$1"; mkdir -p t/d/e there/d; echo new > t/d/a; echo new > t/b
        ln -s new t/d/e/link; echo old > there/d/a
        echo kept > there/d/k
        ln -s nowhere there/b; mkdir real; echo kept > real/k; ln -s ../real there/s; mkdir t/s; echo new > t/s/n]], folder)
      assert(vmctl.files.push(client, folder .. "/t", folder .. "/there", { exact = true }))
      assert.equal("new\nkept\nnew\nnew\nnew\nkept\n", sh('cd "$1/there"; cat d/a d/k b; readlink d/e/link; cat s/n ../real/k', folder))
      assert.equal("link", core.fs.stat(folder .. "/there/s", true).type)
      sh('cd "$1"; echo newer > t/b; rm there/d/a; mkdir there/d/a', folder)
      local none, err, why = vmctl.files.push(client, folder .. "/t", folder .. "/there", { exact = true })
      assert.same({ nil, "EREMOTE" }, { none, why })
      assert.truthy(err:find("d/a: a folder is there", 1, true), err)
      sh('cd "$1"; rmdir there/d/a; rm there/b; mkfifo there/b', folder)
      assert.equal("EREMOTE", code(vmctl.files.push(client, folder .. "/t", folder .. "/there", { exact = true })))
      assert.equal("fifo", core.fs.stat(folder .. "/there/b").type)
      assert.equal("", sh('find "$1/there" -name ".vmctl*"; find "$1/there" -name a', folder))
    end)
  end, LIMIT))

  it("takes 400 folders in each other, also into as many, and of 600 it leaves nothing", run(function()
    local folder = support.tmpdir()
    local function unpack(depth)
      local entries = {}
      for i = 0, depth do entries[i + 1] = { path = "t/name" .. ("/d"):rep(i), type = "directory" } end
      table.insert(entries, 2, { path = "t/name/a", type = "file", content = "new" })
      table.insert(entries, { path = entries[#entries].path .. "/b", type = "file", content = "deep" })
      return unpack_into(folder, archive(entries))
    end
    sh('mkdir "$1/new"', folder)
    for _ = 1, 2 do assert.equal(0, unpack(400).exit_code) end
    assert.equal("deep", assert(core.fs.read(("%s/new/name%s/b"):format(folder, ("/d"):rep(400)), 10)))
    sh('rm -rf "$1/new/name"; mkdir -p "$1/new/name/$2"', folder, ("d/"):rep(600))
    local result = unpack(600)
    assert.equal(2, result.exit_code)
    assert.matches("It lies too deep\n$", result.stderr)
    assert.same({ "d" }, core.fs.list(folder .. "/new/name"))
  end, LIMIT))

  it("is staged again where it comes to another file system", run(function()
    if core.fs.identity() ~= 0 or vmctl.host:run({ "unshare", "-m", "true" }).exit_code ~= 0 then
      pending "no mount namespaces here"
    end
    local folder = support.tmpdir()
    local scripts = require "vmctl.files.exec_scripts"
    local parsed = command(folder .. "/new", scripts.UNPACKER.last) -- to new/new, in which `m` is a file system of its own
    sh('mkdir -p "$1/new/new/m"', folder)
    parsed.stdin = archive { { path = "t/new", type = "directory" }, { path = "t/new/m", type = "directory" },
      { path = "t/new/m/file", type = "file", content = "x" }, { path = "t/new/beside", type = "file", content = "y" } }
    parsed[4], parsed[5] = folder .. "/new", "new"
    local words = table.move(parsed, 1, 11, 5, { "unshare", "-m", "sh", "-c" })
    table.insert(words, 5, [[mount -t tmpfs none "$0/new/new/m" || exit 77; m=$0/new/new/m; "$@"; s=$?; ls -A "$m"; exit $s]])
    table.insert(words, 6, folder)
    words.stdin = parsed.stdin
    local result = assert(vmctl.host:run(words))
    if result.exit_code == 77 then pending "no tmpfs can be mounted here" end
    assert.same({ 0, "" }, { result.exit_code, result.stderr })
    assert.equal("file\n", result.stdout:match "%z(.*)$")
    assert.equal(". ./beside ./m ", found(folder .. "/new/new"))
  end, LIMIT))
end)
