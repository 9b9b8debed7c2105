/* The class vmctl.RootfsBuild: a worker makes the image of a root file system, a step at a time. A task starts a step and waits for
 * its end, or for a while only, to report progress. */
#include "io/rootfs.h"

#include "io/workers.h"
#include "lua/check.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/park.h"
#include "lua/text.h"
#include "wire/error.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define VMCTL_ROOTFS_BUILD "vmctl.RootfsBuild"
#define VMCTL_FILE_LOCK "vmctl.FileLock"

enum step { STEP_LAYER, STEP_DIGEST, STEP_FINISH };

/* Outlives its userdata while a worker has it. */
struct build {
    struct vmctl_job job;
    struct vmctl_waitq waiters;
    struct vmctl_rootfs rootfs;
    enum step step;
    int fd, err;                /* fd: what a step reads; its own */
    uint64_t offset, size;
    uint8_t digest[VMCTL_SHA256_SIZE];
    bool busy;                  /* a step was handed over, and its result not fetched */
    bool over;                  /* it has ended */
};

struct lua_build {
    struct build *b; /* NULL: closed */
};

static void build_close_fd(struct build *b)
{
    if (b->fd >= 0)
        close(b->fd);
    b->fd = -1;
}

static void build_free(struct vmctl_job *job)
{
    struct build *b = VMCTL_CONTAINER(job, struct build, job);
    build_close_fd(b);
    vmctl_rootfs_close(&b->rootfs);
    free(b);
}

static void on_run(struct vmctl_job *job)
{
    struct build *b = VMCTL_CONTAINER(job, struct build, job);
    switch (b->step) {
    case STEP_LAYER: b->err = vmctl_rootfs_layer(&b->rootfs, b->fd, b->offset, b->size, b->digest); break;
    case STEP_DIGEST: b->err = vmctl_rootfs_digest(&b->rootfs, b->fd, b->offset, b->size, b->digest); break;
    default: b->err = vmctl_rootfs_finish(&b->rootfs); break;
    }
    build_close_fd(b);
}

static void on_done(struct vmctl_job *job)
{
    struct build *b = VMCTL_CONTAINER(job, struct build, job);
    b->over = true;
    vmctl_wake_all(&b->waiters, 0);
}

static struct build *build_check(lua_State *L)
{
    struct lua_build *lb = luaL_checkudata(L, 1, VMCTL_ROOTFS_BUILD);
    luaL_argcheck(L, lb->b, 1, "it is closed");
    return lb->b;
}

static struct build *build_idle(lua_State *L)
{
    struct build *b = build_check(L);
    luaL_argcheck(L, !b->busy, 1, "a step is not over");
    return b;
}

/* core.rootfs_build(path, entries, bytes) -> build: makes the file, which must not exist. The limits are those of the layers' names and
 * of their files' content. */
static int l_build_new(lua_State *L)
{
    const char *path = vmctl_check_text(L, 1);
    if (!path)
        return vmctl_text_fail(L, "make");
    struct vmctl_layers_limits limits = { .entries = (uint64_t)vmctl_check_range(L, 2, 1, UINT32_MAX),
                                          .bytes = (uint64_t)vmctl_check_range(L, 3, 0, INT64_MAX) };
    struct lua_build *lb = lua_newuserdatauv(L, sizeof *lb, 0);
    lb->b = NULL;
    luaL_setmetatable(L, VMCTL_ROOTFS_BUILD);
    struct build *b = calloc(1, sizeof *b);
    if (!b)
        return vmctl_fail(L, -ENOMEM, "make %s", path);
    b->job.run = on_run;
    b->job.done = on_done;
    b->job.free = build_free;
    b->fd = -1;
    vmctl_list_init(&b->job.link);
    vmctl_waitq_init(&b->waiters);
    int err = vmctl_rootfs_open(&b->rootfs, path, &limits);
    if (err) {
        free(b);
        return vmctl_fail(L, err, "make %s", path);
    }
    lb->b = b;
    return 1;
}

static int build_start(lua_State *L, struct build *b, enum step step)
{
    b->step = step;
    b->over = false;
    b->err = 0;
    int err = vmctl_workers_submit(&vmctl_lua_get(L)->loop, &b->job);
    if (err) {
        build_close_fd(b);
        return vmctl_fail(L, err, "make an image");
    }
    b->busy = true;
    lua_pushboolean(L, 1);
    return 1;
}

/* Starts a step that reads a duplicate of the descriptor at 2: from the offset at 3 the size at 4, or all of it. */
static int build_read(lua_State *L, enum step step)
{
    struct build *b = build_idle(L);
    int fd = vmctl_check_fd(L, 2);
    bool all = lua_isnoneornil(L, 3);
    b->offset = all ? 0 : (uint64_t)vmctl_check_range(L, 3, 0, INT64_MAX);
    b->size = all ? UINT64_MAX : (uint64_t)vmctl_check_range(L, 4, 0, INT64_MAX);
    b->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (b->fd < 0)
        return vmctl_fail(L, -errno, "read a layer");
    return build_start(L, b, step);
}

/* b:layer(fd, [offset, size]) -> true: starts to read a layer, the lowest first */
static int l_build_layer(lua_State *L)
{
    return build_read(L, STEP_LAYER);
}

/* b:digest(fd, offset, size) -> true: starts to read bytes only for their digest */
static int l_build_digest(lua_State *L)
{
    luaL_checkinteger(L, 3);
    return build_read(L, STEP_DIGEST);
}

/* b:finish() -> true: starts to write the rest of the image */
static int l_build_finish(lua_State *L)
{
    return build_start(L, build_idle(L), STEP_FINISH);
}

static int build_result(lua_State *L, struct build *b)
{
    static const char digits[] = "0123456789abcdef";
    char text[2 * VMCTL_SHA256_SIZE];
    vmctl_workers_take_back(&b->job);
    vmctl_list_init(&b->job.link);
    b->busy = false;
    if (b->err && b->rootfs.layers.why[0])
        return vmctl_fail_text(L, b->err, "%s", b->rootfs.layers.why);
    if (b->err)
        return vmctl_fail(L, b->err, b->step == STEP_FINISH ? "write an image" : "read a layer");
    if (b->step == STEP_FINISH) {
        lua_pushinteger(L, (lua_Integer)b->rootfs.size);
        return 1;
    }
    for (size_t i = 0; i < VMCTL_SHA256_SIZE; i++) {
        text[2 * i] = digits[b->digest[i] >> 4];
        text[2 * i + 1] = digits[b->digest[i] & 15];
    }
    lua_pushlstring(L, text, sizeof text);
    return 1;
}

/* b:wait([timeout]) -> the digest of the bytes that were read, 64 digits, or the image's size; ETIMEDOUT: the step goes on */
static int build_wait(lua_State *L, int status, lua_KContext ctx)
{
    struct lua_build *lb = luaL_checkudata(L, 1, VMCTL_ROOTFS_BUILD);
    struct vmctl_lua *st = vmctl_lua_get(L);
    if (!lb->b)
        return vmctl_fail(L, VMCTL_ECLOSED, "make an image");
    luaL_argcheck(L, lb->b->busy, 1, "no step was started");
    if (lb->b->over)
        return build_result(L, lb->b);
    int why = status == LUA_YIELD ? vmctl_why(st, L) : 0;
    if (why)
        return vmctl_fail(L, why, "make an image");
    if (status == LUA_OK)
        vmctl_set_deadline(st, L, 2, INFINITY);
    return vmctl_park(st, L, &lb->b->waiters, 2, status, ctx, build_wait);
}

static int l_build_wait(lua_State *L)
{
    build_check(L);
    lua_settop(L, 2);
    return build_wait(L, LUA_OK, 0);
}

/* b:bytes() -> how many bytes of layers were read */
static int l_build_bytes(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)atomic_load(&build_check(L)->rootfs.bytes));
    return 1;
}

static const char *type_name(uint32_t mode)
{
    return S_ISREG(mode) ? "file" : S_ISDIR(mode) ? "directory" : "other";
}

/* b:find(path) -> "file", mode, e_machine of its ELF header or 0; or nil. Links are followed */
static int l_build_find(lua_State *L)
{
    struct build *b = build_idle(L);
    const char *path = vmctl_check_text(L, 2);
    const struct vmctl_inode *inode = path ? vmctl_layers_find(&b->rootfs.layers, path) : NULL;
    if (!inode) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushstring(L, type_name(inode->mode));
    lua_pushinteger(L, inode->mode & 07777);
    lua_pushinteger(L, inode->machine);
    return 3;
}

/* b:top(most) -> names, has_program: those in the root, folders with a "/" behind; whether there is an ELF file anywhere */
static int l_build_top(lua_State *L)
{
    struct build *b = build_idle(L);
    lua_Integer most = vmctl_check_range(L, 2, 0, INT_MAX), i = 0;
    const struct vmctl_node *root = b->rootfs.layers.root;
    lua_settop(L, 2);
    lua_newtable(L);
    for (const struct vmctl_node *n = root ? root->inode->folder->first : NULL; n && i < most; n = n->next) {
        lua_pushfstring(L, "%s%s", n->name, S_ISDIR(n->inode->mode) ? "/" : "");
        lua_rawseti(L, 3, ++i);
    }
    lua_pushboolean(L, vmctl_layers_has_program(&b->rootfs.layers));
    return 2;
}

/* b:close(): a running step ends soon. The file stays as it is */
static int l_build_close(lua_State *L)
{
    struct lua_build *lb = luaL_checkudata(L, 1, VMCTL_ROOTFS_BUILD);
    struct build *b = lb->b;
    lb->b = NULL;
    if (!b)
        return 0;
    vmctl_wake_all(&b->waiters, VMCTL_ECLOSED);
    atomic_store(&b->rootfs.stop, true);
    if (b->busy)
        vmctl_workers_leave(&b->job);
    else
        build_free(&b->job);
    return 0;
}

/* A lock that several processes can have a file for. */

struct file_lock {
    int fd;
};

/* True if the file is still at its path: after its last owner has removed it, its lock means nothing. */
static bool lock_is_there(int fd, const char *path)
{
    struct stat own, named;
    return fstat(fd, &own) == 0 && lstat(path, &named) == 0 && own.st_dev == named.st_dev && own.st_ino == named.st_ino;
}

/* core.lock_file(path) -> lock; EBUSY: another process, or another lock of this one, has it, or had it a moment ago. The file is made if
 * it is missing; the owner of the lock may remove it. */
static int l_lock_file(lua_State *L)
{
    const char *path = vmctl_check_text(L, 1);
    if (!path)
        return vmctl_text_fail(L, "lock");
    struct file_lock *lock = lua_newuserdatauv(L, sizeof *lock, 0);
    lock->fd = -1;
    luaL_setmetatable(L, VMCTL_FILE_LOCK);
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return vmctl_fail(L, -errno, "lock %s", path);
    int err = flock(fd, LOCK_EX | LOCK_NB) == 0 ? lock_is_there(fd, path) ? 0 : -EBUSY : errno == EWOULDBLOCK ? -EBUSY : -errno;
    if (err) {
        close(fd);
        return vmctl_fail(L, err, "lock %s", path);
    }
    lock->fd = fd;
    return 1;
}

static int l_lock_close(lua_State *L)
{
    struct file_lock *lock = luaL_checkudata(L, 1, VMCTL_FILE_LOCK);
    if (lock->fd >= 0)
        close(lock->fd);
    lock->fd = -1;
    return 0;
}

static void lock_register(lua_State *L)
{
    static const luaL_Reg methods[] = { { "close", l_lock_close }, { NULL, NULL } };
    static const luaL_Reg meta[] = { { "__gc", l_lock_close }, { "__close", l_lock_close }, { NULL, NULL } };
    static const luaL_Reg functions[] = { { "lock_file", l_lock_file }, { NULL, NULL } };
    vmctl_class(L, VMCTL_FILE_LOCK, methods, meta);
    luaL_setfuncs(L, functions, 0);
}

void vmctl_rootfs_register(lua_State *L)
{
    static const luaL_Reg methods[] = { { "layer", l_build_layer }, { "digest", l_build_digest }, { "finish", l_build_finish },
                                        { "wait", l_build_wait },   { "bytes", l_build_bytes },   { "find", l_build_find },
                                        { "top", l_build_top },
                                        { "close", l_build_close }, { NULL, NULL } };
    static const luaL_Reg meta[] = { { "__gc", l_build_close }, { "__close", l_build_close }, { NULL, NULL } };
    static const luaL_Reg functions[] = { { "rootfs_build", l_build_new }, { NULL, NULL } };
    vmctl_class(L, VMCTL_ROOTFS_BUILD, methods, meta);
    luaL_setfuncs(L, functions, 0);
    lua_pushinteger(L, VMCTL_EROFS_VERSION);
    lua_setfield(L, -2, "rootfs_version");
    lock_register(L);
}
