-- The runs of specs: make test has every file, each tag that it leaves out has a step of CI, and what a comment in a file promises
-- ("-- Also in asan: REASON") is in the Makefile's lists.
local assert = require "luassert"
local core = require "vmctl.core"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 60

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

local function lines(text)
  local found = {}
  for line in text:gmatch "[^\n]+" do found[#found + 1] = line end
  return found
end

-- Adds the spec files in a folder, and in those below it.
local function add_files(found, folder)
  for _, name in ipairs(assert(core.fs.list(folder))) do
    local path = folder .. "/" .. name
    if core.fs.stat(path).type == "directory" then
      add_files(found, path)
    elseif name:find "_spec%.lua$" then
      found[#found + 1] = path
    end
  end
end

local function spec_files()
  local found = {}
  add_files(found, "spec")
  table.sort(found)
  return found
end

-- The words with which tools/specs.lua, without words of its own, starts vmctl test.
local function words_of_make_test()
  local folder = support.tmpdir()
  local runner = folder .. "/runner"
  do
    local file <close> = assert(io.open(runner, "w"))
    assert(file:write(('#!/bin/sh\nprintf "%%s\\n" "$@" >"%s/words"\n'):format(folder)))
  end
  assert(vmctl.host:run { "chmod", "755", runner, check = true })
  local command = { "env" }
  for _, tag in ipairs { "NESTED", "SLURM", "SSH", "INSTALL", "PAGES", "DISTRIBUTIONS" } do
    table.insert(command, "-u")
    table.insert(command, "VMCTL_" .. tag)
  end
  for _, word in ipairs { "lua5.4", "tools/specs.lua" } do table.insert(command, word) end
  command.env = { SPEC_RUNNER = runner, VMCTL_BUILD = folder, LUA_PATH_5_4 = package.path, LUA_CPATH_5_4 = package.cpath }
  command.timeout = LIMIT
  assert(vmctl.host:run(command)) -- it fails, for no busted ran
  return lines(read(folder .. "/words"))
end

describe("make test", function()
  it("has every spec file", support.run(function()
    local given = {}
    for _, word in ipairs(words_of_make_test()) do
      if word:find "_spec%.lua$" then given[#given + 1] = word end
    end
    table.sort(given)
    assert.same(spec_files(), given)
  end, LIMIT))

  it("leaves tags out that have a step of CI", support.run(function()
    local steps, left_out = read ".ci/run", 0
    for _, word in ipairs(words_of_make_test()) do
      local tag = word:match "^%-%-exclude%-tags=(.+)$"
      if tag then
        left_out = left_out + 1
        assert.truthy(steps:find("make test%-" .. tag .. "s?%f[^%w]"), tag)
      end
    end
    assert.is_true(left_out > 0)
  end, LIMIT))
end)

describe("a comment about another run", function()
  local files_of, guests_of = {}, { ["spec/support/guest.lua"] = true }

  -- Finds out if the text requires spec/support/guest.lua, itself or by a support file that does.
  local function starts_guests(text)
    for name in text:gmatch 'require "(spec%.support%.[%w_.]+)"' do
      local path = name:gsub("%.", "/") .. ".lua"
      if guests_of[path] == nil then
        guests_of[path] = false
        guests_of[path] = core.fs.stat(path) ~= nil and starts_guests(read(path))
      end
      if guests_of[path] then return true end
    end
    return false
  end

  -- Finds out if the Makefile has the file in that run.
  local function has(run, path)
    if not files_of[run] then
      files_of[run] = {}
      local made = assert(vmctl.host:run { "make", "-s", "specs-of", "RUN=" .. run, check = true, timeout = LIMIT })
      for _, file in ipairs(lines(made.stdout)) do files_of[run][file] = true end
    end
    return files_of[run][path]
  end

  it("names runs that have the file", support.run(function()
    local seen = 0
    for _, path in ipairs(spec_files()) do
      local runs = ("\n" .. read(path)):match "\n%-%- Also in ([^:\n]*): "
      for run in (runs or ""):gmatch "[^, ]+" do
        seen = seen + 1
        assert.is_true(has(run, path), ("%s in %s"):format(path, run))
      end
    end
    assert.is_true(seen > 0)
  end, LIMIT))

  it("is what brings a file into a run whose support files start guests", support.run(function()
    local seen = 0
    for _, path in ipairs(spec_files()) do
      local text = read(path)
      if starts_guests(text) and not ("\n" .. text):find "\n%-%- Also in [^:\n]*i386" then
        seen = seen + 1
        assert.is_nil(has("i386", path), path)
      end
    end
    assert.is_true(seen > 0)
  end, LIMIT))

  it("is what brings a file with guests into a run", support.run(function()
    local guests = "spec/image_guest_spec.lua"
    for _, run in ipairs { "asan", "i386", "debian13", "kvm" } do
      assert.is_nil(has(run, guests), run)
      assert.is_nil(has(run, "spec/layout_spec.lua"), run)
    end
    assert.is_true(has("all", guests))
  end, LIMIT))
end)
