--- A user's folders for the specs of instances, and `vmctl` in them.
local assert = require "luassert"
local cli = require "spec.support.cli"
local core = require "vmctl.core"
local guest = require "spec.support.guest"
local json = require "vmctl.json"
local schema = require "spec.support.schema"
local options = require "vmctl.base.options"
local support = require "spec.support"
local vmctl = require "vmctl"

local M = {}

local LIMIT = 120 -- seconds
local schemas = schema.read "docs/command-line.md"

local user = {}
user.__index = user

--- A user with folders of its own; options of its environment.
function M.user(more)
  local folder = support.tmpdir()
  local env = { XDG_RUNTIME_DIR = folder .. "/run", XDG_DATA_HOME = folder .. "/data", XDG_CACHE_HOME = folder .. "/cache",
    XDG_STATE_HOME = folder .. "/state", VMCTL_KERNEL = guest.kernel, VMCTL_AGENT = guest.agent,
    VMCTL_MODULES = core.fs.stat(guest.kernel) and guest.modules_dir() or nil }
  for name, value in pairs(more or {}) do env[name] = value end
  assert(core.fs.mkdir(env.XDG_RUNTIME_DIR, 448))
  return setmetatable({ folder = folder, env = env }, user)
end

--- Runs vmctl, behind the words of `before` if there are any; { stdout =, stderr =, exit_code = }.
function user:vmctl(...)
  if self.before then
    local words = table.move({ cli.PROGRAM, ... }, 1, select("#", ...) + 1, #self.before + 1, options.merge({}, self.before))
    words.env, words.timeout, words.stdin = self.env, LIMIT, ""
    return assert(vmctl.host:run(words))
  end
  return cli.run { env = self.env, timeout = LIMIT, ... }
end

local INTERPRETER = core.fs.real "/proc/self/exe"

--- Runs vmctl where no program is found by its name.
function user:without_programs(...)
  local env = options.merge(self.env, { PATH = "/nowhere" })
  return assert(vmctl.host:run { INTERPRETER, cli.PROGRAM, env = env, timeout = LIMIT, ... })
end

--- Runs a Lua text as a program of this user; its output.
function user:lua(text)
  return assert(vmctl.host:run { INTERPRETER, "-e", text, env = self.env, timeout = LIMIT, check = true }).stdout
end

--- Runs vmctl, which must succeed; its output.
function user:done(...)
  local result = self:vmctl(...)
  assert.same({ "", 0 }, { result.stderr, result.exit_code })
  return result.stdout
end

--- The sentence of a failure, without the advice below it.
function M.sentence(result) return result.stderr:match "^[^\n]*" end

--- Runs vmctl, which must fail with that sentence.
function user:refused(sentence, ...)
  local result = self:vmctl(...)
  assert.same({ "", "vmctl: " .. sentence, 125 }, { result.stdout, M.sentence(result), result.exit_code })
end

--- The document of a command with --json, which follows its schema.
function user:document(...)
  local words = { ... }
  local result = self:vmctl(...)
  assert.matches("^[^\n]+\n$", result.stdout)
  local value = assert(json.decode(result.stdout))
  schema.check(value, value.error and schemas.error or assert(schemas[words[1]], words[1]))
  return value
end

--- The states of the instances by their names.
function user:states()
  local states = {}
  for _, each in ipairs(self:document("ps", "--json").instances) do states[each.name] = each.state end
  return states
end

--- The names in the folder of the instances, sorted; locks aside.
function user:left()
  local names = {}
  for _, name in ipairs(core.fs.list(self.env.XDG_DATA_HOME .. "/vmctl/instances") or {}) do
    if name ~= ".lock" then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

return M
