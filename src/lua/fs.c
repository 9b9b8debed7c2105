/* Files of this machine, as far as Lua's own library does not reach. These calls block as all file I/O does. */
#include "lua/fs.h"

#include "lua/classes.h"
#include "lua/fail.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int fs_result(lua_State *L, int rc, const char *what, const char *path)
{
    if (rc < 0)
        return vmctl_fail(L, -errno, "%s %s", what, path);
    lua_pushboolean(L, 1);
    return 1;
}

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

/* { type, mode, size, uid, gid, mtime, changed, inode, device, links }, and of a device its major and minor numbers.
 * `changed`: nanoseconds of mtime, for those who compare. */
void vmctl_fs_push_stat(lua_State *L, const struct stat *st)
{
    lua_createtable(L, 0, 10);
    lua_pushstring(L, vmctl_fs_type(st->st_mode));
    lua_setfield(L, -2, "type");
    set_number(L, "mode", st->st_mode & 07777);
    set_number(L, "size", st->st_size);
    set_number(L, "uid", st->st_uid);
    set_number(L, "gid", st->st_gid);
    set_number(L, "mtime", st->st_mtime);
    set_number(L, "changed", (lua_Integer)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec);
    set_number(L, "inode", (lua_Integer)st->st_ino);
    set_number(L, "device", (lua_Integer)st->st_dev);
    set_number(L, "links", (lua_Integer)st->st_nlink);
    if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
        set_number(L, "major", major(st->st_rdev));
        set_number(L, "minor", minor(st->st_rdev));
    }
}

/* fs.stat(path, [do not follow a link]) -> as above */
static int l_stat(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    struct stat st;
    if ((lua_toboolean(L, 2) ? lstat(path, &st) : stat(path, &st)) < 0)
        return vmctl_fail(L, -errno, "stat %s", path);
    vmctl_fs_push_stat(L, &st);
    return 1;
}

static int l_list(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    DIR *dir = opendir(path);
    if (!dir)
        return vmctl_fail(L, -errno, "list %s", path);
    lua_newtable(L);
    lua_Integer n = 0;
    for (const struct dirent *entry; (entry = readdir(dir));) { /* pushing a name may raise: only for lack of memory */
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        lua_pushstring(L, entry->d_name);
        lua_rawseti(L, -2, ++n);
    }
    closedir(dir);
    return 1;
}

static int l_mkdir(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    return fs_result(L, mkdir(path, (mode_t)luaL_optinteger(L, 2, 0755)), "mkdir", path);
}

static int l_chmod(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    return fs_result(L, chmod(path, (mode_t)luaL_checkinteger(L, 2)), "chmod", path);
}

static int l_chown(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    return fs_result(L, lchown(path, (uid_t)luaL_checkinteger(L, 2), (gid_t)luaL_checkinteger(L, 3)), "chown", path);
}

/* fs.rename(from, to, [exchange]): with `exchange` both must be there, and trade places at once */
static int l_rename(lua_State *L)
{
    const char *from = luaL_checkstring(L, 1), *to = luaL_checkstring(L, 2);
    unsigned flags = lua_toboolean(L, 3) ? RENAME_EXCHANGE : 0;
    return fs_result(L, renameat2(AT_FDCWD, from, AT_FDCWD, to, flags), "rename", from);
}

static int l_remove(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    return fs_result(L, remove(path), "remove", path);
}

static int l_symlink(lua_State *L)
{
    const char *path = luaL_checkstring(L, 2);
    return fs_result(L, symlink(luaL_checkstring(L, 1), path), "symlink", path);
}

/* fs.temporary(prefix) -> the path of a new folder, mode 0700 */
static int l_temporary(lua_State *L)
{
    char path[512];
    int n = snprintf(path, sizeof path, "%s-XXXXXX", luaL_checkstring(L, 1));
    if (n < 0 || (size_t)n >= sizeof path)
        return vmctl_fail(L, -ENAMETOOLONG, "make a temporary folder");
    if (!mkdtemp(path))
        return vmctl_fail(L, -errno, "make a temporary folder %s", path);
    lua_pushstring(L, path);
    return 1;
}

static int l_identity(lua_State *L)
{
    lua_pushinteger(L, geteuid());
    lua_pushinteger(L, getegid());
    lua_pushinteger(L, getpid());
    return 3;
}

void vmctl_fs_register(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "stat", l_stat },       { "list", l_list },     { "mkdir", l_mkdir },       { "chmod", l_chmod },
        { "chown", l_chown },     { "rename", l_rename }, { "remove", l_remove },     { "symlink", l_symlink },
        { "identity", l_identity }, { "temporary", l_temporary }, { NULL, NULL }
    };
    luaL_newlib(L, functions);
    vmctl_fs_place_register(L);
    vmctl_fs_system_register(L);
    vmctl_fs_root_register(L);
    vmctl_fs_file_register(L);
    lua_setfield(L, -2, "fs");
}
