-- A uid of 1000240000 with mode 4755 became a set-user-id file of root, through a tar that knows no pax headers.
local assert = require "luassert"
local copies = require "spec.support.copies"
local core = require "vmctl.core"
local reader = require "vmctl.tar.read"
local support = require "spec.support"
local vmctl = require "vmctl"
local writer = require "vmctl.tar.write"

local sh, run = copies.sh, support.run
local LIMIT = 60

describe("a copy of a file whose owner has a large number", function()
  if core.fs.identity() ~= 0 then
    pending "needs root"
    return
  end

  for _, tools in ipairs { "busybox", "GNU" } do
    it("keeps it through " .. tools .. "'s tar", run(function()
      copies.with_agent(tools == "busybox" and "busybox" or {}, function(client, folder)
        sh('mkdir "$1/t"; cd "$1/t"; echo x > su; chown 1000240000:1000250000 su; chmod 4755 su; chown 3000000000:9 .', folder)
        assert(vmctl.files.push(client, folder .. "/t", folder .. "/u"))
        assert.equal("3000000000:9 755\n1000240000:1000250000 4755\n", sh([[stat -c '%u:%g %a' "$1/u" "$1/u/su"]], folder))
        assert(vmctl.files.push(client, folder .. "/t", folder .. "/mine", { owner = "target" }))
        assert.equal("0:0 755\n", sh([[stat -c '%u:%g %a' "$1/mine/su"]], folder)) -- nobody's privileges for somebody else
      end)
    end, LIMIT))
  end

  it("is refused where tar makes it another one", run(function()
    local script = 'case $1 in --version) echo old; exit;; esac; exec /bin/tar --owner=+77 --group=+77 "$@"'
    script = script:gsub("exec .*$", '/bin/tar "$@"; s=$?; chown 77:77 owner; exit $s')
    copies.with_agent({ tar = script }, function(client, folder)
      sh('echo x > "$1/su"; chown 1000240000:5 "$1/su"; chmod 4755 "$1/su"', folder)
      local none, err, code = vmctl.files.push(client, folder .. "/su", folder .. "/there")
      assert.same({ nil, "EREMOTE" }, { none, code })
      assert.truthy(err:find("this tar cannot keep the owner 1000240000:5: it made it 77:77", 1, true))
      assert.equal("", sh('ls -A "$1" | grep there || true', folder))
    end)
  end, LIMIT))

  it("is pulled by GNU's tar, and refused by name where the guest's tar drops digits", run(function()
    copies.with_agent({}, function(client, folder)
      sh('mkdir "$1/t"; cd "$1/t"; echo x > su; chown 1000240000:1000250000 su; chmod 4755 su', folder)
      assert(vmctl.files.pull(client, folder .. "/t", folder .. "/u"))
      assert.equal("1000240000:1000250000 755\n", sh([[stat -c '%u:%g %a' "$1/u/su"]], folder))
    end)
    copies.with_agent("busybox", function(client, folder)
      sh('mkdir "$1/t"; cd "$1/t"; echo x > su; chown 1000240000:5 su', folder)
      local none, err, code = vmctl.files.pull(client, folder .. "/t", folder .. "/u")
      assert.same({ nil, "EREMOTE" }, { none, code })
      assert.truthy(err:find("t/su: this tar has no room for the owner 1000240000:5", 1, true))
    end)
  end, LIMIT))
end)

describe("numbers of an archive that have no room in octal digits", function()
  local function written(entry, knows)
    local parts = {}
    local function write(bytes)
      parts[#parts + 1] = bytes
      return true
    end
    assert(writer.entry(write, entry, nil, knows))
    assert(writer.finish(write))
    return table.concat(parts)
  end

  local function read(bytes)
    local at, seen = 1, nil
    local source = {
      read = function(_, n)
        local data = bytes:sub(at, at + n - 1)
        at = at + #data
        return data ~= "" and data or nil
      end,
      skip = function(_, n)
        at = at + n
        return at <= #bytes + 1
      end,
    }
    assert(reader.each(source, function(entry)
      seen = entry
      return true
    end))
    return seen
  end

  local entry = { path = "x", type = "directory", mode = 493, uid = 4294967294, gid = 1 << 40, mtime = -1, nsec = 250000000 }

  it("are read as they were written", function()
    local seen = read(written(entry, "pax"))
    assert.same({ 4294967294, 1 << 40, -1, 250000000 }, { seen.uid, seen.gid, seen.mtime, seen.nsec })
    for _, time in ipairs { -1, -2000000000, 0, 1 << 33, (1 << 40) + 7 } do
      entry.mtime, entry.nsec = time, 0
      assert.equal(time, read(written(entry)).mtime)
    end
  end)

  it("are what GNU's tar and busybox' take them for", support.run(function()
    local folder = support.tmpdir()
    entry.mtime, entry.nsec, entry.gid = -86400, 0, 3000000
    local file = assert(io.open(folder .. "/a.tar", "wb"))
    file:write(written(entry))
    file:close()
    assert.equal("drwxr-xr-x 4294967294/3000000 0 1969-12-31 00:00 x/\n", sh('TZ=UTC tar -tvf "$1/a.tar"', folder))
    assert.truthy(sh('TZ=UTC busybox tar -tvf "$1/a.tar"', folder):find("4294967294/3000000%s+0 1969%-12%-31"))
    sh('cd "$1"; mkdir x; touch -d @-86400 x; chown 1000240000:3000000 x; tar --format=gnu -cf b.tar x', folder)
    local seen = read(assert(io.open(folder .. "/b.tar", "rb")):read "a")
    assert.same({ 1000240000, 3000000, -86400 }, { seen.uid, seen.gid, seen.mtime })
  end))

  it("are refused by this machine when they are nobody's", function()
    local root <close> = assert(core.fs.root "/") -- luacheck: ignore
    assert.equal("EOVERFLOW", support.code(root:chown("/nothing", 1 << 32, 0)))
    assert.equal("EOVERFLOW", support.code(root:chown("/nothing", 0, (1 << 32) - 1)))
    assert.equal("EOVERFLOW", support.code(core.fs.chown("/nothing", 1 << 32, 0)))
  end)
end)
