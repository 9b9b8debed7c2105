--- Guests: commands in them, copies of files, how soon they are ready, and what copies of a booted one take. Needs `make guest`.
-- A peer does the same work through the same device: a shell on a virtio port, tar here and tar there, QEMU started by a shell.

local LUA = os.getenv "LUA" or "lua5.4"

local kernel = io.open "build/kernel/vmlinuz"
if not kernel then return {} end
kernel:close()

local note = require("guests").note
local LIMIT = 600 -- seconds of a program

local function side(program, words, more)
  local made = more or {}
  made.client = ("%s bench/ours/%s %s"):format(LUA, program, words)
  return made
end

local function benchmark(name, key, unit, ours, peers)
  return { name = name, group = "guests", key = key, unit = unit, less = key == "p50_us", free = true, limit = LIMIT, note = note,
    ours = ours, peers = peers }
end

local function exec(what, key, unit, count)
  return benchmark("guest-exec-" .. what, key, unit, side("guest_exec.lua", ("exec %s %d"):format(what, count)),
    { side("guest_exec.lua", ("shell %s %d"):format(what, count), { name = "shell" }) })
end

-- Of tar nobody compares the check sums; a copy of ours does that unless it is told not to.
local function files(way, what, key, unit)
  local words = ("%s %s"):format(way, what)
  local tar = side("guest_files.lua", "tar " .. words, { name = "tar", at_least = 0.8 })
  local verified = side("guest_files.lua", "files " .. words, { name = "verified" })
  return benchmark(("guest-%s-%s"):format(way, what), key, unit, side("guest_files.lua", "unverified " .. words), { tar, verified })
end

local function boot(kind, count)
  return benchmark("guest-" .. kind, "p50_us", "us", side("guest_boot.lua", ("ours %s %d"):format(kind, count)),
    { side("guest_boot.lua", ("bare %s %d"):format(kind, count), { name = "bare-qemu", at_least = 0.91 }) }) -- 1.1 times as long
end

return {
  exec("true", "p50_us", "us", 200), exec("out", "mib_rate", "MiB/s", 1), exec("in", "mib_rate", "MiB/s", 1),
  files("push", "file", "mib_rate", "MiB/s"), files("push", "tree", "rate", "files/s"),
  files("pull", "file", "mib_rate", "MiB/s"), files("pull", "tree", "rate", "files/s"),
  boot("kernel", 3), boot("copy", 10),
  { name = "guest-copies", group = "guests", key = "pss_mib", unit = "MiB/guest", less = true, free = true, limit = LIMIT, note = note,
    ours = side("guest_copies.lua", ""), limits = {
      { name = "guest-copies-memory", key = "pss_mib", unit = "MiB/guest" },
      { name = "guest-copies-ready", key = "seconds", unit = "s" },
    } },
}
