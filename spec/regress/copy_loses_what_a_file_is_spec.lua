-- Holes became zeros on the disk, hard links files of their own, parts of seconds went, and folders above had to be there.
local assert = require "luassert"
local cc_helper = require "spec.support.cc_helper"
local copies = require "spec.support.copies"
local core = require "vmctl.core"
local support = require "spec.support"
local vmctl = require "vmctl"

local sh, run = copies.sh, support.run
local LIMIT = 60

local TREE = [[mkdir -p "$1/t/d"; cd "$1/t"; truncate -s 50000000 holes
  printf middle | env -u LD_PRELOAD dd of=holes bs=1 seek=20000000 conv=notrunc status=none
  truncate -s 3000000 empty; echo one > one; ln one d/two; ln -s one link
  touch -d "1969-07-20 20:17:40.123456789 UTC" one; touch -h -d "2001-02-03 04:05:06.5 UTC" link; touch -d "1950-01-01 UTC" d]]

local function shown(path)
  local info = assert(core.fs.stat(path, true))
  return { size = info.size, changed = info.changed, links = info.links, small = info.allocated < 1000000 }
end

describe("a copy", function()
  it("keeps holes, hard links, times of files, links and folders, both ways", run(function()
    copies.with_agent({}, function(client, folder)
      sh(TREE, folder)
      assert(vmctl.files.push(client, folder .. "/t", folder .. "/new/deep/u"))
      local report = assert(vmctl.files.pull(client, folder .. "/new/deep/u", folder .. "/other/deep/v"))
      assert.same({ 4, 3 }, { report.files, report.verified })
      for _, name in ipairs { "holes", "empty", "one", "d/two", "link", "d", "" } do
        local want = shown(folder .. "/t/" .. name)
        assert.same(want, shown(folder .. "/new/deep/u/" .. name))
        assert.same(want, shown(folder .. "/other/deep/v/" .. name))
      end
      sh('cd "$1"; cmp t/holes other/deep/v/holes; cmp t/holes new/deep/u/holes; cmp t/empty new/deep/u/empty', folder)
      assert.equal(core.fs.stat(folder .. "/other/deep/v/one").inode, core.fs.stat(folder .. "/other/deep/v/d/two").inode)
      assert(vmctl.files.pull(client, folder .. "/t", folder .. "/other/deep/v", { exact = true })) -- onto what is already so
      assert.same(shown(folder .. "/t/one"), shown(folder .. "/other/deep/v/one"))
      assert.equal("", sh('find "$1/other" -name ".part*"', folder))
    end)
  end, LIMIT))

  -- but parts of seconds, links' times, holes that are sent, and times before 1970 that it packs
  it("keeps most of that through busybox' tar", run(function()
    copies.with_agent("busybox", function(client, folder)
      sh(TREE, folder)
      assert(vmctl.files.push(client, folder .. "/t", folder .. "/u"))
      assert(vmctl.files.pull(client, folder .. "/t", folder .. "/v"))
      for _, there in ipairs { "/u/", "/v/" } do
        for _, name in ipairs { "one", "d/two", "d", "holes" } do
          local want, have = shown(folder .. "/t/" .. name), shown(folder .. there .. name)
          local time = there == "/v/" and math.max(0, want.changed // 1000000000) or want.changed // 1000000000
          assert.same({ want.size, time, want.links }, { have.size, have.changed // 1000000000, have.links })
        end
      end
      assert.is_true(shown(folder .. "/v/holes").small)
      sh('cmp "$1/t/holes" "$1/u/holes"; cmp "$1/t/holes" "$1/v/holes"; cmp "$1/t/empty" "$1/v/empty"', folder)
    end)
  end, LIMIT))

  it("keeps holes through a cc helper, and times of folders", run(function()
    local folder = support.tmpdir()
    sh(TREE .. '; mkdir "$1/root"', folder)
    cc_helper.serve({ root = folder .. "/root" }, function(_, client)
      local instance = assert(client:instance { source = folder .. "/root" })
      assert(vmctl.files.push(instance, folder .. "/t", "/u"))
      assert(vmctl.files.pull(instance, "/u", folder .. "/v/w", { owner = "mine" }))
      for _, there in ipairs { "/root/u/", "/v/w/" } do
        assert.same({ 50000000, true }, { shown(folder .. there .. "holes").size, shown(folder .. there .. "holes").small })
        assert.equal(core.fs.stat(folder .. "/t/d").mtime, core.fs.stat(folder .. there .. "d").mtime)
        for _, name in ipairs { "holes", "empty" } do sh('cmp "$1" "$2"', folder .. "/t/" .. name, folder .. there .. name) end
      end
    end)
  end, LIMIT))
end)
