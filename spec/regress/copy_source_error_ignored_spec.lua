-- A folder that could not be read was copied as an empty one, a file that could not be read as zeros.
local assert = require "luassert"
local copies = require "spec.support.copies"
local native = require "spec.support.native"
local script = require "spec.support.script"
local support = require "spec.support"

local sh, run = copies.sh, support.run
local LIMIT = 60

local SCRIPT = [[
local vmctl = require "vmctl"
local none, err, code = vmctl.files.%s(vmctl.host, %q, %q, { verify = %s })
io.stderr:write(none and "copied" or code, " ", err or "")]]

local function copy(call, part, way, verify)
  local folder = support.tmpdir()
  sh('mkdir -p "$1/t/sub"; head -c 200000 /dev/zero | tr "\\0" x > "$1/t/sub/file"', folder)
  local code, _, said = script.run(SCRIPT:format(way, folder .. "/t", folder .. "/u", verify), { env = native.failing(folder, call, part) })
  assert.equal(0, code, said)
  return said, folder
end

describe("a copy whose source fails", function()
  for _, verify in ipairs { true, false } do
    it("fails with EIO of a folder, check sums: " .. tostring(verify), run(function()
      local said, folder = copy("readdir", "/t/sub", "push", verify)
      assert.matches("^EIO .*list /sub: Input/output error", said)
      assert.equal("", sh('ls "$1" | grep "^u" || true', folder))
    end, LIMIT))

    it("fails with EIO of a file, check sums: " .. tostring(verify), run(function()
      local said, folder = copy("read", "/t/sub/file", "push", verify)
      assert.matches("^EIO .*Input/output error", said)
      assert.equal("", sh('ls "$1" | grep "^u" || true', folder))
    end, LIMIT))

    for _, call in ipairs { "write", "close" } do
      it(("fails with EIO of this machine's disk by %s, check sums: %s"):format(call, tostring(verify)), run(function()
        local said, folder = copy(call, "/u/sub/.part-", "pull", verify)
        assert.matches("^EIO .*Input/output error", said)
        assert.equal("", sh('find "$1/u" -type f', folder))
      end, LIMIT))
    end
  end
end)

describe("a file that is replaced", function()
  it("stays when its new content does not get to the disk", run(function()
    local folder = support.tmpdir()
    sh('mkdir "$1/d"; echo old > "$1/d/file"', folder)
    for _, call in ipairs { "write", "fsync", "close" } do
      script.check(([[
        local core = require "vmctl.core"
        assert(select(3, core.fs.replace(%q .. "/d/file", "new")) == "EIO")
        assert(select(3, core.fs.replace_in(%q, "d", "file", "new")) == "EIO")]]):format(folder, folder),
        { env = native.failing(folder, call, "/d/") })
      assert.equal("file\nold\n", sh('cd "$1/d"; ls -A; cat file', folder))
    end
  end, LIMIT))
end)
