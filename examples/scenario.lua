-- Test scenarios: runs the two specs of examples/scenario/ in busted, where busted is.
--   lua5.4 examples/scenario.lua
-- You will see two guests boot once, three tests begin with copies of them, and busted's TAP output. (`make guest` comes first.)
local function there(path)
  local file = io.open(path)
  return file ~= nil and file:close()
end

if not (there "build/kernel/vmlinuz" and there "build/guest.img") then
  print "skipped: no guest was built (make guest)"
elseif not os.execute "command -v busted >/dev/null" then
  print "skipped: busted is not installed (Debian: lua-busted)"
else
  -- busted's launcher may be another Lua than the one that it starts.
  local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end
  local env = ("LUA_PATH=';;' LUA_CPATH=';;' LUA_PATH_5_4=%s LUA_CPATH_5_4=%s"):format(quoted(package.path), quoted(package.cpath))
  local ok = os.execute(env .. " busted --lua=lua5.4 -o TAP examples/scenario/pair_spec.lua")
  os.exit(ok and 0 or 1)
end
