-- Runs each example, and the programs among them that were built, and shows what they print; fails when one fails.
-- usage: lua5.4 tools/examples.lua [PROGRAM...]
local LIMIT = 60 -- seconds for each; on a machine with nothing else to do it takes less than 15

local counts = { passed = 0, skipped = 0, failed = 0 }

-- The result of a command: a name of `counts`.
local function run(command)
  local pipe = assert(io.popen(("timeout -k 5 %d %s </dev/null"):format(LIMIT, command)))
  local skipped = false
  for line in pipe:lines() do
    print(line)
    skipped = skipped or line:find "^skipped: " ~= nil
  end
  if not pipe:close() then return "failed" end
  return skipped and "skipped" or "passed"
end

local function try(name, command)
  print("== " .. name)
  io.stdout:flush()
  local began = os.time()
  local fate = run(command)
  counts[fate] = counts[fate] + 1
  print(("-- %s, %d s"):format(fate, os.time() - began))
end

local pipe = assert(io.popen "ls examples/*.lua")
for path in pipe:lines() do try(path, "lua5.4 " .. path) end
pipe:close()
for _, program in ipairs(arg) do try(program, program) end

print(("examples: %d passed, %d skipped, %d failed"):format(counts.passed, counts.skipped, counts.failed))
os.exit(counts.failed == 0)
