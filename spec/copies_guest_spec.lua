-- Copies into a real guest and out of it: busybox, our agent, a disk that fills.
local assert = require "luassert"
local copies = require "spec.support.copies"
local core = require "vmctl.core"
local support = require "spec.support"
local template = require "spec.support.template"
local vmctl = require "vmctl"

local sh, code = copies.sh, support.code
local LIMIT = 180

describe("copies of a guest", function()
  it("keep what they should, leave what was there when the disk is full, and follow no link", support.run(function()
    local folder = support.tmpdir()
    sh([[mkdir -p "$1/t/d" "$1/kept"; cd "$1/t"; echo one > one; ln one d/two; ln -s ../one d/link; touch -d @1000000000 one d
      head -c 3000000 /dev/zero | tr '\0' x > large; chmod 640 large; n=$(printf 'n%.0s' $(seq 120)); mkdir $n; echo deep > $n/$n]], folder)
    if core.fs.identity() == 0 then sh('chown 1000240000:1000250000 "$1/t/one"; chmod 4755 "$1/t/one"', folder) end
    local vm <close> = template.start() -- luacheck: ignore
    local report = assert(vmctl.files.push(vm, folder .. "/t", "/srv/deep/u"))
    assert.same({ 4, 3, 1, {}, {} }, { report.files, report.directories, report.links, report.changed, report.vanished })
    local seen = assert(vm:run { "sh", "-c", "cd /srv/deep/u; stat -c '%u:%g %a %h %Y' one; stat -c '%a %s' large; readlink d/link; "
      .. "stat -c %Y d", check = true }).stdout
    local owner = core.fs.identity() == 0 and "1000240000:1000250000 4755" or "0:0 644"
    assert.equal(owner .. " 2 1000000000\n640 3000000\n../one\n1000000000\n", seen)
    assert.equal("", assert(vm:run { "sh", "-c", "find / -xdev -name '.vmctl-*'" }).stdout)

    assert(vm:run { "sh", "-ec", "mkdir /small; mount -t tmpfs -o size=1m none /small; cd /small; echo old > large; echo old > one",
      check = true })
    local none, err, why = vmctl.files.push(vm, folder .. "/t", "/small", { exact = true })
    assert.same({ nil, "EREMOTE" }, { none, why })
    assert.truthy(err:find("No space left", 1, true), err)
    assert.equal("large\none\nold\nold\n", assert(vm:run { "sh", "-c", "cd /small; ls -A; cat large one" }).stdout)

    report = assert(vmctl.files.pull(vm, "/srv/deep/u", folder .. "/new/back"))
    assert.same({ 4, 3 }, { report.files, report.verified })
    local one = core.fs.stat(folder .. "/new/back/one")
    assert.same({ 2, 1000000000 }, { one.links, one.mtime })
    if core.fs.identity() == 0 then assert.same({ 1000240000, 1000250000 }, { one.uid, one.gid }) end
    assert(vm:run { "sh", "-ec", "rm -r /srv/deep/u; ln -s kept /srv/deep/u", check = true })
    report = assert(vmctl.files.pull(vm, "/srv/deep/u", folder .. "/link"))
    assert.equal(1, report.links)
    assert.equal("ELOOP", code(vmctl.files.pull(vm, "/etc/hosts", folder .. "/link/")))
    assert.equal("", sh('ls -A "$1/kept"', folder))
  end, LIMIT))
end)
