/* core.fs: replacing files atomically. */
#include "io/fs_replace.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/fs.h"
#include "lua/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Mode and owner of the new file: the old one's mode and owner if there is one and no mode is given. */
static struct vmctl_fs_attributes attributes_of(int folder, const char *name, lua_Integer mode)
{
    struct stat old;
    struct vmctl_fs_attributes how = { .mode = 0644, .lenient = true };
    if (fstatat(folder, name, &old, 0) == 0) {
        how.mode = old.st_mode & 07777;
        how.own = true;
        how.uid = old.st_uid;
        how.gid = old.st_gid;
    }
    if (mode >= 0)
        how.mode = (mode_t)mode & 07777;
    return how;
}

/* Opens the folder that a path's last name is in. */
static int open_folder_of(const char *path, const char **name)
{
    char folder[PATH_MAX] = ".";
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    if (!**name)
        return -EISDIR;
    if (slash) {
        size_t len = slash == path ? 1 : (size_t)(slash - path);
        if (len >= sizeof folder)
            return -ENAMETOOLONG;
        memcpy(folder, path, len);
        folder[len] = '\0';
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* The words of a failure to replace a file, behind its path. */
static const char *place_of(int err)
{
    return err == -EEXIST ? ", which is no regular file" : "";
}

/* fs.replace(path, bytes, [mode]): replaces a file atomically, after the new one was written to disk. */
static int l_replace(lua_State *L)
{
    size_t len;
    const char *path = vmctl_check_text(L, 1), *bytes = luaL_checklstring(L, 2, &len), *name;
    if (!path)
        return vmctl_text_fail(L, "write");
    lua_Integer mode = luaL_optinteger(L, 3, -1);
    int err, folder = open_folder_of(path, &name);
    if (folder < 0)
        return vmctl_fail(L, folder, "write %s", path);
    struct vmctl_fs_attributes how = attributes_of(folder, name, mode);
    err = vmctl_fs_write_new(folder, name, bytes, len, &how);
    close(folder);
    if (err)
        return vmctl_fail(L, err, "write %s%s", path, place_of(err));
    lua_pushboolean(L, 1);
    return 1;
}

static lua_Integer number_field(lua_State *L, int table, const char *name, lua_Integer otherwise)
{
    int valid, type = lua_getfield(L, table, name);
    lua_Integer value = lua_tointegerx(L, -1, &valid);
    lua_pop(L, 1);
    if (type != LUA_TNIL && (type != LUA_TNUMBER || !valid)) /* the text "0600" would be 600 */
        luaL_error(L, "option '%s': integer expected", name);
    return type == LUA_TNIL ? otherwise : value;
}

/* { mode, folder_mode, uid, gid, lenient, repair } */
static struct vmctl_fs_attributes check_attributes(lua_State *L, int arg)
{
    struct vmctl_fs_attributes how = { .mode = 0644, .folder_mode = 0755 };
    if (lua_isnoneornil(L, arg))
        return how;
    luaL_checktype(L, arg, LUA_TTABLE);
    how.mode = (mode_t)number_field(L, arg, "mode", 0644) & 07777;
    how.folder_mode = (mode_t)number_field(L, arg, "folder_mode", 0755) & 07777;
    lua_Integer uid = number_field(L, arg, "uid", -1);
    how.own = uid >= 0;
    how.uid = (uid_t)uid;
    how.gid = (gid_t)number_field(L, arg, "gid", uid);
    lua_getfield(L, arg, "lenient");
    how.lenient = lua_toboolean(L, -1);
    lua_getfield(L, arg, "repair");
    how.repair = lua_toboolean(L, -1);
    lua_pop(L, 2);
    return how;
}

/* fs.folders(base, path, [options]) -> true, repaired: makes the folders of `path` that are missing below `base` */
static int l_folders(lua_State *L)
{
    const char *base = vmctl_check_text(L, 1), *path = vmctl_check_text(L, 2);
    if (!base || !path)
        return vmctl_text_fail(L, "make folder");
    struct vmctl_fs_attributes how = check_attributes(L, 3);
    bool changed = false;
    int fd, err = vmctl_fs_enter(base, path, &how, &fd, &changed);
    if (err)
        return vmctl_fail(L, err, "make folder %s/%s", strcmp(base, "/") == 0 ? "" : base, path);
    close(fd);
    lua_pushboolean(L, 1);
    lua_pushboolean(L, changed);
    return 2;
}

/* fs.replace_in(base, folder, name, bytes, [options]) -> true, changed: io/fs_replace.h says how. The bytes are in no message. */
static int l_replace_in(lua_State *L)
{
    size_t len;
    const char *base = vmctl_check_text(L, 1), *folder = vmctl_check_text(L, 2), *name = vmctl_check_text(L, 3);
    if (!base || !folder || !name)
        return vmctl_text_fail(L, "write");
    const char *bytes = luaL_checklstring(L, 4, &len);
    struct vmctl_fs_attributes how = check_attributes(L, 5);
    luaL_argcheck(L, *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0, 3, "no file's name");
    bool changed = false, repaired = false;
    int fd, err = vmctl_fs_enter(base, folder, &how, &fd, &repaired);
    if (!err) {
        err = vmctl_fs_replace(fd, name, bytes, len, &how, &changed);
        close(fd);
    }
    if (err)
        return vmctl_fail(L, err, "write %s/%s/%s%s", strcmp(base, "/") == 0 ? "" : base, folder, name, place_of(err));
    lua_pushboolean(L, 1);
    lua_pushboolean(L, changed || repaired);
    return 2;
}

/* fs.read(path, max) -> the bytes of a regular file; no link is followed, no FIFO waited for */
static int l_read(lua_State *L)
{
    const char *path = vmctl_check_text(L, 1);
    if (!path)
        return vmctl_text_fail(L, "read");
    lua_Integer max = luaL_checkinteger(L, 2);
    luaL_argcheck(L, max > 0 && max <= 1 << 30, 2, "a number of bytes expected");
    void *bytes = lua_newuserdatauv(L, (size_t)max, 0); /* first: an error would lose the fd */
    size_t len = 0;
    int err = vmctl_fs_read(path, bytes, (size_t)max, &len);
    if (err)
        return vmctl_fail(L, err, "read %s", path);
    lua_pushlstring(L, bytes, len);
    return 1;
}

void vmctl_fs_replace_register(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "replace", l_replace }, { "folders", l_folders }, { "replace_in", l_replace_in }, { "read", l_read }, { NULL, NULL }
    };
    luaL_setfuncs(L, functions, 0);
}
