-- A growing log failed the whole copy, a file that became shorter was filled up with zeros, and a FIFO was waited for.
local assert = require "luassert"
local copies = require "spec.support.copies"
local support = require "spec.support"
local vmctl = require "vmctl"

local sh, run = copies.sh, support.run
local LIMIT = 60

local TREE = 'mkdir "$1/t"; cd "$1/t"; head -c 2000000 /dev/zero | tr "\\0" x > a; echo b > b; echo c > c'

-- Does something to the tree while the first file is on its way.
local function meanwhile(folder, script)
  local done = false
  return function(_, path)
    if done or path ~= "a" then return end
    done = true
    local command = ("cd %s/t; %s"):format(folder, script)
    assert(os.execute(command))
  end
end

describe("a tree that is written to while it is copied", function()
  for _, tools in ipairs { "busybox", "GNU" } do
    it("arrives, and what changed or went is told, by " .. tools .. "'s tar", run(function()
      copies.with_agent(tools == "busybox" and "busybox" or {}, function(client, folder)
        sh(TREE, folder)
        local report = assert(vmctl.files.push(client, folder .. "/t", folder .. "/u",
          { on_progress = meanwhile(folder, "echo more >> a; rm b") }))
        assert.same({ { "a" }, { "b" }, 2 }, { report.changed, report.vanished, report.files })
        assert.equal("a\nc\n", sh('ls "$1/u"', folder))
        assert.equal("2000000\n", sh('wc -c < "$1/u/a"', folder))
      end)
    end, LIMIT))

    it("is not filled up where it has become shorter, by " .. tools .. "'s tar", run(function()
      copies.with_agent(tools == "busybox" and "busybox" or {}, function(client, folder)
        for _, verify in ipairs { true, false } do
          sh('rm -rf "$1/t"; ' .. TREE, folder)
          local report = assert(vmctl.files.push(client, folder .. "/t", folder .. "/u",
            { verify = verify, exact = true, on_progress = meanwhile(folder, "truncate -s 700000 a") }))
          assert.same({ { "a" }, {} }, { report.changed, report.vanished })
          assert.equal("700000 0\n", sh('printf "%s %s\\n" "$(wc -c < "$1/u/a")" "$(tr -d x < "$1/u/a" | wc -c)"', folder))
        end
      end)
    end, LIMIT))
  end

  it("may be one that the kernel makes up", run(function()
    copies.with_agent({}, function(client, folder)
      local report = assert(vmctl.files.push(client, "/proc/sys/kernel/random", folder .. "/u", { owner = "target", exclude = { "uuid" } }))
      assert.truthy(report.files > 3)
      assert.equal(sh "cat /proc/sys/kernel/random/boot_id", sh('cat "$1/u/boot_id"', folder))
      assert.truthy(#report.changed > 3)
    end)
  end, LIMIT))

  it("is told of in a guest, too", run(function()
    local tar = [[case $1 in --version) exec /bin/tar --version;; esac
      echo "tar: t/a: file changed as we read it" >&2
      echo "tar: t/none: File removed before we read it" >&2; /bin/tar "$@"; exit 1]]
    copies.with_agent({ tar = tar }, function(client, folder)
      sh(TREE, folder)
      local report = assert(vmctl.files.pull(client, folder .. "/t", folder .. "/u"))
      assert.same({ { "a" }, { "none" }, 3 }, { report.changed, report.vanished, report.files })
    end)
    tar = tar:gsub("exit 1", "echo 'tar: t/c: Cannot open: Permission denied' >&2; exit 2")
    copies.with_agent({ tar = tar }, function(client, folder)
      sh(TREE, folder)
      local none, err, code = vmctl.files.pull(client, folder .. "/t", folder .. "/u")
      assert.same({ nil, "EREMOTE" }, { none, code })
      assert.truthy(err:find("Permission denied", 1, true))
    end)
  end, LIMIT))
end)

describe("a FIFO or a socket as what is to be copied", function()
  it("is an error", run(function()
    copies.with_agent({}, function(client, folder)
      sh('mkfifo "$1/fifo"', folder)
      for _, what in ipairs { "/fifo", "/agent" } do
        assert.equal("EINVAL", support.code(vmctl.files.push(client, folder .. what, folder .. "/x")))
        assert.equal("EINVAL", support.code(vmctl.files.pull(client, folder .. what, folder .. "/x")))
      end
    end)
  end, LIMIT))
end)

describe("vmctl cp of a tree that is written to", function()
  it("names what changed, and ends with 1", run(function()
    local folder = support.tmpdir()
    sh('mkdir "$1/t"; echo x > "$1/t/x"', folder)
    local record = assert(vmctl.host:run { "bin/vmctl", "cp", "/proc/sys/kernel/random/boot_id", "host:" .. folder .. "/there" })
    assert.equal(1, record.exit_code)
    assert.equal("vmctl: changed while it was copied: " .. folder .. "/there\n", record.stderr)
    record = assert(vmctl.host:run { "bin/vmctl", "cp", folder .. "/t", "host:" .. folder .. "/u" })
    assert.same({ 0, "" }, { record.exit_code, record.stderr })
  end, LIMIT))
end)
