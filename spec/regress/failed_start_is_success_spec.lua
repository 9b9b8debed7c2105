-- A start that failed, and a folder that could not be read, are errors: never a result that nobody has produced.
local assert = require "luassert"
local core = require "vmctl.core"
local native = require "spec.support.native"
local script = require "spec.support.script"
local support = require "spec.support"

local LIMIT = 300 -- seconds
local MOST = 40   -- the most often that a script makes one of the calls in question
local EIO, EAGAIN, EMFILE = 5, 11, 24

-- Exit code 3: all went well, so the call was not made as often; 0: a failure, told as one; else a wrong success.
local COMMANDS = [[
  local vmctl = require "vmctl"
  local function look(result, err, code)
    if not result then return type(err) == "string" and type(code) == "string" end
    if result.error then return result.exit_code == nil or result.exit_code == 126 or result.exit_code == 127 end
    assert(result.exit_code == 0 and result.stdout == "out\n", "a wrong success")
    return false
  end
  local failed = false
  for _, stdin in ipairs { false, "x" } do
    local ran, result, err, code = pcall(vmctl.host.run, vmctl.host, { "echo", "out", stdin = stdin or nil, timeout = 60 })
    failed = not ran or look(result, err, code) or failed
  end
  os.exit(failed and 0 or 3, true)
]]

local STREAM = [[
  local process = require "vmctl.process"
  local child, err, code = process.spawn { "sh", "-c", "echo out", stdout = "pipe" }
  if not child then os.exit(type(err) == "string" and type(code) == "string" and 0 or 1, true) end
  local text = child.stdout:read(100, 60)
  local record = child:wait(60)
  assert(text == "out\n" and record and record.exit_code == 0, "a wrong success")
  os.exit(3, true)
]]

local FILES = [[
  local core, fs = require "vmctl.core", require "vmctl.base.fs"
  local folder = assert(core.fs.temporary "/tmp/vmctl-nth")
  for i = 1, 5 do os.execute("touch " .. folder .. "/" .. i) end
  local failed = false
  local function count(names, err, code)
    if names then
      assert(#names == 5, "a folder that is not whole")
    else
      assert(type(err) == "string" and type(code) == "string")
      failed = true
    end
  end
  local function try(fn, ...)
    local ran, names, err, code = pcall(fn, ...)
    if ran then count(names, err, code) else failed = true end
  end
  try(core.fs.list, folder)
  try(fs.list, folder)
  local root = fs.root(folder)
  if root then try(root.list, root, "/") else failed = true end
  os.execute("env -u LD_PRELOAD rm -r " .. folder) -- whose readdir does not fail
  os.exit(failed and 0 or 3, true)
]]

describe("a call that fails at any time while", function()
  local folder, library

  lazy_setup(function()
    folder = assert(core.fs.temporary "/tmp/vmctl-nth-library")
    library = native.build("nth", folder)
  end)

  lazy_teardown(function()
    os.remove(library)
    os.remove(folder)
  end)

  local function check(title, text, call, number)
    it(("%s: %s"):format(title, call), support.run(function()
      local failures = 0
      for at = 1, MOST do
        local code, signal, said = script.run(text, { env = native.nth(library, call, at, number) })
        assert.is_nil(signal, ("%s, the %dth time: %s"):format(call, at, said))
        assert.is_true(code == 0 or code == 3, ("%s, the %dth time: %s"):format(call, at, said))
        if code == 0 then failures = failures + 1 end
      end
      assert.is_true(failures > 0, "it never failed")
    end, LIMIT))
  end

  for call, number in pairs { vfork = EAGAIN, pipe2 = EMFILE, fcntl = EMFILE } do
    if call ~= "vfork" then check("a command is run", COMMANDS, call, number) end -- in a cgroup it begins by another call
    check("a process is started", STREAM, call, number)
  end
  for call, number in pairs { readdir = EIO, eventfd = EMFILE, pthread_create = EAGAIN } do
    check("a folder is listed", FILES, call, number)
  end
end)
