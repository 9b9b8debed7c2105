/* The properties of a file, as a table. */
#include "lua/fs.h"

#include <lua.h>
#include <stdint.h>
#include <sys/sysmacros.h>

static void set_number(lua_State *L, const char *name, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

const char *vmctl_fs_type(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG: return "file";
    case S_IFDIR: return "directory";
    case S_IFLNK: return "link";
    case S_IFSOCK: return "socket";
    case S_IFIFO: return "fifo";
    case S_IFCHR: return "char";
    case S_IFBLK: return "block";
    default: return "other";
    }
}

bool vmctl_fs_is_owner(lua_Integer id)
{
    return id >= -1 && id < UINT32_MAX; /* 2^32 would be root, and 2^32 - 1 the -1 that keeps an owner */
}

/* { type, mode, size, uid, gid, mtime, nsec, changed, allocated, inode, device, links }, and of a device its major and minor
 * numbers. `nsec`: nanoseconds beside mtime; `changed`: both in one number, for comparing (it wraps after 2262); `allocated`: bytes on
 * the disk, fewer than the size where a file has holes. */
void vmctl_fs_push_stat(lua_State *L, const struct stat *st)
{
    lua_createtable(L, 0, 14);
    lua_pushstring(L, vmctl_fs_type(st->st_mode));
    lua_setfield(L, -2, "type");
    set_number(L, "mode", st->st_mode & 07777);
    set_number(L, "size", st->st_size);
    set_number(L, "uid", st->st_uid);
    set_number(L, "gid", st->st_gid);
    set_number(L, "mtime", st->st_mtime);
    set_number(L, "nsec", st->st_mtim.tv_nsec);
    set_number(L, "changed", (lua_Integer)((lua_Unsigned)st->st_mtim.tv_sec * 1000000000 + (lua_Unsigned)st->st_mtim.tv_nsec));
    set_number(L, "allocated", (lua_Integer)st->st_blocks * 512);
    set_number(L, "inode", (lua_Integer)st->st_ino);
    set_number(L, "device", (lua_Integer)st->st_dev);
    set_number(L, "links", (lua_Integer)st->st_nlink);
    if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
        set_number(L, "major", major(st->st_rdev));
        set_number(L, "minor", minor(st->st_rdev));
    }
}
