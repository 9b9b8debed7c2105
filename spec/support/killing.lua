-- LUA_INIT_5_4=@spec/support/killing.lua: kills a Lua program whose command line has $KILL_WHO before the $KILL_AT-th time that it
-- changes a file system or takes a lock.
local at, who = tonumber(os.getenv "KILL_AT" or ""), os.getenv "KILL_WHO"
local cmdline = io.open "/proc/self/cmdline"
local words = cmdline and cmdline:read "a" or ""
if cmdline then cmdline:close() end
if not at or not who or not words:find(who, 1, true) then return end

local core = require "vmctl.core"
local count, originals, work = 0, {}, core.work

local function step()
  count = count + 1
  if count == at then os.execute "kill -KILL $PPID" end
end

for _, name in ipairs { "mkdir", "replace", "rename", "remove", "folders", "private" } do
  local original = core.fs[name]
  local function counted(...)
    step()
    return original(...)
  end
  core.fs[name], originals[counted] = counted, original
end

core.work = function(limit, name, fn, ...)
  if originals[fn] then step() end
  return work(limit, name, originals[fn] or fn, ...)
end

local lock_file = core.lock_file
core.lock_file = function(...)
  step()
  return lock_file(...)
end
