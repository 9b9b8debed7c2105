--- Images as guests' roots: how long one is made, how soon its guest runs a command, and how fast its files are read the first time.
-- Guests need what `make guest` builds; without it only the making is measured.

local LUA = os.getenv "LUA" or "lua5.4"

local function run(program, what, count) return { client = ("%s bench/ours/%s %s %s"):format(LUA, program, what, count or "") } end

local function against(side, name, at_least, more)
  side.name, side.at_least = name, at_least
  for key, value in pairs(more or {}) do side[key] = value end
  return side
end

local list = {
  { name = "image-build", group = "images", key = "seconds", unit = "s", less = true, free = true,
    ours = run("image_build.lua", "build"), peers = { against(run("image_build.lua", "unpack"), "tar", 1, { needs = "command tar" }) } },
}

local kernel = io.open "build/kernel/vmlinuz"
if kernel then
  kernel:close()
  -- 1.05 times as long as the guest of `make guest`, which has busybox alone and is in memory
  table.insert(list, { name = "image-first-command", group = "images", key = "p50_us", unit = "us", less = true, free = true,
    ours = run("image_boot.lua", "image", 3), peers = { against(run("image_boot.lua", "bare", 3), "bare", 1 / 1.05) } })
  for _, how in ipairs { "read-only", "discard" } do
    table.insert(list, { name = "image-cold-read-" .. how, group = "images", key = "seconds", unit = "s", less = true, free = true,
      ours = run("image_read.lua", "image", how), peers = { against(run("image_read.lua", "ext4", how), "ext4", 1) } })
  end
end

return list
