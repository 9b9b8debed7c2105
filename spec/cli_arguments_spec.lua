-- The arguments of every command: its help, what it refuses, and that wrong usage is 125 and said on standard error alone.
local assert = require "luassert"
local cli = require "spec.support.cli"
local support = require "spec.support"
local vmctl = require "vmctl"

local run = support.run
local LIMIT = 120

-- The messages of commands that are given nothing; those that do not stand here can be run without arguments.
local NEEDS = {
  stop = "the name of a guest expected, or --all", exec = "missing argument 'target'", shell = "missing argument 'target'",
  cp = "missing argument 'source'", ready = "missing argument 'target'", health = "missing argument 'target'",
  push = "missing argument 'target'", forward = "missing argument 'from'", switch = "nothing to join",
  console = "missing argument 'target'", logs = "missing argument 'target'", screenshot = "missing argument 'target'",
  qmp = "missing argument 'target'", trace = "missing argument 'file'", create = "missing argument 'name'",
  serve = "serve: --stdio expected", start = "missing argument 'name'", rm = "missing argument 'name'", image = "a command is required",
  completion = "missing argument 'shell'",
}
local OTHERS = { "run", "ps", "list", "test", "report", "images", "doctor" }

local commands = {}
for name in pairs(NEEDS) do commands[#commands + 1] = name end
for _, name in ipairs(OTHERS) do commands[#commands + 1] = name end
table.sort(commands)

local function each(list, fn)
  vmctl.map(list, fn, { concurrency = 4 })
end

-- Wrong usage: nothing on standard output, and a last line that says what is wrong.
local function refused(words, text)
  local result = cli.run(words)
  local said = table.concat(words, " ")
  assert.equal(125, result.exit_code, said)
  assert.equal("", result.stdout, said)
  assert.is_truthy(result.stderr:match "[^\n]*\n$":find("vmctl: " .. text, 1, true), said .. ": " .. result.stderr)
end

describe("the command line's arguments:", function()
  it("the help names every command, and no other is there", run(function()
    local listed = {}
    local text = cli.run({ "--help" }).stdout:match "\nCommands:\n(.-)\n\n"
    for name in text:gmatch "\n?   (%l+) " do listed[#listed + 1] = name end
    table.sort(listed)
    assert.same(commands, listed)
  end, LIMIT))

  it("each command has a help of its own, on standard output, with its usage and each option in one line", run(function()
    each(commands, function(name)
      local result = cli.run { name, "--help" }
      assert.same({ 0, "" }, { result.exit_code, result.stderr }, name)
      assert.is_truthy(result.stdout:find("^Usage: vmctl " .. name .. " %[%-h%]"), name)
      assert.is_truthy(result.stdout:find("-h, --help", 1, true), name)
      assert.equal(result.stdout, cli.run({ name, "-h" }).stdout)
      for option in result.stdout:match "\nOptions:\n(.*)":gmatch "\n?   (%-[^\n]*)" do assert.is_truthy(option:find "^%-", name) end
    end)
  end, LIMIT))

  it("what a command needs is asked for", run(function()
    local names = {}
    for name in pairs(NEEDS) do names[#names + 1] = name end
    each(names, function(name) refused({ name }, NEEDS[name]) end)
  end, LIMIT))

  it("an option that is none is refused by each, with the usage", run(function()
    each(commands, function(name)
      if name == "run" or name == "test" then return end -- these pass on what they do not know
      refused({ name, "--no-such-option" }, "unknown option '--no-such-option'")
    end)
  end, LIMIT))

  it("more than a command takes is refused", run(function()
    local too_many = {
      { "list", "x" }, { "doctor", "x" }, { "images", "x" }, { "cp", "a", "b", "c" }, { "health", "host", "x" },
      { "push", "host", "x" }, { "forward", "a", "b", "c" }, { "console", "a", "b" }, { "logs", "a", "b" },
      { "screenshot", "a", "b", "c" }, { "qmp", "a", "b", "{}", "c" }, { "trace", "a", "b" }, { "completion", "bash", "zsh" },
    }
    each(too_many, function(words) refused(words, "too many arguments") end)
  end, LIMIT))

  it("a value that an option cannot have is refused, and the option named", run(function()
    local wrong = {
      { { "exec", "--timeout", "soon", "host", "true" }, "timeout" }, { { "exec", "--timeout", "-1", "host", "true" }, "timeout" },
      { { "exec", "-e", "NOVALUE", "host", "true" }, "NAME=VALUE" }, { { "ready", "--timeout", "x", "host" }, "timeout" },
      { { "completion", "tcsh" }, "'shell' must be one of" }, { { "forward", "--limit", "many", "a", "b" }, "limit" },
    }
    each(wrong, function(case)
      local result = cli.run(case[1])
      assert.equal(125, result.exit_code, table.concat(case[1], " "))
      assert.equal("", result.stdout)
      assert.is_truthy(result.stderr:find(case[2], 1, true), result.stderr)
    end)
  end, LIMIT))

  it("an option without its value is refused", run(function()
    each({ { "exec", "--timeout" }, { "exec", "-e" }, { "cp", "--owner" }, { "logs", "-n" }, { "trace", "--session" } }, function(words)
      assert.equal(125, cli.run(words).exit_code)
    end)
  end, LIMIT))

  it("a guest that is not there is 125 for each command that takes one", run(function()
    local folder = support.tmpdir()
    local environment = cli.environment(folder)
    for _, words in ipairs { { "exec", "nobody", "true" }, { "health", "nobody" }, { "console", "nobody" }, { "logs", "nobody" },
      { "stop", "nobody" }, { "screenshot", "nobody", folder .. "/x" }, { "qmp", "nobody", "query-status" },
      { "push", "nobody", "--config", "/dev/null" } } do
      words.env = environment
      local result = cli.run(words)
      assert.equal(125, result.exit_code, table.concat(words, " ") .. ": " .. result.stderr)
      assert.is_truthy(result.stderr:find("nobody", 1, true), result.stderr)
    end
  end, LIMIT))

  it("a file that is not there is 125", run(function()
    refused({ "report", "/none/folder" }, "/none/folder/results.json: no results of a suite there")
    refused({ "trace", "/no/such/trace" }, "")
    refused({ "push", "host", "--config", "/no/such/config" }, "")
  end, LIMIT))
end)
