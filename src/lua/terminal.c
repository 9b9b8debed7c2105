/* The program's own terminal and standard descriptors, for interactive programs. Changes happen on request only, and are undone when
 * their object is closed. */
#include "io/standard_fds.h"
#include "lua/check.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/state.h"
#include "lua/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define VMCTL_RAW "vmctl.RawTerminal"

struct raw {
    int fd; /* a copy of our own: -1 once it is as before */
    pid_t maker;
    struct termios before;
};

/* core.terminal_size(fd) -> rows, columns */
static int l_terminal_size(lua_State *L)
{
    struct winsize size;
    int fd = vmctl_check_fd(L, 1);
    if (ioctl(fd, TIOCGWINSZ, &size) < 0)
        return vmctl_fail(L, -errno, "size of the terminal");
    lua_pushinteger(L, size.ws_row);
    lua_pushinteger(L, size.ws_col);
    return 2;
}

/* core.terminal_raw(fd) -> object: the terminal passes every key unchanged, until close() */
static int l_terminal_raw(lua_State *L)
{
    int fd = vmctl_check_fd(L, 1);
    struct raw *raw = lua_newuserdatauv(L, sizeof *raw, 0);
    raw->fd = -1;
    raw->maker = getpid();
    luaL_setmetatable(L, VMCTL_RAW);
    if (tcgetattr(fd, &raw->before) < 0)
        return vmctl_fail(L, -errno, "raw terminal");
    struct termios line = raw->before;
    cfmakeraw(&line);
    raw->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (raw->fd < 0 || tcsetattr(raw->fd, TCSADRAIN, &line) < 0)
        return vmctl_fail(L, -errno, "raw terminal");
    return 1;
}

static int l_raw_close(lua_State *L)
{
    struct raw *raw = luaL_checkudata(L, 1, VMCTL_RAW);
    if (raw->fd >= 0) {
        if (raw->maker == getpid())
            tcsetattr(raw->fd, TCSADRAIN, &raw->before);
        close(raw->fd);
    }
    raw->fd = -1;
    return 0;
}

/* core.standard_input() -> stream: opened anew, so that its flags do not change for other processes that share it */
static int l_standard_input(lua_State *L)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    struct vmctl_stream *s = vmctl_stream_new(L, st);
    int fd = open("/proc/self/fd/0", O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 && errno == ENXIO) { /* a socket can only be shared */
        fd = fcntl(0, F_DUPFD_CLOEXEC, 3);
        if (fd >= 0 && fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) {
            close(fd);
            fd = -1;
        }
    }
    if (fd < 0)
        return vmctl_fail(L, -errno, "open standard input");
    vmctl_stream_open(s, fd, -1, isatty(fd) ? VMCTL_STREAM_TTY : VMCTL_STREAM_PIPE);
    vmctl_stream_label(s, "standard input");
    return 1;
}

/* core.open_standard_fds(): see io/standard_fds.h */
static int l_open_standard_fds(lua_State *L)
{
    int err = vmctl_standard_fds_open();
    if (err)
        return vmctl_fail(L, err, "open /dev/null");
    lua_pushboolean(L, 1);
    return 1;
}

void vmctl_terminal_register(lua_State *L)
{
    static const luaL_Reg methods[] = { { "close", l_raw_close }, { NULL, NULL } };
    static const luaL_Reg meta[] = { { "__gc", l_raw_close }, { "__close", l_raw_close }, { NULL, NULL } };
    static const luaL_Reg functions[] = { { "terminal_size", l_terminal_size },
                                          { "terminal_raw", l_terminal_raw },
                                          { "standard_input", l_standard_input },
                                          { "open_standard_fds", l_open_standard_fds },
                                          { NULL, NULL } };
    vmctl_class(L, VMCTL_RAW, methods, meta);
    luaL_setfuncs(L, functions, 0);
}
