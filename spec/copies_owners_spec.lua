-- A tar whose headers have no room for every owner: which files' owners the guest looks at before it packs them.
local assert = require "luassert"
local copies = require "spec.support.copies"
local core = require "vmctl.core"
local support = require "spec.support"
local vmctl = require "vmctl"

local sh, run = copies.sh, support.run
local LIMIT = 60
local OLD_TAR = 'case $1 in --version) echo old; exit;; esac; exec /bin/tar "$@"'
local SIMPLE_FIND = 'for word; do if [ "$word" = -user ]; then exit 1; fi; done; exec /usr/bin/find "$@"'

local function is_refused(client, folder, name)
  local none, err, code = vmctl.files.pull(client, folder .. "/t", folder .. "/u")
  assert.same({ nil, "EREMOTE" }, { none, code })
  assert.truthy(err:find(name .. ": this tar has no room for the owner 1000240000:5", 1, true), err)
end

describe("a copy through a tar without room for every owner", function()
  it("looks at the owners of the top and of what another owner has", run(function()
    local log = support.tmpdir() .. "/names"
    local stat = ('printf "%%s\\n" "$@" | grep "^\\./" >> %s; exec /usr/bin/stat "$@"'):format(log)
    copies.with_agent({ tar = OLD_TAR, stat = stat }, function(client, folder)
      sh('mkdir "$1/t"; cd "$1/t"; for i in $(seq 50); do echo $i > $i; done', folder)
      assert.equal(50, assert(vmctl.files.pull(client, folder .. "/t", folder .. "/u")).files)
      assert.equal("./t\n./t\n", sh('cat "$1"', log))
      if core.fs.identity() ~= 0 then return end
      sh('chown 7 "$1/t/20"; chgrp 7 "$1/t/30"; : > "$2"', folder, log)
      assert.equal(50, assert(vmctl.files.pull(client, folder .. "/t", folder .. "/v")).files)
      assert.equal("./t\n./t\n./t/20\n./t/30\n", sh('sort "$1"', log))
    end)
  end, LIMIT))

  if core.fs.identity() ~= 0 then return end

  for what, tools in pairs { ["a find"] = { tar = OLD_TAR }, ["a find that knows no owners"] = { tar = OLD_TAR, find = SIMPLE_FIND } } do
    it("is refused by name, by " .. what, run(function()
      copies.with_agent(tools, function(client, folder)
        sh('mkdir "$1/t"; cd "$1/t"; echo x > su; echo y > sv; chown 1000240000:5 su', folder)
        is_refused(client, folder, "t/su")
        sh('cd "$1"; chown 1000240000:5 t/* t', folder)
        is_refused(client, folder, "./t")
        sh('cd "$1"; chown 7:1000240000 t/* t', folder)
        local _, err = vmctl.files.pull(client, folder .. "/t", folder .. "/u")
        assert.truthy(err:find("./t: this tar has no room for the owner 7:1000240000", 1, true), err)
        sh('cd "$1"; chown 2097151:2097151 t/* t', folder)
        assert.equal(2, assert(vmctl.files.pull(client, folder .. "/t", folder .. "/u")).files)
      end)
    end, LIMIT))
  end
end)
