--- Shell scripts for a copy through tar, for any POSIX shell, and for the programs of GNU, busybox and toybox.
local M = {}

M.PIECE = 256 << 10

-- $1: the folder, $2: the name in it. Prints which tar there is, whether the name is a folder, and where to stage.
M.PREPARE = [[set -e; mkdir -p -- "$1"; cd -- "$1"
case $(tar --version 2>/dev/null) in *GNU*) echo gnu;; *bsdtar*) echo pax;; *) echo plain;; esac
if [ -d "./$2" ]; then cd -- "./$2"; echo folder; else echo other; fi
pwd -P]]

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

-- $1: folder to stage in, $2: name of the staging folder, $3: the top's name, $4: destination folder, $5: tar's letter for owners, $6: not
-- empty when extended attributes are to be kept, by GNU tar. The archive's entry "owner" has its owner as content, which shows whether
-- this tar keeps owners. "folders" is an archive of folders.
M.UNPACK = [[set -e
own=$2 stage=${1%/}/$2
mkdir -m 700 -- "$stage"
trap 'cd /; rm -rf -- "$stage"' EXIT
trap 'exit 1' HUP INT TERM
attributes=$6
unpack() { # what tar says of an attribute that it cannot keep, and of nothing else, is a failure
  [ -n "$attributes" ] || { tar "$@"; return; }
  said=$(tar --xattrs --xattrs-include='*' --warning=no-timestamp "$@" 2>&1) || { echo "$said" >&2; return 1; }
  [ -z "$said" ] || fail "$said"
}
cd -- "$stage"
]] .. PLACE .. [[
unpack -x"$5"f -
cat >/dev/null
if [ -f owner ] && [ "$(id -u)" = 0 ]; then
  want=$(cat owner) have=$(stat -c %u:%g owner)
  [ "$want" = "$have" ] || fail "this tar cannot keep the owner $want: it made it $have"
fi
each "$stage/t/$3" "$4"
[ -f folders ] || exit 0
exec 3<folders
cd -- "$4"
rm -rf -- "$stage"
case $(tar --version 2>/dev/null) in *GNU*) unpack --keep-directory-symlink -x"$5"f - <&3;; *) tar -x"$5"f - <&3;; esac]]

-- Removes staged files after a failure that ended the script above. $1: folder to stage in, $2: name of the staging folder.
M.CLEAN = [[rm -rf -- "${1%/}/$2"; find "$1" -xdev -type d -name "$2" -prune -exec rm -rf {} + 2>/dev/null; :]]

-- $1: the folder, $2: the name in it, $3: not empty when users' extended attributes are wanted. A tar format whose fields are too short
-- for a number drops digits, so the numbers are checked: those of the top, and of files with another owner, which most trees lack.
M.PACK = [[cd -- "$1" || exit 2
LC_ALL=C; export LC_ALL
case ${3:-n}$(tar --version 2>/dev/null) in
x*GNU*) exec tar --xattrs --xattrs-include='user.*' --format=posix --pax-option=delete=atime,delete=ctime --numeric-owner -S -cf - -- "$2";;
x*) echo "this tar has no extended attributes" >&2; exit 3;;
*GNU*) exec tar --format=posix --pax-option=delete=atime,delete=ctime --numeric-owner -S -cf - -- "$2";;
*bsdtar*) exec tar --format pax --numeric-owner -cf - -- "$2";;
esac
owners() { stat -c '%u %g %n' "./$1"; find "./$1" \( ! -user "$2" -o ! -group "$3" \) -exec stat -c '%u %g %n' {} +; }
all() { find "./$1" -exec stat -c '%u %g %n' {} +; } # not every find knows owners
odd=$({ owners "$2" $(stat -c '%u %g' "./$2") || all "$2"; } 2>/dev/null | while read -r u g n; do
  if [ "$u" -gt 2097151 ] || [ "$g" -gt 2097151 ]; then echo "$n: this tar has no room for the owner $u:$g"; break; fi
done 2>/dev/null)
[ -z "$odd" ] || { echo "$odd" >&2; exit 3; }
exec tar -cf - -- "$2"]]

-- $1: a path, $2: not empty when a link is to be followed.
M.TYPE = [[if [ -z "$2" ] && [ -L "$1" ]; then echo link; elif [ -d "$1" ]; then echo directory; elif [ -f "$1" ]; then echo file
elif [ -e "$1" ]; then echo other; elif [ -L "$1" ]; then echo link; else echo none; fi]]

return M
