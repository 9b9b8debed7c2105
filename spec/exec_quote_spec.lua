-- Commands for agents that know nothing but `sh -c`, in the shells that guests have.
local quote = require "vmctl.exec.quote"
local support = require "spec.support"
local vmctl = require "vmctl"

local run = support.run

local shells = { { "dash", "-c" }, { "bash", "-c" }, { "busybox", "sh", "-c" } }

local function exists(name)
  return os.execute(("command -v %s >/dev/null 2>&1"):format(name)) == true
end

local words = {
  "", " ", "a b", "'", "''", '"', "it's", "\\", "\\n", "$HOME", "`id`", "$(id)", "*", "~", "#x", "-n", "--", "A=B", "\n", "\n\n", "x\n",
  "\r\n", "\t", "\xff\xfe", "\xff\n\n", "\xc3", "\x80'\\\n", "é", "!", "!!", "%s", "<&>|;()", "{a,b}", "[a]", "\27[0m",
}
for i = 1, 255 do words[#words + 1] = string.char(i) end
for i = 128, 255 do words[#words + 1] = string.char(i) .. "1\n" end -- a digit behind an escape

-- The output of the command, run by this shell.
local function output(shell, command)
  local argv = table.move(shell, 1, #shell, 1, {})
  argv[#argv + 1] = command
  return assert(vmctl.host:run(argv))
end

describe("exec quote:", function()
  for _, shell in ipairs(shells) do
    local body = exists(shell[1]) and run or function() end -- pending where there is no such shell
    local title = "%s gives a program its arguments, and its environment, byte by byte"
    it(title:format(shell[1]), body(function()
      local env = { A = "\xff\n", B = "it's \xfe", C = "\x80'\n\n" }
      local script = 'printf "%s\\0" "$A" "$B" "$C"; for word; do printf "%s\\0" "$word"; done'
      local result = output(shell, quote.command({ "sh", "-c", script, "sh", table.unpack(words) }, env))
      local seen = {}
      for word in result.stdout:gmatch "([^\0]*)\0" do seen[#seen + 1] = word end
      assert.same({ env.A, env.B, env.C, table.unpack(words) }, seen)
      assert.same({ "", 0 }, { result.stderr, result.exit_code })
    end, 10))

    it(("%s takes the first word for a program's name, whatever it is"):format(shell[1]), body(function()
      for _, name in ipairs { "if", "A=B", "cd", "exit", "!", "{", "#", "(x)", "-x", "--", "no such" } do
        local result = output(shell, quote.command { name, "0" })
        assert.equal(127, result.exit_code, name .. ": " .. result.stderr)
      end
    end, 10))
  end

  it("text stays readable", function()
    assert.equal("exec ls -l /etc", quote.command { "ls", "-l", "/etc" })
    assert.equal("exec echo 'a b' 'it'\\''s' ''", quote.command { "echo", "a b", "it's", "" })
  end)
end)
