/* The class vmctl.Process. Names, defaults and checks are Lua's business: core.process takes a table that is complete. */
#include "io/drain.h"
#include "io/process.h"
#include "lua/check.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/park.h"
#include "lua/process_options.h"
#include "lua/process_stdio.h"
#include "lua/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

struct lua_process {
    struct vmctl_process *p; /* NULL once it is closed */
    pid_t pid;
    int code, signal;
    bool done;
};

static struct lua_process *process_check(lua_State *L, int arg)
{
    return luaL_checkudata(L, arg, VMCTL_PROCESS);
}

static void open_stdio(lua_State *L, struct vmctl_stream *s, const struct vmctl_stdio *io, int i, bool tty, const char *name)
{
    static const char *const labels[] = { "stdin of ", "stdout of ", "stderr of " };
    bool reads = i > 0 || tty, writes = i == 0;
    vmctl_stream_open(s, reads ? io->ours[i] : -1, writes ? io->ours[i] : -1, tty ? VMCTL_STREAM_TTY : VMCTL_STREAM_PIPE);
    vmctl_stream_label(s, lua_pushfstring(L, "%s%s", tty ? "terminal of " : labels[i], name));
    lua_pop(L, 1);
}

/* The fourth value is the step that failed. */
static int process_fail(lua_State *L, int err, const struct vmctl_spawn *how, const char *step)
{
    const char *name = how->argv[0];
    if (strcmp(step, "chdir") == 0)
        vmctl_fail(L, err, "start %s: working directory %s", name, how->cwd);
    else if (strcmp(step, "exec") == 0)
        vmctl_fail(L, err, "start %s", name);
    else
        vmctl_fail(L, err, "start %s (%s)", name, step);
    lua_pushstring(L, step);
    return 4;
}

/* core.process(table) -> process, stdin, stdout, stderr (nil where there is no pipe; with a tty one stream, as stdin) */
static int l_process(lua_State *L)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    struct vmctl_spawn how;
    lua_settop(L, 1);
    vmctl_spawn_describe(L, &how);
    bool tty = vmctl_field_boolean(L, "tty"), sweep = vmctl_field_boolean(L, "sweep");
    struct lua_process *lp = lua_newuserdatauv(L, sizeof *lp, 0);
    *lp = (struct lua_process){ .code = -1, .signal = -1 };
    luaL_setmetatable(L, VMCTL_PROCESS);
    int first = lua_gettop(L);
    struct vmctl_stream *streams[3];
    for (int i = 0; i < 3; i++)
        streams[i] = vmctl_stream_new(L, st); /* first: an error would lose the fds */

    struct vmctl_stdio io = { { -1, -1, -1 }, { -1, -1, -1 }, { false, false, false } };
    const char *step = "pipe";
    int err = vmctl_stdio_make(L, &io, &how, tty);
    if (!err)
        err = vmctl_process_start(&st->loop, &how, vmctl_field_boolean(L, "contain"), &lp->p, &step);
    vmctl_stdio_drop(&io, err != 0);
    if (err)
        return process_fail(L, err, &how, step);
    lp->p->sweep = sweep;
    lp->pid = lp->p->pid;
    for (int i = 0; i < 3; i++) {
        if (io.ours[i] >= 0) {
            open_stdio(L, streams[i], &io, i, tty, how.argv[0]);
        } else {
            lua_pushnil(L);
            lua_replace(L, first + 1 + i);
        }
    }
    lua_settop(L, first + 3);
    return 4;
}

/* core.process_stream(table, label) -> one stream of a child's stdin and stdout; the child ends with it */
static int l_process_stream(lua_State *L)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    struct vmctl_spawn how;
    lua_settop(L, 2);
    const char *label = luaL_checkstring(L, 2);
    vmctl_spawn_describe(L, &how);
    struct vmctl_stream *s = vmctl_stream_new(L, st);
    struct vmctl_stdio io = { { -1, -1, 2 }, { -1, -1, -1 }, { false, false, false } };
    const char *step = "pipe";
    struct vmctl_process *child;
    int err = vmctl_stdio_pipe(&io, 0);
    if (!err)
        err = vmctl_stdio_pipe(&io, 1);
    memcpy(how.fds, io.child, sizeof io.child);
    if (!err)
        err = vmctl_process_start(&st->loop, &how, false, &child, &step);
    vmctl_stdio_drop(&io, err != 0);
    if (err)
        return vmctl_fail(L, err, "start %s (%s)", label, step);
    child->sweep = true;
    vmctl_stream_check(L, -1)->child = child;
    vmctl_stream_open(s, io.ours[1], io.ours[0], VMCTL_STREAM_PIPE);
    vmctl_stream_label(s, label);
    vmctl_trace_open(L, s, -1, "child");
    return 1;
}

/* core.drain(stream) -> true if a process can still write to it. Closes the stream: later bytes are read and dropped. */
static int l_drain(lua_State *L)
{
    struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    struct vmctl_lua *st = vmctl_lua_get(L);
    bool usable = s->rfd >= 0 && s->kind == VMCTL_STREAM_PIPE && !s->file && s->rerr == 0;
    int fd = usable ? fcntl(s->rfd, F_DUPFD_CLOEXEC, 0) : -1;
    int err = fd < 0 ? usable ? -errno : 0 : vmctl_drain_start(&st->loop, fd);
    if (err < 0 && fd >= 0)
        close(fd);
    vmctl_trace_close(L, s, "close");
    vmctl_stream_close(s);
    if (err < 0)
        return vmctl_fail(L, err, "drain %s", vmctl_stream_name(s));
    lua_pushboolean(L, err);
    return 1;
}

/* core.environ([by_name]) -> a list of NAME=VALUE, or a table from the names to the values; of a name that occurs twice the last value */
static int l_environ(lua_State *L)
{
    bool by_name = lua_toboolean(L, 1);
    lua_newtable(L);
    for (lua_Integer i = 0; environ && environ[i]; i++) {
        const char *entry = environ[i], *equals = strchr(entry, '=');
        if (!by_name) {
            lua_pushstring(L, entry);
            lua_rawseti(L, -2, i + 1);
        } else if (equals && equals > entry) {
            lua_pushlstring(L, entry, (size_t)(equals - entry));
            lua_pushstring(L, equals + 1);
            lua_rawset(L, -3);
        }
    }
    return 1;
}

static void process_note_end(struct lua_process *lp)
{
    if (!lp->p || !lp->p->done)
        return;
    lp->done = true;
    lp->code = lp->p->code;
    lp->signal = lp->p->signal;
}

/* p:wait([timeout]) -> exit code or nil, signal number or nil; then both nil and "ECHILD" if other code has reaped it */
static int process_wait(lua_State *L, int status, lua_KContext ctx)
{
    struct lua_process *lp = process_check(L, 1);
    struct vmctl_lua *st = vmctl_lua_get(L);
    process_note_end(lp);
    if (!lp->done) {
        int why = status == LUA_YIELD ? vmctl_why(st, L) : 0;
        if (!why && !lp->p)
            why = VMCTL_ECLOSED;
        if (why)
            return vmctl_fail(L, why, "wait for process %d", (int)lp->pid);
        if (status == LUA_OK)
            vmctl_set_deadline(st, L, 2, INFINITY);
        return vmctl_park(st, L, &lp->p->waiters, 2, status, ctx, process_wait);
    }
    if (lp->code < 0 && lp->signal < 0)
        return vmctl_fail_text(L, -ECHILD, "wait for process %d: somebody else took its exit status", (int)lp->pid);
    lua_pushinteger(L, lp->code >= 0 ? lp->code : -1);
    if (lp->signal < 0)
        return 1;
    lua_pushinteger(L, lp->signal);
    return 2;
}

static int l_process_wait(lua_State *L)
{
    process_check(L, 1);
    lua_settop(L, 2);
    return process_wait(L, LUA_OK, 0);
}

/* p:kill(signal number, [only the process, not its group]) */
static int l_process_kill(lua_State *L)
{
    struct lua_process *lp = process_check(L, 1);
    int signal = (int)vmctl_check_range(L, 2, INT_MIN, INT_MAX);
    int err = lp->p ? vmctl_process_kill(lp->p, signal, !lua_toboolean(L, 3)) : -ESRCH;
    if (err)
        return vmctl_fail(L, err, "signal %d to process %d", signal, (int)lp->pid);
    lua_pushboolean(L, 1);
    return 1;
}

/* p:sweep(): the rest of its process group is killed at its end */
static int l_process_sweep(lua_State *L)
{
    struct lua_process *lp = process_check(L, 1);
    if (lp->p)
        lp->p->sweep = true;
    return 0;
}

static int l_process_pid(lua_State *L)
{
    lua_pushinteger(L, process_check(L, 1)->pid);
    return 1;
}

static int l_process_close(lua_State *L)
{
    struct lua_process *lp = process_check(L, 1);
    struct vmctl_process *p = lp->p;
    if (!p)
        return 0;
    process_note_end(lp);
    lp->p = NULL;
    vmctl_wake_all(&p->waiters, VMCTL_ECLOSED);
    vmctl_process_drop(p);
    return 0;
}

static int l_process_tostring(lua_State *L)
{
    struct lua_process *lp = process_check(L, 1);
    process_note_end(lp);
    lua_pushfstring(L, "vmctl.Process(%d%s)", (int)lp->pid, lp->done ? ", ended" : "");
    return 1;
}

void vmctl_process_register(lua_State *L)
{
    static const luaL_Reg methods[] = { { "wait", l_process_wait },     { "kill", l_process_kill },
                                        { "pid", l_process_pid },       { "close", l_process_close },
                                        { "sweep", l_process_sweep },   { NULL, NULL } };
    static const luaL_Reg meta[] = { { "__gc", l_process_close },
                                     { "__close", l_process_close },
                                     { "__tostring", l_process_tostring },
                                     { NULL, NULL } };
    static const luaL_Reg functions[] = { { "process", l_process },
                                          { "process_stream", l_process_stream },
                                          { "drain", l_drain },
                                          { "environ", l_environ },
                                          { NULL, NULL } };
    vmctl_class(L, VMCTL_PROCESS, methods, meta);
    luaL_setfuncs(L, functions, 0);
}
