/* core.fs: file systems as a whole, and folders that are watched. */
#include "io/apart.h"
#include "io/spawn.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/fs.h"
#include "lua/state.h"
#include "lua/stream.h"
#include "lua/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

static int system_result(lua_State *L, int err, const char *what, const char *path)
{
    if (err)
        return vmctl_fail(L, err, "%s %s", what, path);
    lua_pushboolean(L, 1);
    return 1;
}

/* fs.real(path) -> the path without links, "." and ".."; it must exist */
static int l_real(lua_State *L)
{
    char real[PATH_MAX];
    const char *path = vmctl_check_text(L, 1);
    if (!path)
        return vmctl_text_fail(L, "resolve");
    if (!realpath(path, real))
        return vmctl_fail(L, -errno, "resolve %s", path);
    lua_pushstring(L, real);
    return 1;
}

/* fs.filesystem(path) -> "tmpfs", "ramfs" or "other" */
static int l_filesystem(lua_State *L)
{
    const char *path = vmctl_check_text(L, 1);
    if (!path)
        return vmctl_text_fail(L, "look at");
    struct statfs fs;
    if (statfs(path, &fs) < 0)
        return vmctl_fail(L, -errno, "look at %s", path);
    uint32_t magic = (uint32_t)fs.f_type;
    lua_pushstring(L, magic == TMPFS_MAGIC ? "tmpfs" : magic == RAMFS_MAGIC ? "ramfs" : "other");
    return 1;
}

static unsigned long mount_flag(const char *word, size_t len)
{
    static const struct {
        const char *name;
        unsigned long bit;
    } known[] = { { "ro", MS_RDONLY }, { "nosuid", MS_NOSUID }, { "nodev", MS_NODEV }, { "noexec", MS_NOEXEC } };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].name) == len && memcmp(known[i].name, word, len) == 0)
            return known[i].bit;
    return 0;
}

/* "ro,nosuid,nodev" -> the bits; a word that is not known raises */
static unsigned long check_mount_flags(lua_State *L, int arg)
{
    unsigned long flags = 0;
    const char *word = vmctl_opt_text(L, arg, "");
    luaL_argcheck(L, word, arg, "unknown mount flag");
    for (; *word; word += *word == ',') {
        size_t len = strcspn(word, ",");
        unsigned long flag = mount_flag(word, len);
        luaL_argcheck(L, flag, arg, "unknown mount flag");
        flags |= flag;
        word += len;
    }
    return flags;
}

struct mounting {
    const char *source, *target, *type, *data;
    unsigned long flags;
};

/* Mounts onto a folder whose path was checked: a link that was put into that path since is not followed. */
static int system_mount(const void *arg)
{
    const struct mounting *m = arg;
    char via[32], path[PATH_MAX];
    int fd = open(m->target, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int err = 0;
    snprintf(via, sizeof via, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(via, path, sizeof path);
    if (n < 0)
        err = -errno;
    else if ((size_t)n != strlen(m->target) || memcmp(path, m->target, (size_t)n) != 0)
        err = -ELOOP;
    else if (mount(m->source, via, m->type, m->flags, m->data) < 0)
        err = -errno;
    close(fd);
    return err;
}

static int system_unmount(const void *arg)
{
    const struct mounting *m = arg;
    return umount2(m->target, (int)m->flags) < 0 ? -errno : 0;
}

/* fs.mount(source, target, type, [flags], [data]): the target is a path without links, as fs.real gives it. A child does it within ten
 * seconds, else ETIMEDOUT */
static int l_mount(lua_State *L)
{
    struct mounting m = { .source = vmctl_check_text(L, 1), .target = vmctl_check_text(L, 2), .type = vmctl_check_text(L, 3),
                          .flags = check_mount_flags(L, 4), .data = vmctl_opt_text(L, 5, NULL) };
    if (!m.source || !m.target || !m.type || (!m.data && !lua_isnoneornil(L, 5)))
        return vmctl_text_fail(L, "mount");
    return system_result(L, vmctl_apart(system_mount, &m, VMCTL_APART_LIMIT), "mount", m.target);
}

/* fs.unmount(target, [lazy]): lazy: hidden at once, unmounted when it is no longer used. A child does it as well */
static int l_unmount(lua_State *L)
{
    struct mounting m = { .target = vmctl_check_text(L, 1),
                          .flags = UMOUNT_NOFOLLOW | (lua_toboolean(L, 2) ? (unsigned long)MNT_DETACH : 0) };
    if (!m.target)
        return vmctl_text_fail(L, "unmount");
    return system_result(L, vmctl_apart(system_unmount, &m, VMCTL_APART_LIMIT), "unmount", m.target);
}

/* fs.resize_terminal(path, rows, cols): changes nothing else of the terminal */
static int l_resize_terminal(lua_State *L)
{
    const char *path = vmctl_check_text(L, 1);
    if (!path)
        return vmctl_text_fail(L, "open");
    lua_Integer rows = luaL_checkinteger(L, 2), cols = luaL_checkinteger(L, 3);
    luaL_argcheck(L, rows > 0 && rows <= USHRT_MAX, 2, "a number of rows expected");
    luaL_argcheck(L, cols > 0 && cols <= USHRT_MAX, 3, "a number of columns expected");
    int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return vmctl_fail(L, -errno, "open %s", path);
    int err = vmctl_spawn_resize(fd, (unsigned)rows, (unsigned)cols);
    close(fd);
    return system_result(L, err, "resize", path);
}

static int l_sync(lua_State *L)
{
    (void)L;
    sync();
    return 0;
}

/* fs.watch(folder) -> stream: bytes can be read once something in the folder has changed; their content has no meaning */
static int l_watch(lua_State *L)
{
    const uint32_t mask = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE_SELF |
                          IN_MOVE_SELF | IN_ONLYDIR;
    struct vmctl_lua *st = vmctl_lua_get(L);
    const char *path = vmctl_check_text(L, 1);
    if (!path)
        return vmctl_text_fail(L, "watch");
    struct vmctl_stream *s = vmctl_stream_new(L, st);
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0 || inotify_add_watch(fd, path, mask) < 0) {
        int err = -errno;
        if (fd >= 0)
            close(fd);
        return vmctl_fail(L, err, "watch %s", path);
    }
    vmctl_stream_open(s, fd, fd, VMCTL_STREAM_PIPE);
    vmctl_stream_label(s, "watch");
    return 1;
}

/* fs.reseed(bytes): makes the kernel's random numbers depend on these bytes as well, at once. For a guest that is one of several
 * copies. */
static int l_reseed(lua_State *L)
{
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len), *path = "/dev/urandom";
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return vmctl_fail(L, -errno, "reseed %s", path);
    int err = write(fd, bytes, len) == (ssize_t)len && ioctl(fd, RNDRESEEDCRNG) == 0 ? 0 : -errno;
    close(fd);
    return system_result(L, err, "reseed", path);
}

void vmctl_fs_system_register(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "real", l_real },       { "filesystem", l_filesystem }, { "mount", l_mount },
        { "unmount", l_unmount }, { "sync", l_sync },             { "watch", l_watch },
        { "resize_terminal", l_resize_terminal }, { "reseed", l_reseed }, { NULL, NULL }
    };
    luaL_setfuncs(L, functions, 0);
}
