-- Files and trees by tar: through our agent on this machine, against guests that lie, and by the file calls of a cc helper.
local assert = require "luassert"
local cc_helper = require "spec.support.cc_helper"
local copies = require "spec.support.copies"
local core = require "vmctl.core"
local support = require "spec.support"
local vmctl = require "vmctl"

local archive, sh, code, run = copies.archive, copies.sh, support.code, support.run
local LIMIT = 30

local TREE = [[
  mkdir -p "$1/a/b"; cd "$1"
  echo x > a/x; chmod 751 a/x; ln a/x a/hard; ln -s ../x a/b/link; : > empty; touch -d 2001-02-03 empty
  head -c 3000000 /dev/urandom > a/b/big
  mkdir closed; echo inside > closed/file; chmod 500 closed
  printf odd > "$(printf 'new\nline')"; printf back > 'back\slash'
  n=$(printf 'n%.0s' $(seq 150)); mkdir -p $n/$n; echo deep > $n/$n/$n
]]

-- A tree as lines: names, modes, owners, sizes, links, how many names a file has, times. The cc protocol has whole seconds
-- alone, and neither second names nor times of links.
local FULL, BY_CC = { "%p %m %U:%G %s %n %T@", "%p %m %U:%G %l %T@" }, { "%p %m %U:%G %s %Ts", "%p %m %U:%G %l" }

local function listing(folder, formats)
  formats = formats or FULL
  return sh([[cd "$1"; find . \( -type f -printf "$2\n" \) -o -printf "$3\n" | LC_ALL=C sort
    find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum]], folder, formats[1], formats[2])
end

describe("vmctl.files", function()
  it("copies a tree in and out, with modes, owners and times", run(function()
    local folder = support.tmpdir()
    sh(TREE, folder .. "/tree")
    if core.fs.identity() == 0 then sh('chown 1234:4321 "$1/tree/a/x"; chown -h 7:7 "$1/tree/a/b/link"', folder) end
    local report = assert(vmctl.files.push(vmctl.host, folder .. "/tree", folder .. "/there"))
    assert.equal(folder .. "/there", report.path)
    assert.same({ 8, 6, 1, 7 }, { report.files, report.directories, report.links, report.verified }) -- one is a second name
    assert.equal(listing(folder .. "/tree"), listing(folder .. "/there"))
    report = assert(vmctl.files.pull(vmctl.host, folder .. "/there", folder .. "/back"))
    assert.equal(7, report.verified)
    assert.equal(listing(folder .. "/tree"), listing(folder .. "/back"))
  end, LIMIT))

  it("comes into a folder that is there, and else takes the path's name", run(function()
    local folder = support.tmpdir()
    sh('cd "$1"; mkdir there; echo one > file; echo old > old', folder)
    assert.equal(folder .. "/there/file", assert(vmctl.files.push(vmctl.host, folder .. "/file", folder .. "/there")).path)
    assert.equal(folder .. "/new/file", assert(vmctl.files.push(vmctl.host, folder .. "/file", folder .. "/new/")).path)
    assert.equal(folder .. "/old", assert(vmctl.files.pull(vmctl.host, folder .. "/file", folder .. "/old")).path)
    assert.equal("one\none\none\n", sh('cd "$1"; cat there/file new/file old', folder))
  end, LIMIT))

  it("leaves out what it is told to, and what is no file", run(function()
    local folder = support.tmpdir()
    sh('mkdir -p "$1/t/.git"; cd "$1/t"; echo a > a; echo b > .git/b; echo o > x.o; mkfifo fifo', folder)
    local report = assert(vmctl.files.push(vmctl.host, folder .. "/t", folder .. "/u", { exclude = { "%.git", ".*%.o" } }))
    assert.same({ "fifo" }, report.skipped)
    assert.equal("a\n", sh('ls -A "$1/u"', folder))
  end, LIMIT))

  it("says what is missing, and what tar said", run(function()
    local folder = support.tmpdir()
    sh('cd "$1"; echo x > file', folder)
    local none, err, why = vmctl.files.push(vmctl.host, folder .. "/none", folder .. "/x")
    assert.same({ nil, "ENOENT" }, { none, why })
    assert.truthy(err:find("^push " .. folder:gsub("%p", "%%%0") .. "/none to host:"))
    assert.equal("ENOENT", code(vmctl.files.pull(vmctl.host, folder .. "/none", folder .. "/x")))
    none, err, why = vmctl.files.push(vmctl.host, folder .. "/file", folder .. "/file/x")
    assert.same({ nil, "EREMOTE" }, { none, why })
    assert.truthy(err:find("prepare " .. folder .. "/file on host: mkdir:", 1, true))
    assert.has_error(function() vmctl.files.push(vmctl.host, "a", "b", { verfy = true }) end)
  end, LIMIT))
end)

-- An agent whose tar gives what the spec wants, as a guest may.
describe("a guest that lies", function()
  local function lying(bytes)
    local folder = support.tmpdir()
    local file = assert(io.open(folder .. "/archive", "wb"))
    file:write(bytes)
    file:close()
    sh([[mkdir "$1/bin" "$1/out" "$1/secret"; echo kept > "$1/secret/file"; touch -d @5 "$1/secret/file"
      printf '#!/bin/sh\nexec cat %s/archive\n' "$1" > "$1/bin/tar"; chmod +x "$1/bin/tar"]], folder)
    return folder, assert(vmctl.process.spawn { os.getenv "VMCTL_AGENT" or "build/vmctl-agent", "--listen", "unix:" .. folder .. "/agent",
      env = { PATH = folder .. "/bin:" .. os.getenv "PATH" }, stdin = "null", stderr = "inherit", death_signal = "KILL" })
  end

  local function pull(bytes, opts)
    local folder, program = lying(bytes)
    local guard <close> = program -- luacheck: ignore
    assert(assert(vmctl.exec.client("unix:" .. folder .. "/agent")):ready(5))
    local client = assert(vmctl.exec.client("unix:" .. folder .. "/agent", { revision = "vmctl" })) -- which is not asked what it can
    local result = table.pack(vmctl.files.pull(client, folder .. "/secret", folder .. "/out", opts or { verify = false }))
    assert.equal("kept\n", sh('cat "$1/secret/file"', folder))
    return folder, table.unpack(result, 1, result.n)
  end

  it("does not get out by '..'", run(function()
    local folder, none, _, why = pull(archive {
      { path = "secret", type = "directory", mode = 493 }, { path = "secret/../../secret/file", type = "file", content = "broken" },
    })
    assert.same({ nil, "EINVAL" }, { none, why })
    assert.equal("", sh('find "$1/out" -type f', folder))
  end, LIMIT))

  it("does not get out by links", run(function()
    local folder, none, _, why = pull(archive {
      { path = "secret", type = "directory", mode = 493 }, { path = "secret/up", type = "link", link = "../../secret" },
      { path = "secret/abs", type = "link", link = "/tmp" },
      { path = "secret/up/file", type = "file", content = "broken" },
    })
    assert.same({ nil, "ELOOP" }, { none, why })
    assert.equal("", sh('cd "$1/out"; find . -type f', folder))
    assert.equal("../../secret\n", sh('readlink "$1/out/secret/up"', folder))
  end, LIMIT))

  it("brings no privileges and no devices", run(function()
    local folder, report = pull(archive {
      { path = "secret", type = "directory", mode = 493 },
      { path = "secret/su", type = "file", mode = 3565, content = "#!/bin/sh\n" },
      { path = "secret/null", type = "char", major = 1, minor = 3 },
    })
    assert.same({ "null" }, assert(report).skipped)
    assert.equal("755\n", sh('stat -c %a "$1/out/secret/su"', folder))
  end, LIMIT))

  it("is found out by its check sums", run(function()
    local whole = archive { { path = "secret", type = "directory", mode = 493 },
      { path = "secret/file", type = "file", content = "othr\n", mtime = 5 } }
    local _, none, err, why = pull(whole, { verify = true })
    assert.same({ nil, "EBADMSG" }, { none, why }) -- of a file that has not changed meanwhile
    assert.truthy(err:find("file: its check sum", 1, true))
  end, LIMIT))

  it("cannot pass half an archive or rubbish for a whole one", run(function()
    local whole = archive { { path = "secret", type = "directory", mode = 493 }, { path = "secret/a", type = "file",
      content = ("x"):rep(5000) } }
    local _, none, err, why = pull(whole:sub(1, 3000))
    assert.same({ nil, "EPROTO" }, { none, why })
    assert.truthy(err:find("tar: ", 1, true))
    _, none, _, why = pull(("rubbish "):rep(1000))
    assert.same({ nil, "EPROTO" }, { none, why })
  end, LIMIT))
end)

-- Notes what a client starts and runs; `instead` may change it.
local function noted(client, instead)
  local list = {}
  for _, name in ipairs { "start", "run" } do
    local method = client[name]
    client[name] = function(self, command)
      list[#list + 1] = command[1]
      return method(self, instead and instead(command) or command)
    end
  end
  return list
end

describe("a copy through an agent of ours", function()
  it("is one command, of its own program", run(function()
    copies.with_agent(nil, function(client, folder)
      sh(TREE, folder .. "/tree")
      local list = noted(client)
      assert(vmctl.files.push(client, folder .. "/tree", folder .. "/there", { verify = false }))
      assert(vmctl.files.pull(client, folder .. "/there", folder .. "/back", { verify = false }))
      assert.same({ "/proc/self/exe", "/proc/self/exe" }, list)
      assert.equal(listing(folder .. "/tree"), listing(folder .. "/back"))
    end)
  end, LIMIT))

  it("is made by a shell and tar where that program cannot be run", run(function()
    copies.with_agent(nil, function(client, folder)
      sh('mkdir "$1/tree"; echo x > "$1/tree/file"', folder)
      local list = noted(client, function(command)
        if command[1] == "/proc/self/exe" then command[1] = "/no/such/program" end
      end)
      assert.equal(1, assert(vmctl.files.pull(client, folder .. "/tree", folder .. "/back", { verify = false })).files)
      assert.equal(1, assert(vmctl.files.push(client, folder .. "/back", folder .. "/there", { verify = false })).files)
      assert.same({ "/proc/self/exe", "sh", "/proc/self/exe", "sh" }, list)
      assert.equal("x\n", sh('cat "$1/there/file"', folder))
    end)
  end, LIMIT))

  it("says nothing of that program when the shell's way fails as well", run(function()
    copies.with_agent(nil, function(client, folder)
      sh('touch "$1/file" "$1/plain"', folder)
      noted(client, function(command)
        if command[1] == "/proc/self/exe" then command = { "sh", "-c", "echo of the first >&2; exit 127", stdin = command.stdin } end
        return command
      end)
      local none, err, why = vmctl.files.push(client, folder .. "/file", folder .. "/plain/there")
      assert.same({ nil, "EREMOTE" }, { none, why })
      assert.truthy(err:find("plain", 1, true), err)
      assert.falsy(err:find("of the first", 1, true), err)
    end)
  end, LIMIT))

  it("refuses what is there before anything is sent", run(function()
    for _, tools in ipairs { false, {}, "busybox" } do
      copies.with_agent(tools or nil, function(client, folder)
        sh('cd "$1"; mkdir d; mkfifo d/fifo; echo x > file', folder)
        assert.equal("EEXIST", code(vmctl.files.push(client, folder .. "/file", folder .. "/d/fifo")))
        assert.equal("EINVAL", code(vmctl.files.push(client, "/", folder .. "/d")))
        assert.equal("EINVAL", code(vmctl.files.pull(client, folder .. "/d/fifo", folder .. "/new")))
        assert.equal("ENOENT", code(vmctl.files.pull(client, folder .. "/none", folder .. "/new")))
        assert.equal("fifo\n", sh('ls -A "$1/d"', folder))
      end)
    end
  end, LIMIT))
end)

describe("a guest that has a cc helper in place of tar", function()
  it("gets a tree and gives it back", run(function()
    local folder = support.tmpdir()
    sh(TREE .. 'mkdir "$2"', folder .. "/tree", folder .. "/root")
    cc_helper.serve({ root = folder .. "/root" }, function(_, client)
      local instance = assert(client:instance { source = folder .. "/root" })
      local report = assert(vmctl.files.push(instance, folder .. "/tree", "/srv/copy"))
      assert.same({ 8, 6, 1, 8 }, { report.files, report.directories, report.links, report.verified })
      assert.equal(listing(folder .. "/tree", BY_CC), listing(folder .. "/root/srv/copy", BY_CC))
      report = assert(vmctl.files.pull(instance, "/srv/copy", folder .. "/back", { owner = "mine" }))
      assert.equal(8, report.verified)
      assert.equal("ENOENT", code(vmctl.files.pull(instance, "/no/such", folder .. "/x")))
      assert.equal(listing(folder .. "/tree", BY_CC), listing(folder .. "/back", BY_CC))
    end)
  end, LIMIT))
end)
