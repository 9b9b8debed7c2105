-- Files into a guest and out of it: a folder is pushed, changed there, and pulled back, with modes, and check sums compared.
-- Usage: lua5.4 examples/files.lua (needs `make guest`)
-- You will see how far the copy is (on a terminal there is a progress line as well, without asking), and what came back.
local vmctl = require "vmctl"

local SIZE = 8 << 20 -- bytes of the large file

local vm <close>, why, code = vmctl.machine.launch { kernel = "build/kernel/vmlinuz", initrd = "build/guest.img" }
if not vm then
  assert(code == "ENOENT", why)
  print(("skipped: %s (make guest)"):format(why))
  return os.exit(0, true)
end

local folder = assert(vmctl.host:run { "mktemp", "-d", check = true }).stdout:gsub("\n", "")
local cleaning <close> = setmetatable({}, { __close = function() vmctl.host:run { "rm", "-r", folder } end }) -- luacheck: ignore
assert(vmctl.host:run { "sh", "-c", [[
  mkdir "$1/site" && cd "$1/site" && echo welcome > index.html && head -c "$2" /dev/urandom > large
  printf '#!/bin/sh\necho "served by $(uname -s)"\n' > serve && chmod 750 serve && ln -s index.html home]],
  "sh", folder, tostring(SIZE), check = true })

-- Called for each piece: says when another quarter has gone.
local function teller()
  local quarter = 1
  return function(report)
    while report.bytes >= SIZE * quarter // 4 do
      print(("  %d %%, %d of %d bytes"):format(quarter * 25, report.bytes, SIZE))
      quarter = quarter + 1
    end
  end
end

local function tell(what, report)
  print(("%s: %d files, %d links, %d bytes, %d compared"):format(what, report.files, report.links, report.bytes, report.verified))
end

assert(vm:wait_ready { timeout = 30 })
print "pushing"
tell("pushed", assert(vmctl.files.push(vm, folder .. "/site", "/srv/site", { on_progress = teller() })))
io.write("in the guest: ", assert(vm:run { "/srv/site/serve", check = true }).stdout)
assert(vm:run { "sh", "-c", "cd /srv/site && rm large && echo changed there > index.html", check = true })
tell("pulled", assert(vmctl.files.pull(vm, "/srv/site", folder .. "/back", { owner = "mine" })))
io.write("here again: ", assert(vmctl.host:run { "sh", "-c", 'cat "$1/back/home"; ls -l "$1/back/serve" | cut -c 1-10', "sh",
  folder, check = true }).stdout)
