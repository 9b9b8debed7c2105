/* The class vmctl.File: a file of a core.fs.root. These calls block as all file I/O does; a FIFO or a device that has nothing
 * is EAGAIN. */
#include "io/fs_private.h"
#include "io/fs_replace.h"
#include "io/fs_root.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/fs.h"
#include "lua/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct lua_file {
    int fd;
    bool quick;
};

void vmctl_file_judge(lua_State *L, int at)
{
    struct lua_file *f = luaL_checkudata(L, at, VMCTL_FILE);
    struct stat st;
    f->quick = fstat(f->fd, &st) == 0 && S_ISREG(st.st_mode) && vmctl_fs_is_local(f->fd);
}

int *vmctl_file_descriptor(lua_State *L, int at)
{
    struct lua_file *f = luaL_checkudata(L, at, VMCTL_FILE);
    return &f->fd;
}

int vmctl_file_quick(lua_State *L, int at)
{
    const struct lua_file *f = luaL_checkudata(L, at, VMCTL_FILE);
    return f->quick ? f->fd : -1;
}

/* The descriptor inside a vmctl.File or a vmctl.Root. */
static int *fs_descriptor(lua_State *L, int at)
{
    struct lua_file *f = luaL_testudata(L, at, VMCTL_FILE);
    struct vmctl_root *r = f ? NULL : luaL_testudata(L, at, VMCTL_ROOT);
    return f ? &f->fd : r ? &r->fd : NULL;
}

const char *vmctl_fs_name(lua_State *L, int at)
{
    if (!luaL_testudata(L, at, VMCTL_FILE))
        return NULL;
    lua_getiuservalue(L, at, 1);
    const char *name = lua_tostring(L, -1);
    lua_pop(L, 1);
    return name;
}

void vmctl_fs_release(lua_State *L, int at)
{
    int *fd = fs_descriptor(L, at);
    if (fd && *fd >= 0)
        close(*fd);
    if (fd)
        *fd = -1;
}

int vmctl_fs_copy(lua_State *from, int at, lua_State *to, bool move)
{
    int *fd = fs_descriptor(from, at), *out;
    if (!fd)
        return -EINVAL;
    const char *name = vmctl_fs_name(from, at);
    if (name) {
        out = vmctl_file_new(to, name);
        ((struct lua_file *)lua_touserdata(to, -1))->quick = ((struct lua_file *)lua_touserdata(from, at))->quick;
    } else {
        struct vmctl_root *r = lua_newuserdatauv(to, sizeof *r, 0);
        *r = *(const struct vmctl_root *)lua_touserdata(from, at);
        out = &r->fd;
        *out = -1;
        luaL_setmetatable(to, VMCTL_ROOT);
    }
    if (*fd < 0) /* a copy of a closed file is closed */
        return 0;
    *out = move ? *fd : fcntl(*fd, F_DUPFD_CLOEXEC, 0);
    if (move)
        *fd = -1;
    return *out < 0 ? -errno : 0;
}

enum { READ_MOST = 64 << 20 };

static struct lua_file *file_check(lua_State *L)
{
    return luaL_checkudata(L, 1, VMCTL_FILE);
}

/* EBADF of an open file means that it was not opened for that access. */
static int file_fail(lua_State *L, int err, const char *what)
{
    bool closed = file_check(L)->fd < 0;
    lua_getiuservalue(L, 1, 1);
    return vmctl_fail(L, closed ? VMCTL_ECLOSED : err, "%s %s", what, lua_tostring(L, -1));
}

static int file_result(lua_State *L, int rc, const char *what)
{
    if (rc < 0)
        return file_fail(L, -errno, what);
    lua_pushboolean(L, 1);
    return 1;
}

int *vmctl_file_new(lua_State *L, const char *name)
{
    struct lua_file *f = lua_newuserdatauv(L, sizeof *f, 1);
    *f = (struct lua_file){ .fd = -1 };
    luaL_setmetatable(L, VMCTL_FILE);
    lua_pushstring(L, name);
    lua_setiuservalue(L, -2, 1);
    return &f->fd;
}

/* fs.private(path, [empty]) -> file for writing, size: io/fs_private.h says which */
static int l_private(lua_State *L)
{
    const char *path = vmctl_check_text(L, 1);
    if (!path)
        return vmctl_text_fail(L, "open");
    bool empty = lua_toboolean(L, 2);
    struct stat st;
    int err = vmctl_private_open(path, empty, vmctl_file_new(L, path), &st);
    if (err)
        return vmctl_fail(L, err, "open %s", path);
    lua_pushinteger(L, empty ? 0 : (lua_Integer)st.st_size);
    return 2;
}

/* fs.open(path, [write]) -> file for reading, or for reading and writing */
static int l_open(lua_State *L)
{
    const char *path = vmctl_check_text(L, 1);
    if (!path)
        return vmctl_text_fail(L, "open");
    int how = lua_toboolean(L, 2) ? O_RDWR : O_RDONLY;
    int *out = vmctl_file_new(L, path);
    *out = open(path, how | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a FIFO must not hold us up */
    return *out < 0 ? vmctl_fail(L, -errno, "open %s", path) : 1;
}

/* fs.unnamed([folder]) -> file for reading and writing, as vmctl_unnamed_open says */
static int l_unnamed(lua_State *L)
{
    const char *folder = vmctl_opt_text(L, 1, NULL);
    if (!folder && !lua_isnoneornil(L, 1))
        return vmctl_text_fail(L, "make a file without a name in");
    int err = vmctl_unnamed_open(folder, vmctl_file_new(L, "a file without a name"));
    return err ? vmctl_fail(L, err, "make a file without a name in %s", folder ? folder : "memory") : 1;
}

/* Reads up to `n` bytes into the buffer `b`, behind `head` bytes for the caller to fill. */
static int file_read(lua_State *L, size_t head, size_t n, off_t at, ssize_t *got, char **out, luaL_Buffer *b)
{
    const struct lua_file *f = file_check(L);
    lua_settop(L, 1);
    *out = luaL_buffinitsize(L, b, head + n);
    do
        *got = at < 0 ? read(f->fd, *out + head, n) : pread(f->fd, *out + head, n, at);
    while (*got < 0 && errno == EINTR);
    return *got < 0 ? -errno : 0;
}

static size_t file_amount(lua_State *L)
{
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_argcheck(L, n >= 0 && n <= READ_MOST, 2, "a number of bytes expected");
    return (size_t)n;
}

/* f:read(n, [at]) -> up to n bytes from its position, or from `at`, which leaves the position alone; "" at the end */
static int l_file_read(lua_State *L)
{
    luaL_Buffer b;
    char *out;
    ssize_t got;
    size_t n = file_amount(L);
    int err = file_read(L, 0, n, luaL_optinteger(L, 3, -1), &got, &out, &b);
    luaL_pushresultsize(&b, err ? 0 : (size_t)got);
    return err ? file_fail(L, err, "read") : 1;
}

/* f:read_counted(n) -> as read, behind a zero byte and the number of the bytes (32 bits, big endian): a frame's payload without
 * another copy */
static int l_file_read_counted(lua_State *L)
{
    enum { HEAD = 5 };
    luaL_Buffer b;
    char *out;
    ssize_t got;
    int err = file_read(L, HEAD, file_amount(L), -1, &got, &out, &b);
    if (!err) {
        out[0] = 0;
        for (int i = 1; i < HEAD; i++)
            out[i] = (char)(uint8_t)((size_t)got >> (8 * (HEAD - 1 - i)));
    }
    luaL_pushresultsize(&b, err ? 0 : HEAD + (size_t)got);
    return err ? file_fail(L, err, "read") : 1;
}

/* f:write(bytes) -> true: all of them */
static int l_file_write(lua_State *L)
{
    const struct lua_file *f = file_check(L);
    size_t len;
    const char *bytes = luaL_checklstring(L, 2, &len);
    int err = f->fd < 0 ? -EBADF : vmctl_fs_write_all(f->fd, bytes, len);
    if (err)
        return file_fail(L, err, "write");
    lua_pushboolean(L, 1);
    return 1;
}

/* f:seek(offset, whence) -> position; whence 0 start, 1 here, 2 end */
static int l_file_seek(lua_State *L)
{
    const struct lua_file *f = file_check(L);
    lua_Integer offset = luaL_checkinteger(L, 2), whence = luaL_checkinteger(L, 3);
    if (whence < 0 || whence > 2)
        return file_fail(L, -EINVAL, "seek");
    off_t at = lseek(f->fd, offset, (int)whence);
    if (at < 0)
        return file_fail(L, -errno, "seek");
    lua_pushinteger(L, at);
    return 1;
}

/* f:extent(at) -> from, to: the next bytes at or behind `at` that are no hole; 0 when only a hole follows, or nothing. Where the
 * file system knows no holes, all is one extent. The position is then another one. */
static int l_file_extent(lua_State *L)
{
    const struct lua_file *f = file_check(L);
    lua_Integer at = luaL_checkinteger(L, 2);
    off_t from = lseek(f->fd, at, SEEK_DATA);
    if (from < 0 && errno == ENXIO) {
        lua_pushinteger(L, 0);
        return 1;
    }
    off_t to = from < 0 ? -1 : lseek(f->fd, from, SEEK_HOLE);
    if (to < 0)
        return file_fail(L, -errno, "seek");
    lua_pushinteger(L, from);
    lua_pushinteger(L, to);
    return 2;
}

/* f:lock([exclusive]) -> true, or EBUSY at once: the lock of flock(2), which a process that gets the descriptor has as well */
static int l_file_lock(lua_State *L)
{
    int rc = flock(file_check(L)->fd, (lua_toboolean(L, 2) ? LOCK_EX : LOCK_SH) | LOCK_NB);
    return rc < 0 && errno == EWOULDBLOCK ? file_fail(L, -EBUSY, "lock") : file_result(L, rc, "lock");
}

static int l_file_sync(lua_State *L)
{
    return file_result(L, fsync(file_check(L)->fd), "sync");
}

static int l_file_truncate(lua_State *L)
{
    const struct lua_file *f = file_check(L);
    return file_result(L, ftruncate(f->fd, luaL_checkinteger(L, 2)), "truncate");
}

/* f:chmod(mode) -> true: exactly, no umask */
static int l_file_chmod(lua_State *L)
{
    const struct lua_file *f = file_check(L);
    return file_result(L, fchmod(f->fd, (mode_t)luaL_checkinteger(L, 2) & 07777), "chmod");
}

/* f:chown(uid, gid) -> true; -1 keeps the old one */
static int l_file_chown(lua_State *L)
{
    const struct lua_file *f = file_check(L);
    lua_Integer uid = luaL_checkinteger(L, 2), gid = luaL_checkinteger(L, 3);
    if (!vmctl_fs_is_owner(uid) || !vmctl_fs_is_owner(gid))
        return file_fail(L, -EOVERFLOW, "chown");
    return file_result(L, fchown(f->fd, (uid_t)uid, (gid_t)gid), "chown");
}

/* f:chtimes(atime, mtime, [nanoseconds of mtime]) -> true; whole seconds */
static int l_file_chtimes(lua_State *L)
{
    const struct lua_file *f = file_check(L);
    lua_Integer nanoseconds = luaL_optinteger(L, 4, 0);
    luaL_argcheck(L, nanoseconds >= 0 && nanoseconds < 1000000000, 4, "a part of a second expected");
    const struct timespec times[2] = { { .tv_sec = luaL_checkinteger(L, 2) },
                                       { .tv_sec = luaL_checkinteger(L, 3), .tv_nsec = (long)nanoseconds } };
    return file_result(L, futimens(f->fd, times), "chtimes");
}

static int l_file_stat(lua_State *L)
{
    const struct lua_file *f = file_check(L);
    struct stat st;
    if (fstat(f->fd, &st) < 0)
        return file_fail(L, -errno, "stat");
    vmctl_fs_push_stat(L, &st);
    return 1;
}

/* f:fileno() -> the descriptor, which stays the file's */
static int l_file_fileno(lua_State *L)
{
    const struct lua_file *f = file_check(L);
    if (f->fd < 0)
        return file_fail(L, -EBADF, "fileno of");
    lua_pushinteger(L, f->fd);
    return 1;
}

/* f:reopen("r" | "w" | "rw") -> the same file, opened once more, from its beginning */
static int l_file_reopen(lua_State *L)
{
    static const char *const names[] = { "r", "w", "rw", NULL };
    static const int flags[] = { O_RDONLY, O_WRONLY, O_RDWR };
    const struct lua_file *f = file_check(L);
    int how = luaL_checkoption(L, 2, NULL, names);
    char path[64];
    if (f->fd < 0)
        return file_fail(L, -EBADF, "reopen");
    snprintf(path, sizeof path, "/proc/self/fd/%d", f->fd);
    lua_getiuservalue(L, 1, 1);
    int *out = vmctl_file_new(L, lua_tostring(L, -1));
    *out = open(path, flags[how] | O_CLOEXEC);
    return *out < 0 ? file_fail(L, -errno, "reopen") : 1;
}

/* Idempotent; a failure is one of writing back (a full disk on a network). */
static int l_file_close(lua_State *L)
{
    struct lua_file *f = file_check(L);
    int err = f->fd >= 0 && close(f->fd) < 0 ? -errno : 0;
    f->fd = -1;
    if (err) {
        lua_getiuservalue(L, 1, 1);
        return vmctl_fail(L, err, "close %s", lua_tostring(L, -1));
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* f:quick() -> true for a regular file of a local file system, which needs no worker */
static int l_file_quick(lua_State *L)
{
    lua_pushboolean(L, file_check(L)->quick);
    return 1;
}

void vmctl_fs_file_register(lua_State *L)
{
    static const luaL_Reg functions[] = { { "open", l_open }, { "private", l_private }, { "unnamed", l_unnamed }, { NULL, NULL } };
    static const luaL_Reg methods[] = { { "read", l_file_read },   { "write", l_file_write },       { "seek", l_file_seek },
                                        { "read_counted", l_file_read_counted },
                                        { "sync", l_file_sync },   { "truncate", l_file_truncate }, { "stat", l_file_stat },
                                        { "close", l_file_close }, { "chmod", l_file_chmod },       { "extent", l_file_extent },
                                        { "chown", l_file_chown }, { "chtimes", l_file_chtimes },
                                        { "fileno", l_file_fileno }, { "quick", l_file_quick },
                                        { "reopen", l_file_reopen }, { "lock", l_file_lock }, { NULL, NULL } };
    static const luaL_Reg meta[] = { { "__gc", l_file_close }, { "__close", l_file_close }, { NULL, NULL } };
    vmctl_class(L, VMCTL_FILE, methods, meta);
    luaL_setfuncs(L, functions, 0);
}
