-- A guest planted a link where a folder was announced, and the next pull wrote through it; an archive without end filled the disk.
local assert = require "luassert"
local copies = require "spec.support.copies"
local support = require "spec.support"
local vmctl = require "vmctl"

local sh, run = copies.sh, support.run
local LIMIT = 60

local function pull(tar, opts, prepare)
  local seen
  copies.with_agent({ tar = "case $1 in --version) exec /bin/tar --version;; esac; " .. tar }, function(client, folder)
    sh('mkdir "$1/t" "$1/home"; echo x > "$1/t/file"; echo mine > "$1/home/kept"' .. (prepare or ""), folder)
    opts = opts or { verify = false }
    local place = folder .. (opts.place or "/out")
    opts.place = nil
    seen = table.pack(vmctl.files.pull(client, folder .. "/t", place, opts))
    seen.folder, seen.kept = folder, sh('cd "$1/home"; ls; cat kept', folder)
    seen.there = sh('cd "$1"; find out | LC_ALL=C sort; true', folder)
  end)
  return seen
end

describe("a pull from a guest that means ill", function()
  it("refuses a top entry of another type", run(function()
    local seen = pull 'd=$(mktemp -d); cd "$d"; ln -s /tmp t; /bin/tar -cf - t; rm -r "$d"'
    assert.same({ nil, "EPROTO" }, { seen[1], seen[3] })
    assert.truthy(seen[2]:find("a directory was to come, and a link came", 1, true))
    seen = pull 'd=$(mktemp -d); cd "$d"; mkdir t; echo x > t/file; /bin/tar -cf - t/file t; rm -r "$d"'
    assert.same({ nil, "EPROTO" }, { seen[1], seen[3] })
  end, LIMIT))

  it("refuses a place that is a link, unless that is asked for", run(function()
    local plant = '; ln -s "$1/home" "$1/out"'
    local seen = pull('exec /bin/tar "$@"', { exact = true }, plant)
    assert.same({ nil, "ELOOP" }, { seen[1], seen[3] })
    assert.equal("kept\nmine\n", seen.kept)
    assert.equal("ELOOP", pull('exec /bin/tar "$@"', {}, plant)[3])
    seen = pull('exec /bin/tar "$@"', { place = "/out/" }, plant) -- a slash behind it follows the link
    assert.same({ nil, "ELOOP" }, { seen[1], seen[3] })
    assert.equal("kept\nmine\n", seen.kept)
    seen = pull('exec /bin/tar "$@"', { follow = true }, plant)
    assert.equal(seen.folder .. "/home/t", seen[1].path)
  end, LIMIT))

  it("refuses a link on the way to that place, unless that is asked for", run(function()
    local plant = '; mkdir "$1/in"; ln -s ../home "$1/in/d"'
    for _, opts in ipairs { {}, { exact = true } } do
      opts.place = "/in/d/deep/out"
      local seen = pull('exec /bin/tar "$@"', opts, plant)
      assert.same({ nil, "ELOOP" }, { seen[1], seen[3] })
      assert.truthy(seen[2]:find(seen.folder .. "/in/d is a link", 1, true), seen[2])
      assert.equal("kept\nmine\n", seen.kept)
    end
    local seen = pull('exec /bin/tar "$@"', { place = "/in/d/out", follow = true }, plant)
    assert.equal(1, seen[1].files)
    assert.equal("kept\nout\nmine\n", seen.kept)
  end, LIMIT))

  it("takes root's own links at the top as folders", function()
    local here = require "vmctl.files.here"
    assert.is_nil(here.link_in "/var/run/none/x") -- /run
    assert.is_nil(here.link_in "/proc/sys")
    assert.equal("/proc/self/cwd", here.link_in "/proc/self/cwd/x")
  end)

  it("follows no link below that place", run(function()
    local seen = pull('exec /bin/tar "$@"', { exact = true },
      '; mkdir "$1/out" "$1/t/d"; echo evil > "$1/t/d/kept"; ln -s ../home "$1/out/d"')
    assert.same({ nil, "EEXIST" }, { seen[1], seen[3] })
    assert.equal("kept\nmine\n", seen.kept)
  end, LIMIT))

  it("ends at a number of bytes or of entries", run(function()
    assert.equal("ETOOBIG", pull('exec /bin/tar "$@"', { max_bytes = 1 })[3])
    assert.equal("ETOOBIG", pull('exec /bin/tar "$@"', { max_entries = 1 })[3])
    local seen = pull('exec /bin/tar "$@"', { max_entries = 2, max_bytes = 2 })
    assert.equal(1, seen[1].files)
    local endless = "/bin/tar -cf - t | head -c 512; yes x | head -c 300000000"
    assert.equal("EPROTO", pull(endless, { verify = false })[3]) -- what is no archive ends it as well
  end, LIMIT))

  it("brings no words that a terminal obeys", run(function()
    local seen = pull "printf 'tar: \\033]0;owned\\007 \\033[2J nothing\\n' >&2; exit 2"
    assert.equal("EREMOTE", seen[3])
    assert.falsy(seen[2]:find "[%c\127]")
  end, LIMIT))
end)
