-- Runs each example and shows what it prints; fails when one fails.
local failed = 0
local pipe = assert(io.popen "ls examples/*.lua")
for path in pipe:lines() do
  print("== " .. path)
  io.stdout:flush()
  local ok = os.execute("timeout -k 5 60 lua5.4 " .. path .. " </dev/null")
  if not ok then
    failed = failed + 1
    print(path .. ": failed")
  end
end
pipe:close()
print(failed == 0 and "examples: ok" or ("examples: %d failed"):format(failed))
os.exit(failed == 0 and 0 or 1)
