local assert = require "luassert"

-- Runs a shell command; its output, and whether it succeeded.
local function sh(command)
  local pipe = io.popen("{ " .. command .. "\n} 2>&1")
  local output = pipe:read "a"
  return output, (pipe:close())
end

describe("the rock", function()
  local dir

  setup(function()
    dir = sh("mktemp -d /tmp/vmctl-rock-XXXXXX"):match "%S+"
  end)

  teardown(function()
    sh("rm -rf " .. dir)
  end)

  it("installs with luarocks into a tree of its own, and works with only that tree on the path", function()
    local output, ok = sh(("mkdir %s/source && cp -r src lua bin LICENSE *.rockspec %s/source && cd %s/source && " ..
      "luarocks --lua-version 5.4 --tree %s/tree make --deps-mode none vmctl-*-1.rockspec"):format(dir, dir, dir, dir))
    assert.is_true(ok, output)
    local program = [[
      local vmctl = require "vmctl"
      assert(package.searchpath("vmctl", package.path):find(arg[1], 1, true))
      assert(package.searchpath("vmctl.core", package.cpath):find(arg[1], 1, true))
      print(assert(vmctl.host:run { "echo", "from the rock" }).stdout)
    ]]
    local file = assert(io.open(dir .. "/program.lua", "w"))
    file:write(program)
    file:close()
    local cjson = package.searchpath("cjson", package.cpath)
    output, ok = sh(("cd / && LUA_PATH='%s/tree/share/lua/5.4/?.lua;%s/tree/share/lua/5.4/?/init.lua' " ..
      "LUA_CPATH='%s/tree/lib/lua/5.4/?.so;%s' lua5.4 %s/program.lua %s"):format(dir, dir, dir,
      cjson:gsub("cjson%.so$", "?.so"), dir, dir))
    assert.is_true(ok, output)
    assert.equal("from the rock", output:match "[^\n]+")
  end)

  it("installs the vmctl command, which starts from there", function()
    local output, ok = sh(("cd / && %s/tree/bin/vmctl --version"):format(dir))
    assert.is_true(ok, output)
    assert.equal(require "vmctl"._VERSION, output:match "[^\n]+")
    output, ok = sh(("cd / && %s/tree/bin/vmctl exec host -- echo from the rock"):format(dir))
    assert.is_true(ok, output)
    assert.equal("from the rock", output:match "[^\n]+")
  end)
end)
