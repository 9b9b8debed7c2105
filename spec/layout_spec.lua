-- The floors of lua/vmctl, and what holds for the repository as a whole. No exceptions are made here: what fails is moved, or the
-- table below is changed for a reason that the commit tells.
local assert = require "luassert"
local cycles = require "spec.support.cycles"
local layout = require "spec.support.lua_layout"
local vmctl = require "vmctl"

-- A room needs rooms of lower floors alone: never one above it or beside it.
local floors = {
  { "errors", "text" },
  { "log" },
  { "base" },
  { "annotations", "clock", "format", "json", "signals", "tar", "yamux" },
  { "process" },
  { "net", "protobuf" },
  { "address", "cc", "exec", "l2", "mux", "qmp", "stereos", "ttrpc", "vsock" },
  { "files", "fleet", "guest", "host", "qga", "remote", "socketforward", "system" },
  { "config", "forward", "pipeline", "rootfs", "trace" },
  { "machine", "replay" },
  { "cc_helper", "doctor", "instance", "ready" },
  { "scenario", "serve" },
  { "suite" },
  { "vmctl" },
  { "agent", "cli" },
}

local function upvalue(fn, wanted)
  for i = 1, 255 do
    local name, value = debug.getupvalue(fn, i)
    if name == wanted then return value end
  end
end

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

-- vmctl loads its rooms by their names.
local rooms = upvalue(getmetatable(vmctl).__index, "rooms")

describe("the check of the floors", function()
  local function complaints_of(texts)
    return layout.complaints(layout.rooms(layout.graph(texts)), { { "base" }, { "exec", "qmp" }, { "cli" } })
  end

  local function house(changed)
    local texts = {
      ["vmctl.base.task"] = "return {}", ["vmctl.exec"] = 'require "vmctl.base.task"', ["vmctl.qmp"] = "",
      ["vmctl.cli"] = 'require "vmctl.exec"',
    }
    for name, text in pairs(changed) do texts[name] = text end
    return texts
  end

  it("accepts arrows that lead down", function() assert.same({}, complaints_of(house {})) end)

  it("finds an arrow upward, also in a function and in a table of names", function()
    for _, text in ipairs {
      'local exec = require "vmctl.exec"', 'return function() return require("vmctl.exec").run end',
      'local names = { exec = "vmctl.exec" }', 'local ok = pcall(require, "vmctl.exec")',
    } do
      assert.same({ "vmctl.base.task needs vmctl.exec, which is not below it" }, complaints_of(house { ["vmctl.base.task"] = text }))
    end
  end)

  it("finds an arrow to a room beside", function()
    assert.same({ "vmctl.qmp.client needs vmctl.exec, which is not below it" },
      complaints_of(house { ["vmctl.qmp.client"] = 'local exec = require "vmctl.exec"' }))
  end)

  it("takes no comment for an arrow", function()
    assert.same({}, complaints_of(house { ["vmctl.base.task"] = '--- See "vmctl.exec".\nreturn {} -- for "vmctl.exec"' }))
  end)

  it("finds a room on no floor, and a floor's room that is not there", function()
    local texts = house { ["vmctl.attic"] = "" }
    texts["vmctl.cli"] = nil
    assert.same({ "attic is on no floor", "there is no room cli" }, complaints_of(texts))
  end)

  it("finds modules that need each other", function()
    local texts = house { ["vmctl.exec"] = 'require "vmctl.exec.client"', ["vmctl.exec.client"] = 'require "vmctl.exec"' }
    assert.same({ { "vmctl.exec", "vmctl.exec.client" } }, cycles.find(layout.graph(texts)))
  end)
end)

describe("the modules", function()
  local graph = layout.graph(layout.texts())
  for room in pairs(rooms) do graph.vmctl["vmctl." .. room] = ("vmctl needs vmctl.%s"):format(room) end

  it("need lower floors alone", function() assert.same({}, layout.complaints(layout.rooms(graph), floors)) end)

  it("have one subject each: at 250 lines a second one is looked for, and 270 are too many", function()
    local long = {}
    for name, text in pairs(layout.texts()) do
      local _, lines = text:gsub("\n", "\n")
      if lines > 270 and not name:find "^vmctl%.annotations%." then long[#long + 1] = ("%s: %d lines"):format(name, lines) end
    end
    assert.same({}, long)
  end)

  it("need each other in no circle", function() assert.equal("", cycles.describe(graph)) end)
end)

describe("the names in docs/modules.md", function()
  local names = layout.documented_names()

  it("are those that vmctl has", function()
    local known = {}
    for room in pairs(rooms) do known[#known + 1] = room end
    table.sort(known)
    assert.same(known, names)
  end)

  it("are those of all files beside vmctl itself: what else there is has a folder", function()
    local named, others = {}, {}
    for _, name in ipairs(names) do named[name] = true end
    local pipe <close> = assert(io.popen "cd lua/vmctl && ls *.lua")
    for file in pipe:lines() do
      if file ~= "init.lua" and not named[file:match "^[^.]+"] then others[#others + 1] = file end
    end
    assert.same({}, others)
  end)

  for _, name in ipairs(names) do
    it(("vmctl.%s is what require returns"):format(name), function()
      local value = require("vmctl." .. name)
      assert.is_not_nil(value)
      assert.equal(value, vmctl[name])
    end)
  end
end)

-- The modules whose code, without its comments, has a text that fits the pattern.
local function modules_with(pattern)
  local found = {}
  for name, text in pairs(layout.texts()) do
    if layout.code(text):find(pattern) then found[#found + 1] = name end
  end
  table.sort(found)
  return found
end

describe("docs/architecture.md", function()
  it("shows each room, on one floor with those that are beside it", function()
    local diagram = read "docs/architecture.md":match "## Floors.-```(.-)```"
    local parts, part_of, missing = 1, {}, {}
    for line in diagram:gmatch "[^\n]+" do
      if line:find "%-%-%-%-" then parts = parts + 1 end
      for word in line:gmatch "[%w_]+" do part_of[word] = part_of[word] or parts end
    end
    local at = math.huge
    for _, names in ipairs(floors) do
      for _, name in ipairs(names) do
        if not part_of[name] then missing[#missing + 1] = name end
      end
    end
    assert.same({}, missing)
    for number = 2, #floors do
      for _, name in ipairs(floors[number]) do at = math.min(at, part_of[name]) end
      for _, lower in ipairs(floors[number - 1]) do assert.is_true(part_of[lower] >= at, lower) end
    end
  end)
end)

describe("make help", function()
  -- Targets that other targets, `make check` and luarocks call.
  local inner = { all = true, help = true, ["check-build"] = true, rock = true }

  it("names each target", function()
    local pipe <close> = assert(io.popen "make -s help")
    local named, missing = { env = true }, {}
    for target in pipe:read "a":gmatch "make ([%l%d-]+)" do named[target] = true end
    for _, path in ipairs { "Makefile", "tools/install.mk" } do
      for target in ("\n" .. read(path)):gmatch "\n([%l%d-]+):%f[^:=]" do
        if not (named[target] or inner[target] or target:find "^install%-") then missing[#missing + 1] = target end
      end
    end
    assert.same({}, missing)
  end)
end)

describe("what stands in one place", function()
  it("is the number of each of the agent's ports", function()
    for _, port in ipairs { 1025, 1026, 5000, 5001, 5002, 5004 } do
      assert.same({ "vmctl.net.agent_ports" }, modules_with(("%%f[%%w]%d%%f[^%%w]"):format(port)), port)
    end
  end)

  it("is the path of each device and program that this host has for guests", function()
    for _, path in ipairs { '"/dev/kvm"', '"/dev/vhost%-vsock"', '"/[%w/]+/virtiofsd"' } do
      assert.same({ "vmctl.machine.host_devices" }, modules_with(path), path)
    end
  end)

  it("is the user's folder of caches", function()
    assert.same({ "vmctl.base.user_folders" }, modules_with '"XDG_CACHE_HOME"')
  end)

  it("is the source of random bytes", function()
    assert.same({ "vmctl.base.random" }, modules_with '"/dev/u?random"')
  end)
end)

describe("the version", function()
  local version = require "vmctl.base.version"

  it("stands in one file", function()
    -- As a word: it may be a part of an address of networks, and the version of something else has a "v" in front.
    local word, others = ("(^|[^0-9.v])%s([^0-9./]|$)"):format(version:gsub("%.", "[.]")), {}
    local command = ("grep -rlE --exclude-dir=build '%s' lua src bin tools Makefile spec examples fuzz bench"):format(word)
    local pipe <close> = assert(io.popen(command))
    for path in pipe:lines() do others[#others + 1] = path end
    assert.same({ "lua/vmctl/base/version.lua" }, others)
  end)

  it("is the rock's, and has a section in the list of changes", function()
    local rockspec = read(("vmctl-%s-1.rockspec"):format(version))
    assert.is_truthy(rockspec:find(('version = "%s-1"'):format(version), 1, true))
    assert.is_truthy(read "CHANGELOG.md":find(("\n## [%s]"):format(version), 1, true))
  end)

  it("is what vmctl tells", function() assert.equal("vmctl " .. version, vmctl._VERSION) end)
end)
