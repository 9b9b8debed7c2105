-- The installed forms: the rock, and `make install` (`make test-install`). Each is used from a place of its own.
-- Takes about 90 seconds.
local assert = require "luassert"

local VERSION = require "vmctl.base.version"

-- Runs a shell command; its output, and whether it succeeded.
local function sh(command)
  local pipe = io.popen("{ " .. command .. "\n} 2>&1")
  local output = pipe:read "a"
  return output, (pipe:close())
end

-- The same where the checkout's modules are not on Lua's path.
local function elsewhere(command)
  return sh("cd / && unset LUA_PATH LUA_CPATH LUA_PATH_5_4 LUA_CPATH_5_4; " .. command)
end

local PROGRAM = [[
  local vmctl = require "vmctl"
  assert(package.searchpath("vmctl", package.path):find(arg[1], 1, true))
  assert(package.searchpath("vmctl.core", package.cpath):find(arg[1], 1, true))
  print(assert(vmctl.host:run { "echo", "from " .. arg[1] }).stdout)
]]

describe("what users install #install", function()
  local dir

  setup(function()
    dir = sh("mktemp -d /tmp/vmctl-rock-XXXXXX"):match "%S+"
    local file = assert(io.open(dir .. "/program.lua", "w"))
    file:write(PROGRAM)
    file:close()
  end)

  teardown(function()
    sh("rm -rf " .. dir)
  end)

  local function works_in(tree)
    local output, ok = elsewhere(("LUA_PATH='%s/share/lua/5.4/?.lua;%s/share/lua/5.4/?/init.lua;;' " ..
      "LUA_CPATH='%s/lib/lua/5.4/?.so;;' lua5.4 %s/program.lua %s"):format(tree, tree, tree, dir, tree))
    assert.is_true(ok, output)
    assert.equal("from " .. tree, output:match "[^\n]+")
    output, ok = elsewhere(("%s/bin/vmctl --version"):format(tree))
    assert.is_true(ok, output)
    assert.equal("vmctl " .. VERSION, output:match "[^\n]+")
    output, ok = elsewhere(("%s/bin/vmctl exec host -- echo a command"):format(tree))
    assert.is_true(ok, output)
    assert.equal("a command", output:match "[^\n]+")
    output, ok = elsewhere(("%s/bin/vmctl-agent --version && %s/bin/vmctl-cc-helper --help"):format(tree, tree))
    assert.is_true(ok, output)
    assert.equal("vmctl-agent " .. VERSION, output:match "[^\n]+")
    output = elsewhere(("nm -D --defined-only %s/lib/lua/5.4/vmctl/core.so"):format(tree))
    assert.same({ 1, "luaopen_vmctl_core" }, { select(2, output:gsub("\n", "\n")), output:match "T (%S+)" })
  end

  it("is packed with luarocks, installed into a tree of its own, used, and boots a guest", function()
    local output, ok = sh(("mkdir %s/source && git ls-files -z | xargs -0 cp --parents -t %s/source && cd %s/source && git init -q && " ..
      "git add -A && make -s pack"):format(dir, dir, dir))
    assert.is_true(ok, output)
    local rock = dir .. "/source/" .. output:match "(%S+%.src%.rock)"
    local quickly = "CFLAGS='-O0 -fPIC'" -- what is compiled here is not measured
    output, ok = sh(("cd %s && MAKEFLAGS='-j2 AGENT_OPTIMIZE=-O0' luarocks --lua-version 5.4 --tree %s/tree install --deps-mode none %s %s")
      :format(dir, dir, rock, quickly))
    assert.is_true(ok, output)
    works_in(dir .. "/tree")
    local here = sh("pwd"):match "[^\n]+"
    output, ok = elsewhere(("%s/tree/bin/vmctl run --kernel %s/build/kernel/vmlinuz --initrd %s/build/guest.img -- echo booted")
      :format(dir, here, here))
    assert.is_true(ok, output)
    assert.matches("booted", output)
  end)

  it("is installed by make, with its programs, pages and completions, and uninstalled without a trace", function()
    local output, ok = sh(("make -s install DESTDIR=%s/dest PREFIX=/usr"):format(dir))
    assert.is_true(ok, output)
    works_in(dir .. "/dest/usr")
    for _, path in ipairs { "share/man/man1/vmctl.1", "share/bash-completion/completions/vmctl", "share/zsh/site-functions/_vmctl",
      "share/fish/vendor_completions.d/vmctl.fish", "share/lua/5.4/vmctl/annotations/modules.lua", "share/doc/vmctl/examples/hello.lua",
      "bin/vmctl-build-image" } do
      assert.matches("^[1-9]", sh(("wc -c < %s/dest/usr/%s"):format(dir, path)), path)
    end
    output, ok = sh(("make -s uninstall DESTDIR=%s/dest PREFIX=/usr && find %s/dest -type f"):format(dir, dir))
    assert.is_true(ok, output)
    assert.equal("", output)
  end)
end)
