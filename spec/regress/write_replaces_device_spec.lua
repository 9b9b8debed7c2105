-- Writing a file by renaming a new one to its path replaced a FIFO, a socket or a device as well.
local assert = require "luassert"
local agent = require "spec.support.agent"
local core = require "vmctl.core"
local disk = require "vmctl.machine.root_disk"
local guest = require "spec.support.guest_root"
local image = require "vmctl.machine.image"
local support = require "spec.support"
local vmctl = require "vmctl"

local fs, run = core.fs, support.run

-- A folder with a FIFO, a socket and, where this user may make one, a device.
local function odd_files()
  local folder = support.tmpdir()
  assert(os.execute("cd '" .. folder .. "' && mkfifo fifo && { mknod device b 7 99 2>/dev/null || mkfifo device; }"))
  return folder, assert(vmctl.listen("unix:" .. folder .. "/socket"))
end

local function look(folder)
  local kinds = {}
  for _, name in ipairs(fs.list(folder)) do kinds[name] = fs.stat(folder .. "/" .. name, true).inode end
  return kinds
end

-- Calls write(path) for each: it fails with that code, and the folder is as it was.
local function refuses(want, write)
  local folder, listener <close> = odd_files() -- luacheck: ignore
  local before = look(folder)
  for _, name in ipairs { "fifo", "socket", "device" } do
    local ok, err, code = write(folder .. "/" .. name)
    assert.same({ nil, want }, { ok, code }, name)
    assert.truthy(err:find("regular file", 1, true), err)
    assert.same(before, look(folder))
  end
end

describe("what is no regular file is not replaced", function()
  it("by fs.replace and fs.replace_in", run(function()
    refuses("EEXIST", function(path) return fs.replace(path, "x") end)
    refuses("EEXIST", function(path)
      local folder, name = path:match "^/(.*)/(.*)$"
      return fs.replace_in("/", folder, name, "x")
    end)
    local folder = support.tmpdir()
    assert(fs.mkdir(folder .. "/d"))
    assert.equal("EISDIR", support.code(fs.replace(folder .. "/d", "x")))
  end))

  it("by an agent's write_file", run(function()
    agent.serve(function(client)
      refuses("EREMOTE", function(path) return client:write_file(path, "x") end)
    end)
  end))

  it("by set_config and inject_ssh_key", run(function()
    local handlers, _, root = guest.handlers { config_path = "/srv/config" }
    for _, folder in ipairs { "/srv", "/home/bob/.ssh" } do assert(fs.mkdir(root .. folder)) end
    assert(fs.chown(root .. "/home/bob/.ssh", guest.UID, guest.GID))
    for _, path in ipairs { "/srv/config", "/home/bob/.ssh/authorized_keys" } do assert(os.execute("mkfifo " .. root .. path)) end
    local ok, result, code = handlers.set_config { content = "a = 1\n" }
    assert.is_nil(ok)
    assert.equal("EEXIST", code, result)
    ok, result, code = handlers.inject_ssh_key { user = "bob", public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== x" }
    assert.is_nil(ok)
    assert.equal("EEXIST", code, result)
    for _, path in ipairs { "/srv/config", "/home/bob/.ssh/authorized_keys" } do assert.equal("fifo", fs.stat(root .. path, true).type) end
  end))

  it("by config.push through commands", run(function()
    refuses("EREMOTE", function(path)
      return vmctl.config.push(vmctl.host, { files = { { path = path, content = "x" } } })
    end)
  end))

  it("by image.build and the making of disks", run(function()
    refuses("EEXIST", function(path) return image.build { output = path, agent = "build/vmctl-agent", busybox = false } end)
    refuses("EEXIST", function(path) return disk.make_ext4(path, "16M") end)
  end))
end)
