-- The agent's own program packs files: what is in the archive, what is said of what cannot be read, when it ends.
local assert = require "luassert"
local core = require "vmctl.core"
local copies = require "spec.support.copies"
local reader = require "vmctl.tar.read"
local support = require "spec.support"
local vmctl = require "vmctl"

local sh, run = copies.sh, support.run
local AGENT = os.getenv "VMCTL_AGENT" or "build/vmctl-agent"
local LIMIT = 60

local function pack(path, folder, name, xattrs)
  return assert(vmctl.host:run { AGENT, "--pack", path, folder, name, xattrs, max_output = 64 << 20 })
end

-- The first line, and the entries by their names; `content` of a file is all that was read.
local function entries(result)
  local kind, archive = result.stdout:match "^(%a+)\n(.*)$"
  local at, list, order = 1, {}, {}
  local source = {}
  function source:read(n) -- luacheck: ignore
    local data = archive:sub(at, at + n - 1)
    at = at + #data
    return data ~= "" and data or nil
  end
  function source:skip(n) -- luacheck: ignore
    at = at + n
    return at <= #archive + 1
  end
  assert(reader.each(source, function(entry, read)
    local parts = {}
    repeat
      local data = assert(read(1 << 20))
      parts[#parts + 1] = data
    until data == ""
    entry.content = table.concat(parts)
    list[entry.path], order[#order + 1] = entry, entry.path
    return true
  end))
  assert.equal(#archive - 512, at - 1) -- two blocks end it, of which the reader takes one
  return list, order, kind
end

describe("vmctl-agent --pack", function()
  it("has all kinds of files, with their times to the nanosecond, names of any length and holes", run(function()
    local folder = support.tmpdir()
    local long = ("n"):rep(150)
    sh([[mkdir -p "$1/t/d/$2"; cd "$1/t"; echo one > one; ln one d/two; ln -s one link; ln -s "$2/$2" far; mkfifo fifo
      echo deep > "d/$2/file"; head -c 300000 /dev/zero | tr '\0' x > large; : > empty
      truncate -s 5000000 sparse; printf here | env -u LD_PRELOAD dd of=sparse bs=1 seek=1000000 conv=notrunc 2>/dev/null; chmod 4751 large
      touch -d '1950-01-01 00:00:00.25 UTC' one; touch -d '2001-02-03 04:05:06.123456789 UTC' empty]], folder, long)
    if core.fs.identity() == 0 then sh('chown 1000240000:7 "$1/t/empty"', folder) end
    local result = pack(folder .. "/t", folder, "t")
    assert.same({ 0, "" }, { result.exit_code, result.stderr })
    local list, order, kind = entries(result)
    assert.same({ "directory", "t/", 12 }, { kind, order[1], #order })
    assert.same({ "file", "x", 300000, 2537 }, { list["t/large"].type, list["t/large"].content:sub(-1), list["t/large"].size,
      list["t/large"].mode })
    local first, second = list["t/one"], list["t/d/two"]
    if first.type == "hard" then first, second = second, first end
    assert.same({ "file", "one\n", "hard", first.path }, { first.type, first.content, second.type, second.link })
    assert.same({ -631152000, 250000000 }, { first.mtime, first.nsec })
    assert.same({ 981173106, 123456789 }, { list["t/empty"].mtime, list["t/empty"].nsec })
    assert.same({ "link", "one", "fifo" }, { list["t/link"].type, list["t/link"].link, list["t/fifo"].type })
    assert.equal(long .. "/" .. long, list["t/far"].link)
    assert.equal("deep\n", list["t/d/" .. long .. "/file"].content)
    local sparse = list["t/sparse"]
    assert.equal(5000000, sparse.real_size)
    assert.is_true(#sparse.content < 100000 and sparse.content:find "here" ~= nil)
    if core.fs.identity() == 0 then assert.equal(1000240000, list["t/empty"].uid) end
  end, LIMIT))

  it("has one that GNU tar unpacks to the same", run(function()
    local folder = support.tmpdir()
    sh([[mkdir -p "$1/t/d" "$1/out"; cd "$1/t"; seq 100000 > large; truncate -s 3000000 d/sparse; echo end >> d/sparse; ln large d/hard
      ln -s large link; printf x > "$(printf 'new\nline\\')"; "$2" --pack "$1/t" "$1" t | sed 1d | tar -C "$1/out" -xpf -
      diff -r --no-dereference "$1/t" "$1/out/t"]], folder, sh("readlink -f " .. AGENT):match "[^\n]+")
  end, LIMIT))

  it("says what is there that is not packed", run(function()
    local folder = support.tmpdir()
    sh('cd "$1"; mkfifo fifo; ln -s nowhere link', folder)
    assert.same({ "other\n", 0 }, { pack(folder .. "/fifo", folder, "fifo").stdout, 0 })
    assert.same({ "none\n", 0 }, { pack(folder .. "/none", folder, "none").stdout, 0 })
    local list, _, kind = entries(pack(folder .. "/link", folder, "link"))
    assert.same({ "link", "nowhere" }, { kind, list.link.link })
  end, LIMIT))

  it("gives a small file the size that it has, whatever the file system says", run(function()
    local path = "/sys/kernel/mm/transparent_hugepage/enabled"
    if not core.fs.stat(path) then return end
    local list = entries(pack(path, "/sys/kernel/mm/transparent_hugepage", "enabled"))
    assert.equal(sh('cat "$1"', path), list.enabled.content)
  end, LIMIT))

  it("fails for what it cannot read", run(function()
    local folder = support.tmpdir()
    sh('mkdir "$1/t"; echo x > "$1/t/file"', folder)
    local result = pack(folder .. "/t", folder .. "/none", "t")
    assert.same({ 2, "tar: " .. folder .. "/none: Cannot open: No such file or directory\n" }, { result.exit_code, result.stderr })
    result = pack(folder .. "/t", folder, "gone")
    assert.same({ 2, "tar: gone: Cannot open: No such file or directory\n" }, { result.exit_code, result.stderr })
  end, LIMIT))

  it("ends when nobody reads any more", run(function()
    local folder = support.tmpdir()
    sh('head -c 5000000 /dev/zero > "$1/file"; "$2" --pack "$1/file" "$1" file | head -c 1000 > "$1/out"', folder, AGENT)
    assert.equal(1000, core.fs.stat(folder .. "/out").size)
  end, LIMIT))

  it("is told of by the agent", run(function()
    copies.with_agent(nil, function(client)
      assert.equal("vmctl", client:probe())
      assert.equal(1, client.agent.pack)
    end)
  end, LIMIT))
end)
