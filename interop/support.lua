--- Helpers of the suites: the report, building programs in Go, and talking to them.
local json = require "vmctl.json"
local process = require "vmctl.process"
local vmctl = require "vmctl"

local M = {}

local BUILD_LIMIT = 120 -- seconds
local RUN_LIMIT = 30

local report = {}
local report_mt = { __index = report }

function M.report()
  io.stdout:setvbuf "line"
  return setmetatable({ passed = 0, failed = 0, skipped = 0 }, report_mt)
end

local function one_line(value)
  return (tostring(value):gsub("%s*\n%s*", "; "))
end

--- Counts a check. `detail` is shown when it fails.
function report:check(name, ok, detail)
  if ok then
    self.passed = self.passed + 1
    print("passed: " .. name)
  else
    self.failed = self.failed + 1
    print(("failed: %s: %s"):format(name, one_line(detail)))
  end
end

--- Compares two values by their JSON.
function report:same(name, expected, got)
  local want, have = M.text(expected), M.text(got)
  self:check(name, want == have, ("expected %s, got %s"):format(want, have))
end

function report:skip(name, why)
  self.skipped = self.skipped + 1
  print(("interop: skipped: %s: %s"):format(name, one_line(why)))
end

--- Prints the counts; false when anything failed.
function report:finish()
  print(("interop: %d passed, %d failed, %d skipped"):format(self.passed, self.failed, self.skipped))
  return self.failed == 0
end

local function sorted(value)
  if type(value) ~= "table" then return assert(json.encode(value)) end
  local names, parts = {}, {}
  for name in pairs(value) do names[#names + 1] = name end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  for i, name in ipairs(names) do parts[i] = ("%s:%s"):format(name, sorted(value[name])) end
  return "{" .. table.concat(parts, ",") .. "}"
end

--- A value as text, its members in a fixed order.
function M.text(value)
  return value == nil and "nothing" or sorted(value)
end

--- A private folder, which goes with the variable.
function M.directory()
  local pipe <close> = assert(io.popen "mktemp -d ${TMPDIR:-/tmp}/vmctl-interop.XXXXXX")
  local path = assert(pipe:read "l", "no directory for the sockets")
  return setmetatable({ path = path }, { __close = function() os.execute(("rm -rf '%s'"):format(path)) end })
end

-- Runs a shell command to its end: true, or nil, the last two lines that it said, and its exit code.
local function shell(command)
  local child <close> = assert(process.spawn {
    "timeout", "-k", "2", tostring(BUILD_LIMIT), "sh", "-c", command, stdin = "null", stdout = "pipe", stderr = "stdout",
  })
  local before, last = "", "no output"
  for line in function() return child.stdout:read_line(1 << 20, BUILD_LIMIT + 5) end do
    before, last = last, line
  end
  local exit = assert(child:wait(BUILD_LIMIT + 5))
  if exit.exit_code == 0 then return true end
  if exit.exit_code == 124 then return nil, ("took more than %d s"):format(BUILD_LIMIT), 124 end
  return nil, before .. "\n" .. last, exit.exit_code
end

local NOT_TO_BE_HAD = 3 -- exit code of tools/build-go

--- Builds the Go program in interop/FOLDER.
---@param tag? string a build tag, which makes another program of it
---@return string|nil program, string? why there is none, boolean? is_missing what it is made of is not to be had
function M.build(folder, tag)
  local program = "build/interop/" .. folder .. (tag and "." .. tag or "")
  local command = ('GO="${GO:-go}" exec tools/build-go interop/%s %s %s'):format(folder, program, tag or "")
  local ok, why, code = shell(command)
  if not ok then return nil, why, code == NOT_TO_BE_HAD end
  return program
end

--- Tells if there is a Go at all.
function M.has_go()
  return (shell 'command -v "${GO:-go}"')
end

--- Starts a program; its lines are read with `lines`.
function M.start(...)
  local command = { ... }
  command.stdin, command.stdout, command.stderr = "null", "pipe", "inherit"
  return assert(process.spawn(command))
end

--- The lines that a program prints until it ends, and whether it ended well.
---@return string[] lines, boolean ok
function M.lines(child)
  local lines = {}
  for line in function() return child.stdout:read_line(4 << 20, RUN_LIMIT) end do lines[#lines + 1] = line end
  local exit = child:wait(RUN_LIMIT)
  return lines, exit and exit.exit_code == 0 or false
end

--- Waits until `fn` gives something true, at most some seconds.
function M.eventually(fn)
  local last = vmctl.now() + 5
  while not fn() and vmctl.now() < last do vmctl.sleep(0.02) end
  return fn()
end

return M
