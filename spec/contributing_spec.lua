-- CONTRIBUTING.md: what it shows runs as it stands there, and what it names is there.
local assert = require "luassert"
local lfs = require "lfs"
local support = require "spec.support"
local vmctl = require "vmctl"

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

-- The blocks of a language, without their indentation.
local function blocks(language)
  local found, block, indent = {}, nil, nil
  for line in io.lines "CONTRIBUTING.md" do
    local spaces = line:match("^( *)```" .. language .. "$")
    if spaces then
      block, indent = {}, #spaces
    elseif block and line:find "^ *```$" then
      found[#found + 1] = table.concat(block, "\n") .. "\n"
      block = nil
    elseif block then
      block[#block + 1] = line:sub(indent + 1)
    end
  end
  return found
end

-- The paths in a page that are not there.
local function missing_paths(page)
  local missing = {}
  for path in read(page):gmatch "`([%l_]+/[%w_/.%-]+)`" do
    local made_by_reader = path:find "counter" or path:find "%u%u"
    if not made_by_reader and not lfs.attributes(path) then missing[#missing + 1] = path end
  end
  return missing
end

describe("docs/architecture.md", function()
  it("names files and folders that are there", function() assert.same({}, missing_paths "docs/architecture.md") end)
end)

describe("CONTRIBUTING.md", function()
  it("shows a verb that gives what it promises", function()
    local methods = assert(load("local M = {}\n" .. blocks("lua")[1] .. "return M"))()
    local machine = { succeed = function(_, command) return command == "uname -r" and "6.1.0-44\n" or error(command) end }
    assert.equal("6.1.0-44", methods.kernel_release(machine))
  end)

  it("shows a protocol whose client talks to a server", support.run(function()
    local echo = assert(load(blocks("lua")[2]))()
    local listener <close> = assert(vmctl.listen "tcp:127.0.0.1:0")
    local serving = vmctl.spawn(function()
      local stream <close> = assert(listener:accept())
      for line in function() return stream:read_line(1024, 30) end do assert(stream:write(line .. "\n")) end
    end)
    local client <close> = assert(echo.connect(listener:address(), { timeout = 30 }))
    assert.equal("hello", client:echo("hello", 30))
    assert.equal("again", client:echo("again", 30))
    client:close()
    serving:join()
    assert.equal("ECLOSED", support.code(client:echo "too late"))
  end))

  it("shows a class of the core that compiles without a warning", support.run(function()
    local path = support.tmpdir() .. "/counter.c"
    local text = blocks("c")[1]
    local _, includes_end = text:find '#include "lua/classes.h"\n'
    local declared = '#define VMCTL_COUNTER "vmctl.Counter"\nvoid vmctl_counter_register(lua_State *L);\n'
    local file = assert(io.open(path, "w"))
    file:write(text:sub(1, includes_end), declared, text:sub(includes_end + 1))
    file:close()
    local flags = assert(vmctl.host:run "pkg-config --cflags lua5.4").stdout:gsub("%s+$", "")
    local done = assert(vmctl.host:run { "sh", "-c", ("gcc -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Wshadow -Wconversion -Werror " ..
      "-fsyntax-only -Isrc %s %s"):format(flags, path), cwd = lfs.currentdir() })
    assert.equal("", done.stderr)
    assert.equal(0, done.exit_code)
  end))

  it("names files and folders that are there", function() assert.same({}, missing_paths "CONTRIBUTING.md") end)

  it("names targets of make that there are", function()
    local makefile = "\n" .. read "Makefile"
    for path in makefile:gmatch "\ninclude (%S+)" do makefile = makefile .. "\n" .. read(path) end
    for target in read "CONTRIBUTING.md":gmatch "make (%l[%l%d-]*)" do
      assert.is_truthy(makefile:find("\n" .. target .. ":", 1, true), target)
    end
  end)
end)
