-- Runs commands on this machine with the calls that a guest has: no VM is needed.
-- Usage: lua5.4 examples/hello.lua
-- You will see a greeting, an exit code that is a result and not an error, and a time-out that keeps what had come.
local vmctl = require "vmctl"

local hello = assert(vmctl.host:run { "echo", "hello", "from a program with exact arguments: 'a b' $HOME *" })
io.write(hello.stdout)

local failing = assert(vmctl.host:run "echo this goes wrong >&2; exit 3")
print("exit code " .. failing.exit_code .. ", stderr: " .. failing.stderr:gsub("\n", ""))

local result, message, code, partial = vmctl.host:run { "sh", "-c", "echo first; sleep 10", timeout = 0.3 }
print(result, code, message)
print("until then: " .. assert(partial).stdout:gsub("\n", ""))
