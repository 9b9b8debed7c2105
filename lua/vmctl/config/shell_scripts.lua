--- Scripts that configure a guest which only runs commands. They are for any POSIX shell, busybox's included (beyond POSIX they use
--- stat -c, and cmp or sha256sum). Contents come by standard input, not on a command line (the reference's oldest agent has no
--- standard input: secrets are refused there). The limits of a shell: nothing is synced to the disk, and another process may change
--- a path between its check and its use. In a user's own folder that could be an attack, so there the script runs as that user and
--- with no more rights.
local M = {}

-- Replaces a file. $1 path, $2 temporary file beside it, $3 mode, $4 owner (empty: those of the old file; for a new file 644 and the
-- script's user; an owner without a group keeps the group), $5 expected size of the input. Prints "changed" or "same".
local REPLACE_FILE = [[
if [ -e "$1" ] && ! [ -f "$1" ]; then echo "$1 is not a regular file" >&2; exit 1; fi
dir=${1%/*}
[ -z "$dir" ] || [ -d "$dir" ] || (umask 022; mkdir -p "$dir")
trap 'rm -f "$2"' EXIT
trap 'exit 1' HUP INT TERM
(umask 077; set -C; cat > "$2")
size=$(($(wc -c < "$2")))
if [ "$size" -ne "$5" ]; then echo "only $size of $5 bytes came" >&2; exit 1; fi
was=
if [ -f "$1" ] && ! [ -L "$1" ]; then was=$(stat -c '%a %u:%g' "$1"); fi
mode=${3:-${was%% *}} owner=${4:-${was#* }}
case $owner in
''|*:*) ;;
*) [ -z "$was" ] || owner=$owner:${was##*:} ;;
esac
[ -z "$owner" ] || chown "$owner" "$2"
chmod "${mode:-644}" "$2"
same() {
  if command -v cmp >/dev/null 2>&1; then cmp -s "$1" "$2"; return; fi
  sum=$(sha256sum < "$1" 2>/dev/null) && [ "$sum" = "$(sha256sum < "$2")" ]
}
if [ -n "$was" ] && [ "$was" = "$(stat -c '%a %u:%g' "$2")" ] && same "$1" "$2"; then echo same
else mv -f "$2" "$1"; echo changed; fi
]]

M.REPLACE_FILE = "set -eu\n" .. REPLACE_FILE

-- Compares a file. $1 path, $2 mode, $3 owner (empty: any). Prints "changed" if the path differs from these or from the content on
-- standard input, else "same".
M.COMPARE = [[set -eu
if [ -e "$1" ] && ! [ -f "$1" ]; then cat > /dev/null; echo "$1 is not a regular file" >&2; exit 1; fi
if ! [ -f "$1" ] || [ -L "$1" ]; then cat > /dev/null; echo changed; exit 0; fi
verdict=same
[ -z "$2" ] || [ "$2" = "$(stat -c %a "$1")" ] || verdict=changed
case $3 in
'') ;;
*:*) [ "$3" = "$(stat -c %u:%g "$1")" ] || [ "$3" = "$(stat -c %U:%G "$1")" ] || verdict=changed ;;
*) [ "$3" = "$(stat -c %u "$1")" ] || [ "$3" = "$(stat -c %U "$1")" ] || verdict=changed ;;
esac
if command -v cmp >/dev/null 2>&1; then cmp -s "$1" - || verdict=changed
else [ "$(sha256sum < "$1")" = "$(sha256sum)" ] || verdict=changed
fi
echo $verdict
]]

-- As REPLACE_FILE, for ~/.ssh/authorized_keys: follows no links, and makes the folder accessible to its owner only.
M.KEYS = [[set -eu
dir=${1%/*}
for place in "$dir" "$1"; do
  if [ -L "$place" ]; then echo "$place is a link" >&2; exit 1; fi
done
[ -d "$dir" ] || { (umask 077; mkdir "$dir"); echo changed; }
[ -z "$4" ] || chown "$4" "$dir"
[ "$(stat -c %a "$dir")" = 700 ] || { chmod 700 "$dir"; echo changed; }
]] .. REPLACE_FILE

-- $1 user, $2 root folder. Prints the script's user id, then lines of passwd, the user's among them.
M.USER = [[
id -u
{ [ -z "$2" ] && getent passwd "$1" 2>/dev/null; } || cat "$2/etc/passwd"
]]

-- $1 the secrets' folder. Prints its resolved path, then the mounts.
M.SECRETS = [[set -eu
if [ -L "$1" ]; then echo "$1 is a link" >&2; exit 1; fi
[ -d "$1" ] || { (umask 022; mkdir -p "${1%/*}"); (umask 077; mkdir "$1"); }
cd -P "$1"
pwd -P
cat /proc/self/mountinfo
]]

M.TMPFS = 'mount -t tmpfs -o mode=0700,nosuid,nodev,noexec,size=16m tmpfs "$1"'

-- $1 path. Fails if a link leads elsewhere, then prints the mounts.
M.MOUNTS = [[set -eu
at=$1
while [ -n "$at" ] && ! [ -e "$at" ]; do at=${at%/*}; done
real=$(cd -P "${at:-/}" && pwd -P)
if [ "$real" != "${at:-/}" ]; then echo "$at leads to $real: nothing is mounted by way of links" >&2; exit 1; fi
cat /proc/self/mountinfo
]]

-- Mounts a share. $1 path, $2 type, $3 options, $4 tag. As in the reference, the folder is given to its agents, if there are any.
M.MOUNT = [[set -eu
case $2 in
9p) modprobe -q -a 9p 9pnet_virtio 2>/dev/null || : ;;
*) modprobe -q "$2" 2>/dev/null || : ;;
esac
(umask 022; mkdir -p "$1")
mount -t "$2" -o "$3" "$4" "$1"
chown agent:agent "$1" 2>/dev/null || :
]]

return M
