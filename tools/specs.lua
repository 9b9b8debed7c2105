-- lua5.4 tools/specs.lua [FILE ...]: runs each spec file in a busted of its own and adds up what it says. The last line is
-- "N passed, N failed, N skipped"; a file that did not get to its own last line counts as a failure.
local function find_specs()
  local files = {}
  local pipe = assert(io.popen "find spec -name '*_spec.lua' | sort")
  for path in pipe:lines() do files[#files + 1] = path end
  pipe:close()
  return files
end

local NESTED = os.getenv "VMCTL_NESTED"
local LIMIT = os.getenv "SPEC_SECONDS" or (NESTED and "1800" or "600")

local function run(path)
  -- Minutes of nested guests are not to pass in silence: their progress on standard error is seen at once.
  local how_nested = NESTED and "" or "--exclude-tags=nested 2>&1"
  local command = ("timeout -k 5 %s busted --lua=lua5.4 -o plainTerminal %s %s"):format(LIMIT, path, how_nested)
  local begin = os.time()
  local pipe = assert(io.popen(command))
  local output = pipe:read "a"
  local _, how, code = pipe:close()
  local passed, failures, errors, skipped =
    output:match "(%d+) success%w* / (%d+) failure%w* / (%d+) error%w* / (%d+) pending"
  local counts = { tonumber(passed) or 0, (tonumber(failures) or 0) + (tonumber(errors) or 0), tonumber(skipped) or 0 }
  local odd = not passed or (code ~= 0 and counts[2] == 0)
  if odd then counts[2] = counts[2] + 1 end
  print(("%s: %d passed, %d failed%s (%d s)"):format(path, counts[1], counts[2],
    counts[3] > 0 and (", %d skipped"):format(counts[3]) or "", os.time() - begin))
  if counts[2] > 0 or counts[3] > 0 then print(output) end
  if odd then print(("%s: ended with %s %s"):format(path, how, code)) end
  io.stdout:flush()
  return counts, code
end

-- Where everything takes several times as long, limits of time are missed now and then: with SPEC_RETRY a file that failed has
-- a second chance, and both are shown. What a sanitizer found is no matter of time.
local SANITIZER = 99 -- its exit code

local function run_with_patience(path)
  local counts, code = run(path)
  if counts[2] == 0 or code == SANITIZER or not os.getenv "SPEC_RETRY" then return counts end
  print(path .. ": once more")
  return (run(path))
end

local total = { 0, 0, 0 }
for _, path in ipairs(#arg > 0 and arg or find_specs()) do
  local counts = run_with_patience(path)
  for i = 1, 3 do total[i] = total[i] + counts[i] end
end
if total[1] + total[2] + total[3] == 0 then
  print "no spec was found"
  total[2] = 1
end
print(("%d passed, %d failed, %d skipped"):format(table.unpack(total)))
os.exit(total[2] == 0 and 0 or 1)
