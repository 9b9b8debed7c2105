/* core.fs.root: the class vmctl.Root, a folder that stands for "/". Paths are those inside it; no link leads out of it. These
 * calls block as all file I/O does. */
#include "io/fs_root.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/fs.h"
#include "lua/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct vmctl_root *root_check(lua_State *L)
{
    return luaL_checkudata(L, 1, VMCTL_ROOT);
}

static int root_result(lua_State *L, int err, const char *what, const char *path)
{
    if (err)
        return vmctl_fail(L, err == -EBADF ? VMCTL_ECLOSED : err, "%s %s", what, path);
    lua_pushboolean(L, 1);
    return 1;
}

/* fs.root(path, [strict]) -> root; strict: links below it are not followed, but fail with ELOOP */
static int l_root(lua_State *L)
{
    const char *path = vmctl_check_text(L, 1);
    if (!path)
        return vmctl_text_fail(L, "open");
    bool strict = lua_toboolean(L, 2);
    struct vmctl_root *r = lua_newuserdatauv(L, sizeof *r, 0);
    r->fd = -1;
    luaL_setmetatable(L, VMCTL_ROOT);
    int err = vmctl_root_open(path, strict, r);
    return err ? vmctl_fail(L, err, "open %s", path) : 1;
}

/* root:near() -> root: the same folder, whose calls fail with EXDEV where they would enter another file system or open a device, so that
 * they need no worker; EXDEV where the folder's own file system is not local */
static int l_root_near(lua_State *L)
{
    const struct vmctl_root *r = root_check(L);
    struct vmctl_root *near = lua_newuserdatauv(L, sizeof *near, 0);
    near->fd = -1;
    luaL_setmetatable(L, VMCTL_ROOT);
    int err = vmctl_root_near(r, near);
    return err ? root_result(L, err, "open", "a local folder") : 1;
}

static int open_flags(lua_State *L, int arg)
{
    static const char letters[] = "rw+ctxlda";
    static const int known[] = { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_EXCL, O_NOFOLLOW, O_DIRECTORY, O_APPEND };
    int flags = 0;
    const char *how = vmctl_opt_text(L, arg, "r");
    luaL_argcheck(L, how, arg, "letters of 'rw+ctxlda' expected");
    for (; *how; how++) {
        const char *at = strchr(letters, *how);
        luaL_argcheck(L, at, arg, "letters of 'rw+ctxlda' expected");
        flags |= known[at - letters];
    }
    return flags;
}

/* root:open(path, [letters], [mode]) -> file. Letters: one of r, w, + (both); c create, t truncate, x exclusive, l no last
 * link, d a folder, a append */
static int l_root_open(lua_State *L)
{
    const struct vmctl_root *r = root_check(L);
    const char *path = vmctl_check_text(L, 2);
    if (!path)
        return vmctl_text_fail(L, "open");
    int flags = open_flags(L, 3);
    mode_t mode = (mode_t)luaL_optinteger(L, 4, 0644);
    int err = vmctl_root_openat(r, path, flags, mode, vmctl_file_new(L, path));
    if (err)
        return root_result(L, err, "open", path);
    vmctl_file_judge(L, -1);
    return 1;
}

/* Opens an fd that only names the file at a path (O_PATH). */
static int root_name(const struct vmctl_root *r, const char *path, bool last_link, int *fd)
{
    return vmctl_root_openat(r, path, O_PATH | (last_link ? O_NOFOLLOW : 0), 0, fd);
}

/* root:stat(path, [do not follow a last link]) -> as core.fs.stat */
static int l_root_stat(lua_State *L)
{
    const struct vmctl_root *r = root_check(L);
    const char *path = vmctl_check_text(L, 2);
    if (!path)
        return vmctl_text_fail(L, "stat");
    struct stat st;
    int fd, err = root_name(r, path, lua_toboolean(L, 3), &fd);
    if (!err) {
        err = fstat(fd, &st) < 0 ? -errno : 0;
        close(fd);
    }
    if (err)
        return root_result(L, err, lua_toboolean(L, 3) ? "lstat" : "stat", path);
    vmctl_fs_push_stat(L, &st);
    return 1;
}

static const char *entry_type(DIR *dir, const struct dirent *entry)
{
    struct stat st;
    if (entry->d_type != DT_UNKNOWN)
        return vmctl_fs_type((mode_t)DTTOIF(entry->d_type));
    return fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? "other" : vmctl_fs_type(st.st_mode);
}

/* root:list(path) -> names, types: two arrays without "." and ".." */
static int l_root_list(lua_State *L)
{
    const struct vmctl_root *r = root_check(L);
    const char *path = vmctl_check_text(L, 2);
    if (!path)
        return vmctl_text_fail(L, "list");
    int fd, err = vmctl_root_openat(r, path, O_RDONLY | O_DIRECTORY, 0, &fd);
    if (err)
        return root_result(L, err, "list", path);
    DIR *dir = fdopendir(fd);
    if (!dir) {
        err = -errno;
        close(fd);
        return root_result(L, err, "list", path);
    }
    lua_newtable(L);
    lua_newtable(L);
    lua_Integer n = 0;
    errno = 0;
    for (const struct dirent *entry; (entry = readdir(dir)); errno = 0) { /* pushing a name raises only for lack of memory */
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        lua_pushstring(L, entry->d_name);
        lua_rawseti(L, -3, ++n);
        lua_pushstring(L, entry_type(dir, entry));
        lua_rawseti(L, -2, n);
    }
    err = -errno; /* 0 at the end of a folder */
    closedir(dir);
    return err ? root_result(L, err, "list", path) : 2;
}

static int made_folder(int at, const char *name, mode_t mode)
{
    if (mkdirat(at, name, mode) < 0)
        return -errno;
    return fchmodat(at, name, mode, 0) < 0 ? -errno : 0; /* no umask */
}

/* root:mkdir(path, [mode]) -> true */
static int l_root_mkdir(lua_State *L)
{
    const struct vmctl_root *r = root_check(L);
    const char *path = vmctl_check_text(L, 2);
    if (!path)
        return vmctl_text_fail(L, "mkdir");
    char name[NAME_MAX + 1];
    int at, err = vmctl_root_parent(r, path, name, &at);
    if (!err) {
        err = made_folder(at, name, (mode_t)luaL_optinteger(L, 3, 0755) & 07777);
        close(at);
    }
    return root_result(L, err, "mkdir", path);
}

/* root:remove(path) -> true: a file, a link or an empty folder */
static int l_root_remove(lua_State *L)
{
    const struct vmctl_root *r = root_check(L);
    const char *path = vmctl_check_text(L, 2);
    if (!path)
        return vmctl_text_fail(L, "remove");
    char name[NAME_MAX + 1];
    int at, err = vmctl_root_parent(r, path, name, &at);
    if (!err) {
        if (unlinkat(at, name, 0) < 0) {
            err = -errno;
            if ((err == -EISDIR || err == -EPERM) && unlinkat(at, name, AT_REMOVEDIR) == 0)
                err = 0;
            else if ((err == -EISDIR || err == -EPERM) && errno != ENOTDIR)
                err = -errno;
        }
        close(at);
    }
    return root_result(L, err, "remove", path);
}

static int l_root_remove_all(lua_State *L)
{
    const struct vmctl_root *r = root_check(L);
    const char *path = vmctl_check_text(L, 2);
    if (!path)
        return vmctl_text_fail(L, "remove");
    return root_result(L, vmctl_root_remove_all(r, path), "remove", path);
}

/* True if the paths show that two names are in one folder. Paths that end in ".", ".." or a slash do not. */
static bool same_folder(const char *a, const char *b)
{
    const char *end_a = strrchr(a, '/'), *end_b = strrchr(b, '/');
    return end_a && end_b && end_a - a == end_b - b && memcmp(a, b, (size_t)(end_a - a)) == 0 && end_a[1] && end_b[1] &&
           strcmp(end_b, "/.") != 0 && strcmp(end_b, "/..") != 0;
}

/* root:rename(from, to) -> true */
static int l_root_rename(lua_State *L)
{
    const struct vmctl_root *r = root_check(L);
    const char *from = vmctl_check_text(L, 2), *to = vmctl_check_text(L, 3);
    if (!from || !to)
        return vmctl_text_fail(L, "rename");
    char name[2][NAME_MAX + 1];
    bool one = same_folder(from, to);
    int at[2] = { -1, -1 }, err = vmctl_root_parent(r, from, name[0], &at[0]);
    if (!err && !one)
        err = vmctl_root_parent(r, to, name[1], &at[1]);
    if (!err && renameat(at[0], name[0], at[one ? 0 : 1], one ? strrchr(to, '/') + 1 : name[1]) < 0)
        err = -errno;
    for (int i = 0; i < 2; i++)
        if (at[i] >= 0)
            close(at[i]);
    return root_result(L, err, "rename", from);
}

/* root:symlink(target, path) -> true */
static int l_root_symlink(lua_State *L)
{
    const struct vmctl_root *r = root_check(L);
    const char *target = vmctl_check_text(L, 2), *path = vmctl_check_text(L, 3);
    if (!target || !path)
        return vmctl_text_fail(L, "symlink");
    char name[NAME_MAX + 1];
    int at, err = vmctl_root_parent(r, path, name, &at);
    if (!err) {
        err = symlinkat(target, at, name) < 0 ? -errno : 0;
        close(at);
    }
    return root_result(L, err, "symlink", path);
}

/* root:link(from, to) -> true: a second name of a file; a last link is not followed */
static int l_root_link(lua_State *L)
{
    const struct vmctl_root *r = root_check(L);
    const char *from = vmctl_check_text(L, 2), *to = vmctl_check_text(L, 3);
    if (!from || !to)
        return vmctl_text_fail(L, "link");
    char name[2][NAME_MAX + 1];
    int at[2] = { -1, -1 }, err = vmctl_root_parent(r, from, name[0], &at[0]);
    if (!err)
        err = vmctl_root_parent(r, to, name[1], &at[1]);
    if (!err && linkat(at[0], name[0], at[1], name[1], 0) < 0)
        err = -errno;
    for (int i = 0; i < 2; i++)
        if (at[i] >= 0)
            close(at[i]);
    return root_result(L, err, "link", to);
}

/* root:readlink(path) -> target */
static int l_root_readlink(lua_State *L)
{
    const struct vmctl_root *r = root_check(L);
    const char *path = vmctl_check_text(L, 2);
    if (!path)
        return vmctl_text_fail(L, "readlink");
    char target[PATH_MAX];
    ssize_t n = -1;
    int fd, err = root_name(r, path, true, &fd);
    if (!err) {
        n = readlinkat(fd, "", target, sizeof target);
        err = n >= 0 ? 0 : errno == ENOENT ? -EINVAL : -errno; /* ENOENT: it is no link */
        close(fd);
    }
    if (err)
        return root_result(L, err, "readlink", path);
    lua_pushlstring(L, target, (size_t)n);
    return 1;
}

/* A path for an fd opened with O_PATH. */
static const char *fd_path(char via[32], int fd)
{
    snprintf(via, 32, "/proc/self/fd/%d", fd);
    return via;
}

/* root:chmod(path, mode) -> true */
static int l_root_chmod(lua_State *L)
{
    const struct vmctl_root *r = root_check(L);
    const char *path = vmctl_check_text(L, 2);
    if (!path)
        return vmctl_text_fail(L, "chmod");
    mode_t mode = (mode_t)luaL_checkinteger(L, 3) & 07777;
    char via[32];
    int fd, err = root_name(r, path, false, &fd);
    if (!err) {
        err = chmod(fd_path(via, fd), mode) < 0 ? -errno : 0;
        close(fd);
    }
    return root_result(L, err, "chmod", path);
}

/* root:chown(path, uid, gid, [do not follow a last link]) -> true; -1 keeps the old one */
static int l_root_chown(lua_State *L)
{
    const struct vmctl_root *r = root_check(L);
    const char *path = vmctl_check_text(L, 2);
    if (!path)
        return vmctl_text_fail(L, "chown");
    lua_Integer uid = luaL_checkinteger(L, 3), gid = luaL_checkinteger(L, 4);
    if (!vmctl_fs_is_owner(uid) || !vmctl_fs_is_owner(gid))
        return root_result(L, -EOVERFLOW, "chown", path);
    int fd, err = root_name(r, path, lua_toboolean(L, 5), &fd);
    if (!err) {
        err = fchownat(fd, "", (uid_t)uid, (gid_t)gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
        close(fd);
    }
    return root_result(L, err, "chown", path);
}

/* root:chtimes(path, atime, mtime, [nanoseconds of mtime], [do not follow a last link]) -> true; whole seconds */
static int l_root_chtimes(lua_State *L)
{
    const struct vmctl_root *r = root_check(L);
    const char *path = vmctl_check_text(L, 2);
    if (!path)
        return vmctl_text_fail(L, "chtimes");
    lua_Integer nanoseconds = luaL_optinteger(L, 5, 0);
    luaL_argcheck(L, nanoseconds >= 0 && nanoseconds < 1000000000, 5, "a part of a second expected");
    const struct timespec times[2] = { { .tv_sec = luaL_checkinteger(L, 3) },
                                       { .tv_sec = luaL_checkinteger(L, 4), .tv_nsec = (long)nanoseconds } };
    char name[NAME_MAX + 1], via[32];
    bool last_link = lua_toboolean(L, 6);
    int fd, err = last_link ? vmctl_root_parent(r, path, name, &fd) : root_name(r, path, false, &fd);
    if (!err) {
        int rc = last_link ? utimensat(fd, name, times, AT_SYMLINK_NOFOLLOW) : utimensat(AT_FDCWD, fd_path(via, fd), times, 0);
        err = rc < 0 ? -errno : 0;
        close(fd);
    }
    return root_result(L, err, "chtimes", path);
}

/* root:real(path) -> its path on this machine, as the kernel saw it a moment ago */
static int l_root_real(lua_State *L)
{
    const struct vmctl_root *r = root_check(L);
    const char *path = vmctl_check_text(L, 2);
    if (!path)
        return vmctl_text_fail(L, "resolve");
    char via[32], real[PATH_MAX];
    ssize_t n = -1;
    int fd, err = root_name(r, path, false, &fd);
    if (!err) {
        n = readlink(fd_path(via, fd), real, sizeof real);
        err = n < 0 ? -errno : 0;
        close(fd);
    }
    if (err)
        return root_result(L, err, "resolve", path);
    lua_pushlstring(L, real, (size_t)n);
    return 1;
}

static int l_root_close(lua_State *L)
{
    struct vmctl_root *r = root_check(L);
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
    return 0;
}

void vmctl_fs_root_register(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "open", l_root_open },         { "stat", l_root_stat },         { "list", l_root_list },
        { "mkdir", l_root_mkdir },       { "remove", l_root_remove },     { "remove_all", l_root_remove_all },
        { "rename", l_root_rename },     { "symlink", l_root_symlink },   { "readlink", l_root_readlink },
        { "link", l_root_link },         { "xattrs", vmctl_l_root_xattrs }, { "set_xattr", vmctl_l_root_set_xattr },
        { "chmod", l_root_chmod },       { "chown", l_root_chown },       { "chtimes", l_root_chtimes },
        { "real", l_root_real },         { "near", l_root_near },         { "close", l_root_close },
        { NULL, NULL }
    };
    static const luaL_Reg meta[] = { { "__gc", l_root_close }, { "__close", l_root_close }, { NULL, NULL } };
    static const luaL_Reg functions[] = { { "root", l_root }, { NULL, NULL } };
    vmctl_class(L, VMCTL_ROOT, methods, meta);
    luaL_setfuncs(L, functions, 0);
}
