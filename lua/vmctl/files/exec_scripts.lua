--- Shell scripts for a copy through tar, for any POSIX shell, and for the programs of GNU, busybox and toybox.
local M = {}

M.PIECE = 256 << 10

-- Finds out the kind of tar. busybox' is recognised without running it: it is the same file. $kind: "gnu", "pax" (bsdtar) or "plain".
local KIND = [[
busybox() ( IFS=:
  for d in $PATH; do
    if [ -x "$d/tar" ]; then [ "$d/tar" -ef "$d/busybox" ] || [ "$d/tar" -ef /bin/busybox ]; return; fi
  done; return 1 )
version() { busybox 2>/dev/null || tar --version 2>/dev/null; }
case $(version) in *GNU*) kind=gnu;; *bsdtar*) kind=pax;; *) kind=plain;; esac
]]

-- $1: the destination, $2 and $3: folder and name of the copy if that is a folder, $4 and $5: if it is none. Prints the destination's type;
-- unless that is a device or there is no name, makes the folder, and prints the kind of tar, if the name is a folder, and where files are
-- staged.
M.PREPARE = [[set -e
folder=$4 name=$5
if [ -d "$1" ]; then echo directory; folder=$2 name=$3
elif [ -f "$1" ]; then echo file; elif [ -e "$1" ]; then echo other; exit 0; elif [ -L "$1" ]; then echo link; else echo none; fi
[ -n "$name" ] || exit 0
[ -d "$folder" ] || mkdir -p -- "$folder"
cd -P -- "$folder"
]] .. KIND .. [[echo $kind
if [ -d "./$name" ]; then cd -P -- "./$name"; echo folder; top=$PWD; else echo other; top=${PWD%/}/$name; fi
printf '%s\0' "$PWD"
]]

-- each FROM TO: moves an entry to its destination. A folder that does not exist there is moved whole; into an existing one each file
-- is renamed. A device, a FIFO or a socket is not replaced. At the border of another file system mv would write in place, so the entry
-- is staged there again.
local PLACE = [[
fail() { echo "$1" >&2; exit 1; }
device() { stat -c %d -- "$1" 2>/dev/null || :; }
odd() { [ -e "$1" ] && [ ! -f "$1" ] && [ ! -L "$1" ]; }
put() {
  if [ -d "$2" ]; then [ -L "$2" ] || fail "$2: a folder is there"; rm -f -- "$2"; fi
  if odd "$2"; then fail "$2 is there, and no regular file"; fi
  mv -f -- "$1" "$2"
}
files() {
  find "$1" -maxdepth 1 ! -type d -exec sh -c 'd=$1; shift; exec mv -f -- "$@" "$d/"' sh "$2" {} +
  left=$(find "$1" -maxdepth 1 ! -type d | head -n 1) # not every find tells that mv has failed
  [ -z "$left" ] || fail "$2/${left##*/}: it could not be put in its place"
}
merge() {
  if [ "$(device "$1")" != "$(device "$2")" ]; then
    mkdir -m 700 -- "$2/$own"
    for f in "$1"/* "$1"/.[!.]* "$1"/..?*; do if [ -e "$f" ] || [ -L "$f" ]; then mv -f -- "$f" "$2/$own/"; fi; done
    set -- "$2/$own" "$2"
  fi
  for f in "$1"/* "$1"/.[!.]* "$1"/..?*; do
    if [ -d "$f" ] && [ ! -L "$f" ]; then each "$f" "$2/${f##*/}"
    elif [ -d "$2/${f##*/}" ] || odd "$2/${f##*/}"; then if [ -e "$f" ] || [ -L "$f" ]; then put "$f" "$2/${f##*/}"; fi; fi
  done
  files "$1" "$2"
  case $1 in "$2/$own") rmdir -- "$1";; esac
}
each() {
  if [ ! -d "$1" ] || [ -L "$1" ]; then put "$1" "$2"
  elif [ -d "$2" ]; then merge "$1" "$2"
  elif [ -e "$2" ] || [ -L "$2" ]; then fail "$2: it is there, and no folder"
  else mv -- "$1" "$2"; fi
}
]]

-- Behind that. $6: name of the staging folder, $7: tar's letter for owners, $8: not empty when extended attributes are to be kept, by GNU
-- tar. The archive's entry "owner" has its owner as content, which shows whether this tar keeps owners. "folders" is an archive of folders.
M.UNPACK = M.PREPARE .. [[
own=$6 stage=${PWD%/}/$6 owners=$7 attributes=$8
if [ -n "$attributes" ] && [ $kind != gnu ]; then exit 0; fi
mkdir -m 700 -- "$stage"
trap 'cd /; rm -rf -- "$stage"' EXIT
trap 'exit 1' HUP INT TERM
unpack() { # what tar says of an attribute that it cannot keep, and of nothing else, is a failure
  [ -n "$attributes" ] || { tar "$@"; return; }
  said=$(tar --xattrs --xattrs-include='*' --warning=no-timestamp "$@" 2>&1) || { echo "$said" >&2; return 1; }
  [ -z "$said" ] || fail "$said"
}
cd -- "$stage"
]] .. PLACE .. [[
unpack -x"$owners"f -
if [ -f owner ] && [ "$(id -u)" = 0 ]; then
  want=$(cat owner) have=$(stat -c %u:%g owner)
  [ "$want" = "$have" ] || fail "this tar cannot keep the owner $want: it made it $have"
fi
each "$stage/t/$name" "$top"
[ -f folders ] || exit 0
exec 3<folders
cd -- "$top"
rm -rf -- "$stage"
case $kind in gnu) unpack --keep-directory-symlink -x"$owners"f - <&3;; *) tar -x"$owners"f - <&3;; esac]]

-- For the agent's program, where the copy crosses file systems. $1: name of the staging folder, $2: the staged file, $3: its destination.
local PLACE_ALL = "set -e; own=$1\n" .. PLACE .. 'each "$2" "$3"'

-- Removes staged files after a failure that ended the script above. $1: folder to stage in, $2: name of the staging folder.
M.CLEAN = [[rm -rf -- "${1%/}/$2"; find "$1" -xdev -type d -name "$2" -prune -exec rm -rf {} + 2>/dev/null; :]]

-- $1: a path, $2: the folder, $3: the name in it, $4: not empty when users' extended attributes are wanted. Prints the type of the path,
-- and if that is a file, a folder or a link, its archive. A tar format whose fields are too short for a number drops digits, so the
-- numbers are checked: those of the top, and of files with another owner, which most trees lack.
M.PACK = [[if [ -L "$1" ]; then echo link; elif [ -d "$1" ]; then echo directory; elif [ -f "$1" ]; then echo file
elif [ -e "$1" ]; then echo other; exit 0; else echo none; exit 0; fi
cd -- "$2" || exit 2
shift
LC_ALL=C; export LC_ALL
]] .. KIND .. [[
case $3$kind in
xgnu) exec tar --xattrs --xattrs-include='user.*' --format=posix --pax-option=delete=atime,delete=ctime --numeric-owner -S -cf - -- "$2";;
x*) echo "this tar has no extended attributes" >&2; exit 3;;
gnu) exec tar --format=posix --pax-option=delete=atime,delete=ctime --numeric-owner -S -cf - -- "$2";;
pax) exec tar --format pax --numeric-owner -cf - -- "$2";;
esac
folder() { [ -d "$1" ] && [ ! -L "$1" ]; }
owners() {
  stat -c '%u %g %n' "./$1"
  if folder "./$1"; then find "./$1" \( ! -user "$2" -o ! -group "$3" \) -exec stat -c '%u %g %n' {} +; fi
}
all() { find "./$1" -exec stat -c '%u %g %n' {} +; } # not every find knows owners
odd=$({ owners "$2" $(if folder "./$2"; then stat -c '%u %g' "./$2"; fi) || all "$2"; } 2>/dev/null | while read -r u g n; do
  if [ "$u" -gt 2097151 ] || [ "$g" -gt 2097151 ]; then echo "$n: this tar has no room for the owner $u:$g"; break; fi
done 2>/dev/null)
[ -z "$odd" ] || { echo "$odd" >&2; exit 3; }
exec tar -cf - -- "$2"]]

-- Commands; their arguments follow. The agent's own program does the same as the scripts (src/agent/pack.h, src/agent/unpack.h).
M.PACKER, M.SHELL_PACKER = { "/proc/self/exe", "--pack" }, { "sh", "-c", M.PACK, "sh" }
M.UNPACKER, M.SHELL_UNPACKER = { "/proc/self/exe", "--unpack", last = PLACE_ALL }, { "sh", "-c", M.UNPACK, "sh" }

return M
