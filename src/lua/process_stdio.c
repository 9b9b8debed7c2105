/* The three standard fds of a child: pipes, a terminal, /dev/null or fds that are there. */
#include "lua/process_stdio.h"
#include "lua/check.h"
#include "lua/process_options.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

enum { PIPE_SIZE = 256 * 1024 };

int vmctl_stdio_pipe(struct vmctl_stdio *io, int i)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    io->ours[i] = fds[i == 0];
    io->child[i] = fds[i != 0];
    io->close_child[i] = true;
    fcntl(fds[0], F_SETPIPE_SZ, PIPE_SIZE); /* may fail: unprivileged users have a quota */
    return fcntl(io->ours[i], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

/* "pipe", "null", "inherit", "stdout" (for stderr), or an fd number. */
static int stdio_choose(lua_State *L, struct vmctl_stdio *io, int i, const char *name)
{
    lua_getfield(L, 1, name);
    int err = 0;
    if (lua_isinteger(L, -1)) {
        io->child[i] = vmctl_check_fd(L, -1);
    } else {
        const char *how = luaL_optstring(L, -1, "null");
        if (strcmp(how, "pipe") == 0)
            err = vmctl_stdio_pipe(io, i);
        else if (strcmp(how, "inherit") == 0)
            io->child[i] = i;
        else if (strcmp(how, "stdout") == 0 && i == 2)
            io->child[2] = io->child[1];
        else if (strcmp(how, "null") != 0)
            err = -EINVAL;
    }
    lua_pop(L, 1);
    return err;
}

void vmctl_stdio_drop(struct vmctl_stdio *io, bool ours)
{
    for (int i = 0; i < 3; i++) {
        if (io->close_child[i])
            close(io->child[i]);
        io->close_child[i] = false;
        if (ours && io->ours[i] >= 0)
            close(io->ours[i]);
    }
}

int vmctl_stdio_make(lua_State *L, struct vmctl_stdio *io, struct vmctl_spawn *how, bool tty)
{
    static const char *const names[] = { "stdin", "stdout", "stderr" };
    int err = 0;
    if (tty) {
        err = vmctl_spawn_pty((unsigned)vmctl_field_integer(L, "rows", 0, USHRT_MAX), (unsigned)vmctl_field_integer(L, "cols", 0, USHRT_MAX),
                              &io->ours[0], &how->tty);
        if (!err) {
            io->child[0] = how->tty;
            io->close_child[0] = true;
        }
        return err;
    }
    for (int i = 0; !err && i < 3; i++)
        err = stdio_choose(L, io, i, names[i]);
    for (int i = 0; i < 3; i++)
        how->fds[i] = io->child[i];
    return err;
}
