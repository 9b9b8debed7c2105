-- A folder for guests' sockets that somebody else had made was taken: who ran `vmctl exec web` there spoke to his program, and gave
-- it what the command was given; a FIFO in it stopped `vmctl list`, and its names reached the terminal as they were.
local assert = require "luassert"
local cli = require "spec.support.cli"
local core = require "vmctl.core"
local lfs = require "lfs"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 120
local NOBODY = 65534
local root = core.fs.identity() == 0

-- A runtime folder with a guest "web" in it, whose agent is a socket here that counts who comes.
local function stage(body)
  local runtime = support.tmpdir()
  local home, folder = runtime .. "/vmctl", runtime .. "/vmctl/web"
  for _, path in ipairs { home, folder } do assert(core.fs.mkdir(path, 448)) end
  local listener <close> = assert(vmctl.listen("unix:" .. folder .. "/agent"))
  local came = 0
  vmctl.scope(function(scope)
    vmctl.spawn_in(scope, function()
      for stream in function() return listener:accept() end do
        came = came + 1
        stream:close()
      end
    end)
    body { runtime = runtime, home = home, folder = folder, came = function() return came end,
      say = function(words)
        words.env = { XDG_RUNTIME_DIR = runtime }
        return cli.run(words)
      end }
    scope:cancel()
  end)
end

local function refuses(s, path)
  local result = s.say { "exec", "-e", "TOKEN=secret", "web", "true" }
  assert.equal(125, result.exit_code)
  assert.truthy(result.stderr:find(path .. ": not a folder that is this user's alone", 1, true), result.stderr)
  assert.equal("", s.say { "list", "--names" }.stdout)
  assert.equal(0, s.came())
end

describe("a guests' folder", function()
  it("that others can enter is refused", support.run(function()
    stage(function(s)
      assert(vmctl.host:run { "chmod", "0755", s.home, check = true })
      refuses(s, s.home)
      assert(vmctl.host:run { "chmod", "0700", s.home, check = true })
      assert(vmctl.host:run { "chmod", "0711", s.folder, check = true })
      refuses(s, s.folder)
    end)
  end, LIMIT))

  it("that is a link is refused, at each step", support.run(function()
    stage(function(s)
      assert(os.rename(s.folder, s.runtime .. "/elsewhere"))
      assert(lfs.link(s.runtime .. "/elsewhere", s.folder, true))
      refuses(s, s.folder)
      assert(os.rename(s.home, s.runtime .. "/other"))
      assert(lfs.link(s.runtime .. "/other", s.home, true))
      refuses(s, s.home)
    end)
  end, LIMIT))

  it("of another user is refused, at each step", root and support.run(function()
    stage(function(s)
      for _, path in ipairs { s.folder, s.home } do
        assert(vmctl.host:run { "chown", tostring(NOBODY), path, check = true })
        refuses(s, path)
      end
    end)
  end, LIMIT) or function() pending "only root can make another user's folder" end)

  it("that is right is taken, but not a socket that another user serves", root and support.run(function()
    local runtime = support.tmpdir()
    local folder = runtime .. "/vmctl/web"
    for _, path in ipairs { runtime .. "/vmctl", folder } do assert(core.fs.mkdir(path, 448)) end
    local program = ([[
      local listener = assert(require "vmctl".listen "unix:%s/agent")
      print "listens"
      io.stdout:flush()
      local stream = assert(listener:accept())
      stream:read_line()
      stream:write "OK 1\n"
      io.stderr:write(stream:read(1000, 60) or "nothing")
    ]]):format(folder)
    assert(vmctl.host:run { "chmod", "0777", runtime, runtime .. "/vmctl", folder, check = true })
    local server <close> = assert(vmctl.process.spawn { "lua5.4", "-e", program, user = tostring(NOBODY), stdout = "pipe",
      stderr = "pipe", death_signal = "KILL", env = { LUA_PATH = package.path, LUA_CPATH = package.cpath } })
    local line = server.stdout:read_line(nil, 30)
    assert(vmctl.host:run { "chmod", "0700", runtime, runtime .. "/vmctl", folder, check = true })
    if not line then return pending "that user cannot read the module's folder" end
    local result = cli.run { "exec", "web", "true", env = { XDG_RUNTIME_DIR = runtime } }
    assert.equal(125, result.exit_code)
    assert.truthy(result.stderr:find("is served by another user (65534)", 1, true), result.stderr)
    assert.equal("nothing", server.stderr:read(1000, 60))
  end, LIMIT) or function() pending "only root can be somebody else" end)
end)

describe("vmctl list", function()
  it("waits for no FIFO, and prints no name that a terminal obeys", support.run(function()
    stage(function(s)
      for _, name in ipairs { "fifo", "\27[31mred", "a b", "-x" } do
        assert(core.fs.mkdir(s.home .. "/" .. name, 448))
      end
      assert(vmctl.host:run { "mkfifo", s.home .. "/fifo/info", check = true })
      for _, name in ipairs { "web", "\27[31mred", "a b", "-x" } do
        assert(core.fs.replace(s.home .. "/" .. name .. "/info", '{"name":"\27[31m","pid":1}'))
      end
      assert.same({ "web\n", "", 0 }, (function(r) return { r.stdout, r.stderr, r.exit_code } end)(s.say { "list", "--names" }))
      assert.is_nil(s.say { "list" }.stdout:find "\27")
    end)
  end, LIMIT))
end)
