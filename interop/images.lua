--- Images: what umoci unpacks of one and what a guest sees of it are the same, path by path: owner, mode, time with nanoseconds, links,
--- attributes, devices, content.
local layers = require "spec.support.layers"
local support = require "support"
local vmctl = require "vmctl"

local BOOT = 120 -- seconds
local SKIPPED = { "/dev", "/proc", "/sys", "/run", "/tmp" }

local function has(program) return os.execute(("command -v %s >/dev/null"):format(program)) end

local function missing()
  if not has "umoci" then return "umoci is not installed (Debian: apt install umoci)" end
  if not io.open "build/kernel/vmlinuz" then return "no kernel (make guest)" end
  local pipe <close> = assert(io.popen "id -u")
  if pipe:read "l" ~= "0" then return "only root can unpack what belongs to others" end
end

-- This machine's own programs and settings, and two layers that change them.
local function image(folder)
  layers.run(folder, [[tar -C / --numeric-owner --xattrs --xattrs-include='*' --format=posix --pax-option=delete=atime,delete=ctime \
    --exclude=etc/mtab -cf low.tar etc usr/sbin usr/share/perl usr/share/zoneinfo bin sbin lib]])
  local low = assert(io.open(folder .. "/low.tar", "rb"))
  local lister = assert(io.open(layers.lister(folder), "rb"))
  local list = {
    { bytes = low:read "a", pack = "gzip" },
    -- umoci gives folders that no layer names the time of its own work
    { { path = "./" }, { path = "usr/" }, { path = "usr/share/" }, { path = "lister", content = lister:read "a", mode = 493 },
      { path = "etc/.wh.passwd", content = "" },
      { path = "usr/share/perl/.wh..wh..opq", content = "" }, { path = "usr/share/perl/new", content = "n", mtime = "-1.5" },
      { path = "sbin/added", content = "through a link", uid = 7, gid = 70000, xattrs = { ["user.a"] = "b" } }, pack = "gzip" },
    { { path = "hard", type = "hard", link = "usr/sbin/added" }, { path = "null", type = "char", major = 1, minor = 3 },
      { path = "2200", content = "", mtime = "7258118400.000000001" }, { path = "dev/" }, { path = "proc/" }, { path = "sys/" },
      { path = "run/" }, { path = "tmp/", mode = 1023 } },
  }
  low:close()
  lister:close()
  return layers.layout(folder, list)
end

local function lines_of(text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do lines[line:match "^%S+"] = line end
  return lines
end

local function differences(one, other)
  local found = {}
  for path, line in pairs(one) do
    if other[path] ~= line then found[#found + 1] = line .. "\n  " .. tostring(other[path]) end
  end
  for path, line in pairs(other) do
    if not one[path] then found[#found + 1] = "nothing\n  " .. line end
  end
  table.sort(found)
  return found
end

return function(report)
  local why = missing()
  if why then return report:skip("images, against umoci", why) end
  local folder <close> = support.directory()
  local root = image(folder.path)
  layers.run(folder.path, "umoci raw unpack --image oci:t unpacked >/dev/null")
  local theirs = lines_of(layers.run(folder.path, "./lister unpacked " .. table.concat(SKIPPED, " ")))
  local vm <close> = assert(vmctl.machine.launch { root = root, cache_dir = folder.path .. "/cache", kernel = "build/kernel/vmlinuz",
    agent = "build/vmctl-agent", modules_dir = "build/kernel/modules" })
  assert(vm:wait_ready(BOOT))
  local ours = lines_of(assert(vm:run { "/lister", "/", SKIPPED[1], SKIPPED[2], SKIPPED[3], SKIPPED[4], SKIPPED[5], check = true,
    max_output = 64 << 20, timeout = BOOT }).stdout)
  local count = 0
  for _ in pairs(theirs) do count = count + 1 end
  local found = differences(theirs, ours)
  report:check(("images: %d paths are as umoci unpacks them"):format(count), #found == 0 and count > 1000,
    #found .. " differ: " .. table.concat(found, "\n", 1, math.min(5, #found)))
end
