/* Streams of descriptors, devices and socket pairs: core.open, core.duplex, core.open_path, core.pair. */
#include "io/socket.h"
#include "io/sysio.h"
#include "lua/check.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/state.h"
#include "lua/stream.h"
#include "lua/text.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

static enum vmctl_stream_kind open_kind(int fd)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode))
        return VMCTL_STREAM_SOCKET;
    return isatty(fd) ? VMCTL_STREAM_TTY : VMCTL_STREAM_PIPE;
}

/* core.open(fd, [kind], [label]) -> stream: takes the fd, which it makes non-blocking. Without a kind it finds out the fd's; only a
 * virtio port cannot be told from other devices. */
static int l_open(lua_State *L)
{
    static const char *const kinds[] = { "socket", "pipe", "tty", "serial", NULL };
    struct vmctl_lua *st = vmctl_lua_get(L);
    int fd = vmctl_check_fd(L, 1);
    int kind = lua_isnoneornil(L, 2) ? (int)open_kind(fd) : luaL_checkoption(L, 2, NULL, kinds);
    const char *label = luaL_optstring(L, 3, "fd");
    struct vmctl_stream *s = vmctl_stream_new(L, st);
    int err = vmctl_sys_prepare(fd);
    if (err)
        return vmctl_fail(L, err, "open %s", label);
    vmctl_stream_open(s, fd, fd, (enum vmctl_stream_kind)kind);
    vmctl_stream_label(s, label);
    vmctl_trace_open(L, s, -1, "fd");
    return 1;
}

/* core.duplex(input_fd, output_fd, [label]) -> stream: takes both, which may be the same socket, and makes them non-blocking. */
static int l_duplex(lua_State *L)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    int in = vmctl_check_fd(L, 1), out = vmctl_check_fd(L, 2);
    const char *label = luaL_optstring(L, 3, "duplex");
    struct vmctl_stream *s = vmctl_stream_new(L, st);
    int err = vmctl_sys_prepare(in);
    if (!err)
        err = vmctl_sys_prepare(out);
    if (err)
        return vmctl_fail(L, err, "open %s", label);
    vmctl_stream_open(s, in, out, in == out ? open_kind(in) : VMCTL_STREAM_PIPE);
    vmctl_stream_label(s, label);
    vmctl_trace_open(L, s, -1, "fd");
    return 1;
}

/* core.open_path(path, label) -> stream: a terminal line (put into raw mode) or a virtio port */
static int l_open_path(lua_State *L)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    const char *path = vmctl_check_text(L, 1), *label = luaL_optstring(L, 2, path);
    if (!path)
        return vmctl_text_fail(L, "open");
    struct vmctl_stream *s = vmctl_stream_new(L, st);
    int fd = open(path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return vmctl_fail(L, -errno, "open %s", label);
    struct termios line;
    bool terminal = tcgetattr(fd, &line) == 0;
    if (terminal) {
        cfmakeraw(&line);
        tcsetattr(fd, TCSANOW, &line);
    }
    vmctl_stream_open(s, fd, fd, terminal ? VMCTL_STREAM_TTY : VMCTL_STREAM_SERIAL);
    vmctl_stream_label(s, label);
    vmctl_trace_open(L, s, -1, "dial");
    return 1;
}

/* core.pair() -> stream, stream */
static int l_pair(lua_State *L)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    struct vmctl_stream *a = vmctl_stream_new(L, st), *b = vmctl_stream_new(L, st);
    int fds[2], err = vmctl_socket_pair(fds);
    if (err)
        return vmctl_fail(L, err, "pair");
    vmctl_stream_open(a, fds[0], fds[0], VMCTL_STREAM_SOCKET);
    vmctl_stream_open(b, fds[1], fds[1], VMCTL_STREAM_SOCKET);
    vmctl_stream_label(a, "pair");
    vmctl_stream_label(b, "pair");
    vmctl_trace_open(L, a, -2, "pair");
    vmctl_trace_open(L, b, -1, "pair");
    return 2;
}

void vmctl_stream_open_register(lua_State *L)
{
    static const luaL_Reg functions[] = { { "open", l_open }, { "duplex", l_duplex }, { "open_path", l_open_path }, { "pair", l_pair }, { NULL, NULL } };
    luaL_setfuncs(L, functions, 0);
}
