/* Files of this machine, as far as Lua's own library does not reach. These calls block as all file I/O does. */
#include "lua/fs.h"

#include "lua/check.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2 /* of Linux 3.15; musl has neither this nor the call */
#endif

static int fs_result(lua_State *L, int rc, const char *what, const char *path)
{
    if (rc < 0)
        return vmctl_fail(L, -errno, "%s %s", what, path);
    lua_pushboolean(L, 1);
    return 1;
}

/* fs.stat(path, [do not follow a link]) -> as vmctl_fs_push_stat has it */
static int l_stat(lua_State *L)
{
    const char *path = vmctl_check_text(L, 1);
    if (!path)
        return vmctl_text_fail(L, "stat");
    struct stat st;
    if ((lua_toboolean(L, 2) ? lstat(path, &st) : stat(path, &st)) < 0)
        return vmctl_fail(L, -errno, "stat %s", path);
    vmctl_fs_push_stat(L, &st);
    return 1;
}

static int l_list(lua_State *L)
{
    const char *path = vmctl_check_text(L, 1);
    if (!path)
        return vmctl_text_fail(L, "list");
    DIR *dir = opendir(path);
    if (!dir)
        return vmctl_fail(L, -errno, "list %s", path);
    lua_newtable(L);
    lua_Integer n = 0;
    errno = 0;
    for (const struct dirent *entry; (entry = readdir(dir)); errno = 0) { /* pushing a name raises only for lack of memory */
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        lua_pushstring(L, entry->d_name);
        lua_rawseti(L, -2, ++n);
    }
    int err = -errno; /* 0 at the end of a folder */
    closedir(dir);
    return err ? vmctl_fail(L, err, "list %s", path) : 1;
}

static int l_mkdir(lua_State *L)
{
    const char *path = vmctl_check_text(L, 1);
    if (!path)
        return vmctl_text_fail(L, "mkdir");
    return fs_result(L, mkdir(path, (mode_t)(lua_isnoneornil(L, 2) ? 0755 : vmctl_check_range(L, 2, 0, 07777))), "mkdir", path);
}

static int l_chmod(lua_State *L)
{
    const char *path = vmctl_check_text(L, 1);
    if (!path)
        return vmctl_text_fail(L, "chmod");
    return fs_result(L, chmod(path, (mode_t)vmctl_check_range(L, 2, 0, 07777)), "chmod", path);
}

static int l_chown(lua_State *L)
{
    const char *path = vmctl_check_text(L, 1);
    if (!path)
        return vmctl_text_fail(L, "chown");
    lua_Integer uid = luaL_checkinteger(L, 2), gid = luaL_checkinteger(L, 3);
    if (!vmctl_fs_is_owner(uid) || !vmctl_fs_is_owner(gid))
        return vmctl_fail(L, -EOVERFLOW, "chown %s", path);
    return fs_result(L, lchown(path, (uid_t)uid, (gid_t)gid), "chown", path);
}

/* fs.rename(from, to, [exchange]): with `exchange` both must exist, and swap their names at once */
static int l_rename(lua_State *L)
{
    const char *from = vmctl_check_text(L, 1), *to = vmctl_check_text(L, 2);
    if (!from || !to)
        return vmctl_text_fail(L, "rename");
    unsigned flags = lua_toboolean(L, 3) ? RENAME_EXCHANGE : 0;
    return fs_result(L, (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags), "rename", from);
}

static int l_remove(lua_State *L)
{
    const char *path = vmctl_check_text(L, 1);
    if (!path)
        return vmctl_text_fail(L, "remove");
    return fs_result(L, remove(path), "remove", path);
}

static int l_symlink(lua_State *L)
{
    const char *target = vmctl_check_text(L, 1), *path = vmctl_check_text(L, 2);
    if (!target || !path)
        return vmctl_text_fail(L, "symlink");
    return fs_result(L, symlink(target, path), "symlink", path);
}

/* fs.temporary(prefix) -> the path of a new folder, mode 0700 */
static int l_temporary(lua_State *L)
{
    char path[512];
    const char *prefix = vmctl_check_text(L, 1);
    if (!prefix)
        return vmctl_text_fail(L, "make a temporary folder");
    int n = snprintf(path, sizeof path, "%s-XXXXXX", prefix);
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
    vmctl_fs_replace_register(L);
    vmctl_fs_system_register(L);
    vmctl_fs_root_register(L);
    vmctl_fs_file_register(L);
    vmctl_fs_listen_register(L);
    lua_setfield(L, -2, "fs");
}
