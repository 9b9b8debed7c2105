-- One part of parts.lua, with a call that fails (see spec/support/count.c). Usage: victim.lua PART LIBRARY
-- Exit code 0: the failure was told, or did no harm; else a line on stderr has the reason.
local core = require "vmctl.core"
local left = require "stress.left"
local parts = require "stress.faults.parts"

local part, library, folder = arg[1], arg[2], os.getenv "TMPDIR"
local begin, done = package.loadlib(library, "faults_begin"), package.loadlib(library, "faults_end")

local function fail(text, ...)
  io.stderr:write(text:format(...), "\n")
  os.exit(1)
end

-- Everything is there that is made once: modules, the loop's descriptors.
assert(parts[part]())
assert(core.work(nil, "stat", core.fs.stat, "/"))
collectgarbage()
local before = left.look(folder)

begin()
local ran, ok, err, code = pcall(parts[part])
done()

local short = os.getenv "FAULT_ERROR" == "12"
local no_memory = short and (tostring(ok):find("not enough memory", 1, true) or tostring(ok):find("Cannot allocate memory", 1, true))
if not ran and not no_memory then fail("raised: %s", tostring(ok)) end
if ran and not ok and (type(err) ~= "string" or type(code) ~= "string") then
  fail("told %s, %s, %s", tostring(ok), tostring(err), tostring(code))
end
local again, message = parts[part]()
if not again then fail("fails afterwards as well: %s (first: %s)", tostring(message), tostring(err)) end
collectgarbage()
collectgarbage()
local more = left.settled(folder, before)
if more then fail("left behind: %s (after %s)", more, tostring(ran and err or ok)) end
os.exit(0, true)
