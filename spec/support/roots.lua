--- Small roots for the specs: a folder with busybox, as an EROFS and as disks. They are made without root.
-- The guests of a file need, where it does not say otherwise:
-- Needs: 600 MiB
local assert = require "luassert"
local core = require "vmctl.core"
local guest = require "spec.support.guest"
local process = require "vmctl.process"
local vmctl = require "vmctl"

local M = {}

local SECTOR, FIRST = 512, 2048         -- bytes; where the partition begins

local function run(command)
  local child <close> = assert(process.spawn { "sh", "-ec", command, stdout = "pipe", stderr = "stdout", stdin = "null" })
  local said = child.stdout:read(1 << 16, 60) or ""
  local record = assert(child:wait(60))
  assert.equal(0, record.exit_code, command .. ": " .. said)
end

--- Makes a folder that is a root: busybox with its init, and a file that tells of it.
function M.folder(path)
  run(([[
    cd '%s'; mkdir -p bin sbin etc dev proc sys run tmp root
    cp /usr/bin/busybox bin/busybox || cp /bin/busybox bin/busybox
    for name in sh cat ls sync poweroff mount stat id; do ln -s busybox bin/$name; done
    ln -s ../bin/busybox sbin/init
    echo 'ID=little' > etc/os-release; echo 'root:x:0:0:root:/root:/bin/sh' > etc/passwd; echo 'root:x:0:' > etc/group
    echo 'null::sysinit:/bin/true' > etc/inittab
    chmod 0711 .]]):format(path))
  return path
end

--- An EROFS of a folder.
function M.erofs(folder, path)
  run(("mkfs.erofs '%s' '%s' >/dev/null 2>&1"):format(path, folder))
  return path
end

--- A disk whose only partition, the first, has an ext4 of a folder with the label "little".
function M.disk(folder, path)
  run(("truncate -s 32M '%s'; $(ls /usr/sbin/mke2fs || echo /sbin/mke2fs) -q -t ext4 -L little -d '%s' -E offset=%d -F '%s' 30M"):format(
    path, folder, FIRST * SECTOR, path))
  local file <close> = assert(core.fs.open(path, true))
  assert(file:seek(446, 0))
  assert(file:write(("<BBBBBBBBI4I4"):pack(0, 0, 0, 0, 0x83, 0, 0, 0, FIRST, 30 * 2048) .. ("\0"):rep(48) .. "\x55\xaa"))
  return path
end

--- Starts a guest with a root; options as for vmctl.machine.launch, kernel = false: none is named.
function M.launch(folder, options)
  local all = { kernel = guest.kernel, modules_dir = guest.modules_dir(), agent = guest.agent, arch = guest.arch,
    cache_dir = folder .. "/cache" }
  for name, value in pairs(options) do all[name] = value end
  all.kernel = all.kernel or nil
  return vmctl.machine.launch(all)
end

return M
