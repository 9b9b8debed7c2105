-- One of works.lua. Usage: victim.lua WORK FOLDER
-- Lines on stdout: "process NAME PID" when one has begun, at last "told CODE: MESSAGE", or "wrong: …" with exit code 1.
local core = require "vmctl.core"
local vmctl = require "vmctl"
local works = require "stress.chaos.works"

io.stdout:setvbuf "line"
local function tell(name, pid) print(("process %s %d"):format(name, pid)) end

tell("script", select(3, core.fs.identity()))
local ran, _, err, code = pcall(vmctl.run, works[arg[1]], arg[2], tell)
local told = ran and type(err) == "string" and type(code) == "string"
print(told and ("told %s: %s"):format(code, err:gsub("\n", " ")) or "wrong: " .. tostring(ran and err or _))
os.exit(told, true)
