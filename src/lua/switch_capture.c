/* vmctl.Capture: the frames that pass a switch, in a file or a pipe. */
#include "io/fs_private.h"
#include "io/pcap_filter.h"
#include "io/switch_capture.h"
#include "io/sysio.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/switch.h"
#include "lua/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define VMCTL_CAPTURE "vmctl.Capture"

enum { WHY = 256 };

/* A descriptor of our own for `fd`: a pipe is opened anew, non-blocking without an effect on others. -EINVAL: neither file, pipe nor
 * socket. */
static int own_fd(int fd, enum vmctl_capture_kind *kind)
{
    char name[32];
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    *kind = S_ISREG(st.st_mode) ? VMCTL_CAPTURE_FILE : VMCTL_CAPTURE_PIPE;
    if (S_ISFIFO(st.st_mode)) {
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        int own = open(name, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        return own < 0 ? -errno : own;
    }
    if (!S_ISREG(st.st_mode) && !S_ISSOCK(st.st_mode))
        return -EINVAL;
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return own < 0 ? -errno : own;
}

/* Opens "-", a FIFO or a file. A FIFO gives -1 and no error: it is opened when it has a reader. */
static int capture_target(const char *path, enum vmctl_capture_kind *kind, int *fd)
{
    struct stat st;
    *fd = -1;
    if (strcmp(path, "-") == 0) {
        *fd = own_fd(STDOUT_FILENO, kind);
        return *fd < 0 ? *fd : 0;
    }
    if (lstat(path, &st) == 0 && S_ISFIFO(st.st_mode)) {
        *kind = VMCTL_CAPTURE_FIFO;
        return 0;
    }
    *kind = VMCTL_CAPTURE_FILE;
    return vmctl_private_open(path, true, fd, &st);
}

/* The filter at `arg`, if there is one. Pushes three values and returns false if it cannot be. */
static bool check_filter(lua_State *L, int arg, struct vmctl_pcap_filter **out)
{
    char why[WHY] = "";
    const char *expression = vmctl_opt_text(L, arg, NULL);
    if (!expression && !lua_isnoneornil(L, arg)) {
        vmctl_text_fail(L, "filter");
        return false;
    }
    int err = expression ? vmctl_pcap_filter_compile(expression, out, why, sizeof why) : 0;
    if (err == -ENOSYS)
        vmctl_fail_text(L, err, "a filter needs libpcap, which is not installed");
    else if (err)
        vmctl_fail_text(L, err, "filter '%s': %s", expression, *why ? why : strerror(-err));
    return !err;
}

/* core.pcap_check(expression) -> true, or nil, message, code: libpcap cannot compile it */
static int l_pcap_check(lua_State *L)
{
    struct vmctl_pcap_filter *filter = NULL;
    luaL_checkstring(L, 1);
    if (!check_filter(L, 1, &filter))
        return 3;
    vmctl_pcap_filter_free(filter);
    lua_pushboolean(L, 1);
    return 1;
}

/* sw:capture(path, snaplen, max_bytes, files, filter) -> capture; 0 for no limit, nil for no filter */
int vmctl_l_capture(lua_State *L)
{
    struct vmctl_switch *sw = vmctl_switch_check(L, 1);
    const char *path = vmctl_check_text(L, 2);
    if (!path)
        return vmctl_text_fail(L, "capture to");
    struct vmctl_capture_options want = {
        .path = path, .snaplen = (uint32_t)luaL_optinteger(L, 3, 0), .max_bytes = (uint64_t)luaL_optinteger(L, 4, 0),
        .files = (unsigned)luaL_optinteger(L, 5, 1)
    };
    struct vmctl_capture *c = lua_newuserdatauv(L, sizeof *c, 1);
    memset(c, 0, sizeof *c);
    luaL_setmetatable(L, VMCTL_CAPTURE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    if (!check_filter(L, 6, &want.filter))
        return 3;
    int fd, err = capture_target(path, &want.kind, &fd);
    if (err)
        vmctl_pcap_filter_free(want.filter);
    else
        err = vmctl_capture_open(c, sw, fd, &want);
    if (err)
        return vmctl_fail(L, err, "capture to %s", path);
    return 1;
}

/* Enters the switch of a capture. One that was never opened has none. */
static void capture_enter(struct vmctl_capture *c)
{
    if (c->sw)
        vmctl_switch_enter(c->sw);
}

static void capture_leave(struct vmctl_capture *c)
{
    if (c->sw)
        vmctl_switch_leave(c->sw);
}

static int capture_close(struct vmctl_capture *c)
{
    capture_enter(c);
    int err = vmctl_capture_close(c);
    capture_leave(c);
    return err;
}

/* c:status() -> frames that are written or on their way, frames that were left out, bytes that wait; or nil, message, code: it could
 * not be written, and has ended */
static int l_capture_status(lua_State *L)
{
    struct vmctl_capture *c = luaL_checkudata(L, 1, VMCTL_CAPTURE);
    capture_enter(c);
    struct vmctl_capture now = *c;
    size_t pending = vmctl_capture_pending(c);
    capture_leave(c);
    if (now.err)
        return vmctl_fail(L, now.err, "capture");
    lua_pushinteger(L, (lua_Integer)now.frames);
    lua_pushinteger(L, (lua_Integer)now.lost);
    lua_pushinteger(L, (lua_Integer)pending);
    return 3;
}

/* c:close() -> the number of frames */
static int l_capture_close(lua_State *L)
{
    struct vmctl_capture *c = luaL_checkudata(L, 1, VMCTL_CAPTURE);
    int err = capture_close(c);
    if (err)
        return vmctl_fail(L, err, "capture");
    lua_pushinteger(L, (lua_Integer)c->frames);
    return 1;
}

/* c:is_open() */
static int l_capture_is_open(lua_State *L)
{
    struct vmctl_capture *c = luaL_checkudata(L, 1, VMCTL_CAPTURE);
    capture_enter(c);
    bool open = c->open;
    capture_leave(c);
    lua_pushboolean(L, open);
    return 1;
}

static int l_capture_gc(lua_State *L)
{
    capture_close(luaL_checkudata(L, 1, VMCTL_CAPTURE));
    return 0;
}

void vmctl_capture_register(lua_State *L)
{
    static const luaL_Reg methods[] = { { "close", l_capture_close }, { "status", l_capture_status },
                                        { "is_open", l_capture_is_open }, { NULL, NULL } };
    static const luaL_Reg meta[] = { { "__gc", l_capture_gc }, { "__close", l_capture_gc }, { NULL, NULL } };
    static const luaL_Reg functions[] = { { "pcap_check", l_pcap_check }, { NULL, NULL } };
    vmctl_class(L, VMCTL_CAPTURE, methods, meta);
    luaL_setfuncs(L, functions, 0);
}
