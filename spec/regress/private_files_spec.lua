-- A console's log, a screenshot, a snapshot of the guest's memory were readable by all, and a capture emptied another user's file.
local assert = require "luassert"
local console = require "vmctl.machine.console"
local copies = require "spec.support.copies"
local core = require "vmctl.core"
local native = require "spec.support.native"
local screen = require "vmctl.machine.screen"
local script = require "spec.support.script"
local support = require "spec.support"
local vmctl = require "vmctl"

local sh, code, run = copies.sh, support.code, support.run
local LIMIT = 30

-- Each makes the file at a path, as the function that users call does; and closes it.
local makers = {
  console = function(path)
    local made, err, why = console.open("web", nil, path)
    if not made then return nil, err, why end
    return made:close()
  end,
  screenshot = screen.prepare,
  capture = function(path)
    local switch <close> = vmctl.l2.switch()
    local capture, err, why = switch:capture(path)
    if not capture then return nil, err, why end
    return capture:close()
  end,
  trace = function(path)
    local ok, err, why = vmctl.trace.start(path)
    if not ok then return nil, err, why end
    assert.same({ 1, 0 }, { vmctl.trace.status().records, vmctl.trace.status().dropped })
    vmctl.trace.stop()
    return true
  end,
}

describe("a file that holds what a guest said or showed", function()
  for name, make in pairs(makers) do
    it("is this user's alone: " .. name, run(function()
      local folder = support.tmpdir()
      sh('cd "$1"; umask 0; : > old; ln -s old link; ln -s none nowhere; mkfifo fifo; mkdir folder', folder)
      assert(make(folder .. "/new"))
      assert(make(folder .. "/old"))
      assert.equal("600\n600\n", sh('stat -c %a "$1/new" "$1/old"', folder))
      assert.equal("ELOOP", code(make(folder .. "/link")))
      assert.equal("ELOOP", code(make(folder .. "/nowhere")))
      if name ~= "capture" then assert.equal("EINVAL", code(make(folder .. "/fifo"))) end -- that one is for a running Wireshark
      assert.equal("EISDIR", code(make(folder .. "/folder")))
      if core.fs.identity() == 0 then
        sh('echo kept > "$1/theirs"; chown 12345 "$1/theirs"', folder)
        assert.equal("EPERM", code(make(folder .. "/theirs")))
        assert.equal("kept\n", sh('cat "$1/theirs"', folder))
      end
    end, LIMIT))
  end
end)

describe("a full disk", function()
  local function with_full(text)
    local folder = support.tmpdir()
    local env = native.failing(folder, "write", "/full")
    env[#env] = "FAULT_ERROR=28"
    env[#env + 1] = "FOLDER=" .. folder
    env[#env + 1] = "VMCTL_LOG=error"
    local status, _, said = script.run('local path = os.getenv "FOLDER" .. "/full"\n' .. text, { env = env })
    assert.equal(0, status, said)
    return said
  end

  it("is said once by a console's log, and told by its status", run(function()
    local said = with_full [[
      local console = require "vmctl.machine.console"
      local made = assert(console.open("web", nil, path))
      assert(made:status())
      made:begin()
      for i = 1, 3 do
        assert(made.far:write "line\n")
        assert(made:wait(("line\n"):rep(i), 30, true))
      end
      local ok, err, code = made:status()
      assert(ok == nil and code == "ENOSPC", err)
      assert(made:text() == "line\nline\nline\n")
      made:close()]]
    assert.equal(1, select(2, said:gsub("No space left", "")), said)
    assert.truthy(said:find("what comes is missing from its log", 1, true))
  end, LIMIT))

  it("is told by a capture's status and close", run(function()
    with_full [[
      local vmctl = require "vmctl"
      local switch = vmctl.l2.switch()
      local none, _, code = switch:capture(path)
      assert(none == nil and code == "ENOSPC", code)]]
  end, LIMIT))

  it("is said once by a trace, and told by its status", run(function()
    local said = with_full [[
      local vmctl = require "vmctl"
      assert(vmctl.trace.start(path))
      local a, b = vmctl.pair()
      for _ = 1, 5 do assert(a:write("x\n")) assert(b:read_line()) end
      local status = vmctl.trace.status()
      assert(status.records == 0 and status.dropped > 5 and status.code == "ENOSPC")
      vmctl.trace.stop()]]
    assert.equal(1, select(2, said:gsub("is missing from it", "")), said)
  end, LIMIT))

  it("makes vmctl's exit code 1 when it was asked for a trace", run(function()
    local folder = support.tmpdir()
    local env = { VMCTL_TRACE = folder .. "/full" }
    for _, entry in ipairs(native.failing(folder, "write", "/full")) do
      local name, value = entry:match "^([^=]+)=(.*)$"
      env[name] = value
    end
    local record = assert(vmctl.host:run { "bin/vmctl", "exec", "host", "--", "true", env = env })
    assert.equal(1, record.exit_code)
    assert.truthy(record.stderr:find("records are missing", 1, true), record.stderr)
  end, LIMIT))
end)
