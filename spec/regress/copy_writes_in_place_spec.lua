-- A copy that failed left a truncated file where the old one was.
local assert = require "luassert"
local cc_helper = require "spec.support.cc_helper"
local copies = require "spec.support.copies"
local support = require "spec.support"
local vmctl = require "vmctl"

local sh, run = copies.sh, support.run
local LIMIT = 60

local OLD = [[mkdir -p "$1/new/d" "$1/there/d"; cd "$1"
  echo old > there/a; echo old > there/d/b; ln -s a there/l; ln there/a held
  echo new > new/a; head -c 900000 /dev/zero | tr '\0' x > new/d/b; ln -s b new/l; echo 1 > new/d/c]]

local function files_of(folder)
  return sh([[cd "$1"; find . | LC_ALL=C sort; cat a d/b; readlink l]], folder)
end

describe("a copy into a guest that fails", function()
  for _, how in ipairs { "busybox", "GNU" } do
    it("leaves what was there, by " .. how .. "'s tar with a full disk", run(function()
      local script = ('ulimit -f 100; trap "" XFSZ; exec %s "$@"'):format(how == "GNU" and "/bin/tar" or "busybox tar")
      copies.with_agent({ tar = script }, function(client, folder)
        sh(OLD, folder)
        local before = files_of(folder .. "/there")
        local none, err, code = vmctl.files.push(client, folder .. "/new", folder .. "/there", { exact = true })
        assert.same({ nil, "EREMOTE" }, { none, code })
        assert.truthy(err:find("write", 1, true))
        assert.equal(before, files_of(folder .. "/there"))
      end)
    end, LIMIT))

    it("replaces each file by one rename, by " .. how .. "'s tar", run(function()
      copies.with_agent(how == "busybox" and "busybox" or {}, function(client, folder)
        sh(OLD, folder)
        local report = assert(vmctl.files.push(client, folder .. "/new", folder .. "/there", { exact = true }))
        assert.same({ 3, 1 }, { report.files, report.links })
        assert.equal("old\n", sh('cat "$1/held"', folder)) -- whoever had the old file open still reads it
        assert.equal(files_of(folder .. "/new"), files_of(folder .. "/there"))
      end)
    end, LIMIT))
  end

  it("leaves what was there when its time is over, and nothing staged", run(function()
    copies.with_agent({ tar = 'case $1 in --version) exec /bin/tar "$@";; esac; /bin/tar "$@"; exec sleep 60' }, function(client, folder)
      sh(OLD, folder)
      local before = files_of(folder .. "/there")
      assert.equal("ETIMEDOUT", support.code(vmctl.files.push(client, folder .. "/new", folder .. "/there",
        { exact = true, timeout = 1.5 })))
      assert.equal(before, files_of(folder .. "/there"))
    end)
  end, LIMIT))

  it("leaves what was there, by a cc helper", run(function()
    local folder = support.tmpdir()
    sh(OLD .. '; mkdir "$1/root"; mv "$1/there" "$1/root/"', folder)
    local before = files_of(folder .. "/root/there")
    cc_helper.serve({ root = folder .. "/root" }, function(_, client)
      local instance = assert(client:instance { source = folder .. "/root" })
      local none, _, code = vmctl.files.push(instance, folder .. "/new", "/there", { exact = true, max_bytes = 5 })
      assert.same({ nil, "ETOOBIG" }, { none, code })
      assert.equal("new\n", sh('cat "$1/root/there/a"', folder)) -- that one was whole
      assert.equal(before:gsub("old\n", "new\n", 1), files_of(folder .. "/root/there"))
      assert.equal("old\n", sh('cat "$1/held"', folder))
    end)
  end, LIMIT))
end)

describe("a file that could not be put in its place", function()
  for _, verify in ipairs { true, false } do
    it("is a failure, also where find says nothing of it, check sums: " .. tostring(verify), run(function()
      copies.with_agent({ mv = 'for last; do :; done; case $last in */there/d/) exit 1;; esac; exec /bin/mv "$@"',
        find = '/usr/bin/find "$@"; exit 0' }, function(client, folder)
        sh(OLD, folder)
        local before = files_of(folder .. "/there")
        local none, err, code = vmctl.files.push(client, folder .. "/new", folder .. "/there", { exact = true, verify = verify })
        assert.same({ nil, "EREMOTE" }, { none, code })
        assert.truthy(err:find("d/%w: it could not be put in its place"), err)
        assert.equal(before, files_of(folder .. "/there"))
      end)
    end, LIMIT))
  end
end)
