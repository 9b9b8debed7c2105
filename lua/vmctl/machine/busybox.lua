--- The applets of a busybox, read from the program without running it: it may be of another architecture. No function here waits.
local M = {}

-- The folders where busybox installs applets that are not in /usr/bin.
local FOLDERS = {
  [""] = "linuxrc",
  bin = [[arch ash base64 busybox cat chgrp chmod chown cp cpio cttyhack date dd df dmesg dnsdomainname dumpkmap echo ed egrep
    false fatattr fgrep getopt grep gunzip gzip hostname ionice ipcalc kill link linux32 linux64 ln login ls lzop mkdir mknod
    mktemp more mount mt mv netstat nuke pidof ping ping6 ps pwd readlink resume rev rm rmdir rpm run-parts sed setpriv sh sleep
    stat stty su sync tar touch true umount uname uncompress usleep vi watch zcat]],
  sbin = [[acpid adjtimex arp blockdev depmod devmem fdisk findfs freeramdisk fstrim getty halt hwclock ifconfig ifdown ifup init
    insmod ip ipaddr iplink ipneigh iproute iprule klogd loadkmap logread losetup lsmod mdev mkdosfs mke2fs mkswap modinfo
    modprobe nameif pivot_root poweroff reboot rmmod route run-init start-stop-daemon sulogin swapoff swapon switch_root sysctl
    syslogd tc tunctl udhcpc uevent vconfig watchdog]],
  ["usr/sbin"] = [[arping brctl chroot crond fsfreeze httpd i2cdetect i2cdump i2cget i2cset i2ctransfer loadfont mim nbd-client nologin
    partprobe rdate telnetd ubirename udhcpd]],
}

local places = {}
for folder, names in pairs(FOLDERS) do
  for name in names:gmatch "%S+" do places[name] = folder == "" and "/" .. name or ("/%s/%s"):format(folder, name) end
end

-- Names end with a zero byte, in the order of their bytes; the first are these.
local FIRST = "[\0[[\0"
local LONGEST = 32 -- bytes of a name
local MOST = 1024  -- names

--- The paths of a busybox's applets, such as "/bin/ls" and "/usr/bin/[".
---@param program string the bytes of the program
---@return string[]|nil paths, string? message, string? code ENOEXEC: no list of applets is in it
function M.applets(program)
  local at = program:find(FIRST, 1, true)
  local paths = {}
  while at and #paths < MOST do
    local stop = program:find("\0", at, true)
    if not stop or stop == at or stop - at > LONGEST then break end
    local name = program:sub(at, stop - 1)
    paths[#paths + 1] = places[name] or "/usr/bin/" .. name
    at = stop + 1
  end
  if #paths < 3 then return nil, "no list of applets is in it: it is not a busybox", "ENOEXEC" end
  return paths
end

return M
