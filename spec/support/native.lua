--- Small C helpers of the specs, built when they are first asked for: system calls that Lua has no name for, and
-- libraries that stand between vmctl and the C library (LD_PRELOAD).
local core = require "vmctl.core"

local M = {}

local function run(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local output = pipe:read "a"
  local ok = pipe:close()
  if not ok then error(("%s: %s"):format(command, output), 0) end
  return output
end

--- Builds a shared object from a C file beside this one, into `folder`.
---@param name string the file's name, without .c
---@param folder string
---@return string path of the shared object
function M.build(name, folder)
  local path = ("%s/%s.so"):format(folder, name)
  local flags = run "pkg-config --cflags lua5.4":gsub("%s+$", "")
  run(("cc -shared -fPIC -O1 -Wall %s -o %s spec/support/%s.c -ldl"):format(flags, path, name))
  return path
end

--- The variable that puts a library before the C library, and behind a sanitizer's where there is one.
---@return string
function M.preload(library)
  local before = os.getenv "LD_PRELOAD"
  return ("LD_PRELOAD=%s%s"):format(before and before .. ":" or "", library)
end

--- The variables with which a program fails to send: the first `times` attempts end with the error of this number.
---@return string[] env
function M.refusing(folder, times, number)
  return {
    M.preload(M.build("refuse", folder)),
    ("REFUSE_TIMES=%d"):format(times), ("REFUSE_ERROR=%d"):format(number),
  }
end

--- The variables with which a call of a program fails with EIO on files whose path holds `part`.
---@param call "readdir"|"read"|"write"|"close"|"fsync"
---@return string[] env
function M.failing(folder, call, part)
  return {
    M.preload(M.build("faulty", folder)),
    "FAULT_CALL=" .. call, "FAULT_PATH=" .. part, "FAULT_ERROR=5",
  }
end

--- The variables with which each terminal of a program tells its end before its bytes; a line in `report` for each that did.
---@return string[] env
function M.ending_early(folder, report)
  return { M.preload(M.build("early_end", folder)), "EARLY_REPORT=" .. report }
end

--- The variables with which a call of a program fails at the `at`-th time.
---@param call "fork"|"vfork"|"pipe2"|"dup3"|"fcntl"|"readdir"|"eventfd"|"pthread_create"
---@param at integer
---@param number integer of the error
---@param always? boolean and every time after that
---@param library string as `build "nth"` gives it
---@return string[] env
function M.nth(library, call, at, number, always)
  return {
    M.preload(library), "FAIL_CALL=" .. call, "FAIL_AT=" .. at,
    "FAIL_ERROR=" .. number, always and "FAIL_ALWAYS=1" or nil,
  }
end

--- The functions of native.c.
---@return { buffers: fun(fd: integer, bytes: integer), act_as: fun(uid: integer) }
function M.functions()
  if not M._functions then
    local folder = assert(core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-native"))
    local path = M.build("native", folder)
    M._functions = assert(package.loadlib(path, "luaopen_native"))()
    os.remove(path)
    os.remove(folder)
  end
  return M._functions
end

return M
