--- Scripts for the groups, users and units of a guest. The tools of Debian and Fedora (useradd, groupadd, usermod) are taken where they
--- are, else those of busybox (adduser, addgroup). $1 is a name; if $2 is not empty nothing is changed. They print "changed" where
--- something was, or would be, changed.
local M = {}

M.HEAD = [[set -eu
PATH=$PATH:/usr/sbin:/sbin:/usr/bin:/bin
have() { command -v "$1" >/dev/null 2>&1; }
group_of() { if have getent; then getent group "$1"; else grep "^$1:" /etc/group; fi; }
is_in() { for each in $(id -nG "$1"); do [ "$each" != "$2" ] || return 0; done; return 1; }
]]

-- $3 number or empty, $4 1: a group of the system's.
M.GROUP = [[
if found=$(group_of "$1"); then
  was=$(echo "$found" | cut -d: -f3)
  [ -z "$3" ] || [ "$was" = "$3" ] || { echo "the group $1 is there with the number $was" >&2; exit 1; }
  exit 0
fi
echo changed
[ -z "$2" ] || exit 0
if have groupadd; then groupadd ${3:+-g "$3"} ${4:+-r} "$1"
elif have addgroup; then addgroup ${3:+-g "$3"} ${4:+-S} "$1" >/dev/null
else echo "this guest has neither groupadd nor addgroup" >&2; exit 1
fi]]

M.REMOVE_GROUP = [[
group_of "$1" >/dev/null || exit 0
echo changed
[ -z "$2" ] || exit 0
if have groupdel; then groupdel "$1"; else delgroup "$1" >/dev/null; fi]]

-- $3 number or empty, $4 home or empty, $5 shell or empty, $6 1: a user of the system's; then groups.
M.ACCOUNT = [[
name=$1 look=$2 uid=$3 home=$4 shell=$5 system=$6
shift 6
if was=$(id -u "$name" 2>/dev/null); then
  [ -z "$uid" ] || [ "$was" = "$uid" ] || { echo "the user $name is there with the number $was" >&2; exit 1; }
else
  for group; do
    group_of "$group" >/dev/null || [ -n "$look" ] || { echo "there is no group $group" >&2; exit 1; }
  done
  echo changed
  [ -z "$look" ] || exit 0
  if have useradd; then
    kind=-m
    [ -z "$system" ] || kind=-r
    useradd "$kind" ${uid:+-u "$uid"} ${home:+-d "$home"} ${shell:+-s "$shell"} "$name"
  elif have adduser; then
    adduser -D ${uid:+-u "$uid"} ${home:+-h "$home"} ${shell:+-s "$shell"} ${system:+-S} "$name" >/dev/null
  else echo "this guest has neither useradd nor adduser" >&2; exit 1
  fi
fi
for group; do
  is_in "$name" "$group" && continue
  echo changed
  [ -z "$look" ] || continue
  if have usermod; then usermod -a -G "$group" "$name"; else addgroup "$name" "$group" >/dev/null; fi
done]]

M.REMOVE_USER = [[
id -u "$1" >/dev/null 2>&1 || exit 0
echo changed
[ -z "$2" ] || exit 0
if have userdel; then userdel "$1"; else deluser "$1" >/dev/null; fi]]

M.REMOVE_UNIT = [[
there=
for folder in /etc/systemd/system /run/systemd/system; do
  [ ! -e "$folder/$1" ] && [ ! -L "$folder/$1" ] || there=1
done
[ -n "$there" ] || exit 0
echo changed
[ -z "$2" ] || exit 0
systemctl disable -- "$1" >/dev/null 2>&1 || : # where it has no [Install]
case $1 in
*@.*) systemctl stop -- "${1%%@.*}@*.${1##*.}" ;;
*) systemctl stop -- "$1" ;;
esac
rm -f "/etc/systemd/system/$1" "/run/systemd/system/$1"
systemctl daemon-reload
systemctl reset-failed -- "$1" 2>/dev/null || :]]

-- Arguments: names and sizes of units, whose texts are the input. Prints a folder, and the output of systemd-analyze for the files in it.
M.VERIFY = [[
have systemd-analyze || { echo "this guest has no systemd-analyze to check them" >&2; exit 1; }
folder=$(mktemp -d /run/vmctl-units.XXXXXX)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
echo "$folder"
files=
while [ $# -gt 0 ]; do
  head -c "$2" >"$folder/$1"
  case $1 in *@.*) ;; *) files="$files $folder/$1" ;; esac
  shift 2
done
[ -z "$files" ] || SYSTEMD_UNIT_PATH=$folder: systemd-analyze verify $files 2>&1 || :]]

return M
