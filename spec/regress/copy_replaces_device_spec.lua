-- A copy onto a device, as root, put a file in its place.
local assert = require "luassert"
local cc_helper = require "spec.support.cc_helper"
local copies = require "spec.support.copies"
local support = require "spec.support"
local vmctl = require "vmctl"

local sh, run = copies.sh, support.run
local LIMIT = 60

-- A FIFO, and where this user may make one, a device.
local MAKE = [[mkdir -p "$1/new/d" "$1/there/d"; cd "$1"; echo new > new/fifo; echo new > new/d/null; echo new > one
  mkfifo there/fifo; mknod there/d/null c 1 3 2>/dev/null || mkfifo there/d/null]]
local LOOK = [[cd "$1/there"; find . ! -type d -exec stat -c "%n %F" {} + | LC_ALL=C sort]]

-- Refuses a file onto each, and a tree onto both.
local function refuses(copy, folder, tree_code)
  sh(MAKE, folder)
  local before = sh(LOOK, folder)
  for _, name in ipairs { "fifo", "d/null" } do
    local none, err, code = copy("/one", "/there/" .. name)
    assert.same({ nil, "EEXIST" }, { none, code })
    assert.truthy(err:find("no regular file", 1, true), err)
  end
  local none, err, code = copy("/new", "/there")
  assert.same({ nil, tree_code }, { none, code })
  assert.truthy(err:find("no regular file", 1, true), err)
  assert.equal(before, sh(LOOK, folder))
end

describe("a copy onto what is no regular file", function()
  for name, tools in pairs { busybox = "busybox", GNU = {} } do
    it("is refused, by " .. name .. "'s programs", run(function()
      copies.with_agent(tools, function(client, folder)
        refuses(function(from, to) return vmctl.files.push(client, folder .. from, folder .. to, { exact = true }) end, folder, "EREMOTE")
      end)
    end, LIMIT))
  end

  it("is refused, by a cc helper", run(function()
    local folder = support.tmpdir()
    cc_helper.serve({ root = folder }, function(_, client)
      local instance = assert(client:instance { source = folder })
      refuses(function(from, to) return vmctl.files.push(instance, folder .. from, to, { exact = true }) end, folder, "EEXIST")
    end)
  end, LIMIT))

  it("is refused out of a guest", run(function()
    local folder = support.tmpdir()
    refuses(function(from, to) return vmctl.files.pull(vmctl.host, folder .. from, folder .. to, { exact = true }) end, folder, "EEXIST")
  end, LIMIT))
end)
