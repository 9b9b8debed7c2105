-- Words of a text, as a shell has them; the shell of this machine says which those are.
local assert = require "luassert"
local core = require "vmctl.core"
local process = require "vmctl.process"
local split = require("vmctl.text.words").split
local support = require "spec.support"

local LIMIT = 10

-- The words as `sh` sees them, each on a line of its own.
local function of_shell(text)
  local child <close> = assert(process.spawn { "sh", "-c", "set -f\nfor w in " .. text .. "\ndo printf '%s\\n' \"<$w>\"; done",
    stdin = "null", stdout = "pipe", stderr = "inherit" })
  local lines = {}
  for line in function() return child.stdout:read_line(4096, LIMIT) end do lines[#lines + 1] = line end
  return table.concat(lines, "\n")
end

describe("the words of a text", function()
  it("are those that a shell has", support.run(function()
    for _, text in ipairs {
      "a", "  /bin/sh   -x\t", "sh -c 'echo a b' x", [[sh -c "echo 'a b'" ""]], [[a\ b c\'d \"e\" \\]], [["a\"b\\c\d\e"]], [[a"b c"'d e'f]],
      [['' a ""]], [['a\b' "a'b" 'a"b']], [[--a="b c" -d='e']], "\"a\\\nb\" c\\\nd", [["a\$b\`c"]],
    } do
      local words = assert(split(text))
      for i, each in ipairs(words) do words[i] = "<" .. each .. ">" end
      assert.equal(of_shell(text), table.concat(words, "\n"), text)
    end
  end, LIMIT))

  it("are none of nothing, and take nothing from the surroundings", function()
    assert.same({}, split "")
    assert.same({}, split " \t\n")
    assert.same({ "$HOME", "*", "~", "`id`", "a;b", "#c" }, split "$HOME * ~ `id` a;b #c")
  end)

  it("are refused where a quote or a backslash has no end", function()
    for text, words in pairs { ["a 'b"] = "the quote at byte 3", ['a"b'] = "the quote at byte 2", ["a\\"] = "the backslash at byte 2",
      ['"a\\'] = "the quote at byte 1", ["'"] = "the quote at byte 1" } do
      local none, err, code = split(text)
      assert.same({ nil, "EINVAL" }, { none, code })
      assert.equal(words .. " has no end", err)
    end
  end)

  it("take time in proportion to the text", function()
    local function time(size)
      local text = ("'a' \"b\\c\" d\\e "):rep(size)
      local begin = core.now()
      assert.equal(size * 3, #split(text))
      return core.now() - begin
    end
    time(1000)
    assert.is_true(time(80000) < 40 * math.max(time(10000), 0.001)) -- the square would be 64 times
  end)
end)
