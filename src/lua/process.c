/* The class vmctl.Process. Names, defaults and checks are Lua's business: core.process takes a table that is complete. */
#include "io/drain.h"
#include "io/process.h"
#include "lua/check.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/park.h"
#include "lua/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

enum { PIPE_SIZE = 256 * 1024 };

static const lua_Integer SPAWN_ID = UINT32_MAX - 1; /* the highest id of a user or group: one more means "as it is" */

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

/* An array of strings in field `name` of the table at 1, as a NULL-terminated vector that lives as long as the stack slot
 * it leaves behind; NULL (and a nil) when there is none. */
static char *const *field_strings(lua_State *L, const char *name)
{
    if (lua_getfield(L, 1, name) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_pushnil(L);
        return NULL;
    }
    lua_Integer n = luaL_len(L, -1);
    const char **vector = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *vector, 1);
    for (lua_Integer i = 1; i <= n; i++) {
        size_t len;
        if (lua_rawgeti(L, -2, i) != LUA_TSTRING)
            luaL_error(L, "%s: strings expected", name);
        vector[i - 1] = lua_tolstring(L, -1, &len); /* the table keeps the string alive */
        if (strlen(vector[i - 1]) != len)
            luaL_error(L, "%s: a string with a NUL byte", name);
        lua_pop(L, 1);
    }
    vector[n] = NULL;
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, 1);
    return (char *const *)vector;
}

/* Field `name` of the table at 1, from -1 to `most`. */
static lua_Integer field_integer(lua_State *L, const char *name, lua_Integer otherwise, lua_Integer most)
{
    lua_getfield(L, 1, name);
    lua_Integer v = lua_isnil(L, -1) ? otherwise : luaL_checkinteger(L, -1);
    if (v < -1 || v > most)
        luaL_error(L, "%s: a number up to %I expected, got %I", name, most, v);
    lua_pop(L, 1);
    return v;
}

static bool field_boolean(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    bool v = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return v;
}

static const char *field_string(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    const char *v = lua_isnil(L, -1) ? NULL : luaL_checkstring(L, -1);
    lua_pop(L, 1); /* the table keeps it alive */
    return v;
}

/* The child's side of its three fds, and ours. */
struct stdio {
    int child[3], ours[3];
    bool close_child[3]; /* made here, so closed here once the child has it */
};

static int stdio_pipe(struct stdio *io, int i)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    io->ours[i] = fds[i == 0];
    io->child[i] = fds[i != 0];
    io->close_child[i] = true;
    fcntl(fds[0], F_SETPIPE_SZ, PIPE_SIZE); /* a wish: unprivileged users have a quota */
    return fcntl(io->ours[i], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

/* "pipe", "null", "inherit", "stdout" (for stderr), or an fd number. */
static int stdio_choose(lua_State *L, struct stdio *io, int i, const char *name)
{
    lua_getfield(L, 1, name);
    int err = 0;
    if (lua_isinteger(L, -1)) {
        io->child[i] = vmctl_check_fd(L, -1);
    } else {
        const char *how = luaL_optstring(L, -1, "null");
        if (strcmp(how, "pipe") == 0)
            err = stdio_pipe(io, i);
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

static void stdio_drop(struct stdio *io, bool ours)
{
    for (int i = 0; i < 3; i++) {
        if (io->close_child[i])
            close(io->child[i]);
        io->close_child[i] = false;
        if (ours && io->ours[i] >= 0)
            close(io->ours[i]);
    }
}

static void spawn_identity(lua_State *L, struct vmctl_spawn *how)
{
    lua_Integer uid = field_integer(L, "uid", -1, SPAWN_ID);
    if (uid < 0)
        return;
    how->set_user = true;
    how->uid = (uid_t)uid;
    how->gid = (gid_t)field_integer(L, "gid", uid, SPAWN_ID);
    if (lua_getfield(L, 1, "groups") == LUA_TTABLE) {
        size_t n = (size_t)luaL_len(L, -1);
        gid_t *groups = lua_newuserdatauv(L, (n + 1) * sizeof *groups, 0);
        for (size_t i = 0; i < n; i++) {
            lua_rawgeti(L, -2, (lua_Integer)i + 1);
            groups[i] = (gid_t)vmctl_check_range(L, -1, 0, SPAWN_ID);
            lua_pop(L, 1);
        }
        how->groups = groups; /* the userdata stays on the stack until the spawn is over */
        how->ngroups = n;
    }
}

static int spawn_stdio(lua_State *L, struct stdio *io, struct vmctl_spawn *how, bool tty)
{
    static const char *const names[] = { "stdin", "stdout", "stderr" };
    int err = 0;
    if (tty) {
        err = vmctl_spawn_pty((unsigned)field_integer(L, "rows", 0, USHRT_MAX), (unsigned)field_integer(L, "cols", 0, USHRT_MAX),
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

/* `fds`: an array of fds that become the child's 3, 4, … */
static void spawn_more_fds(lua_State *L, struct vmctl_spawn *how)
{
    if (lua_getfield(L, 1, "fds") == LUA_TTABLE) {
        lua_Integer n = luaL_len(L, -1);
        if (n > VMCTL_SPAWN_FDS - 3)
            luaL_error(L, "fds: at most %d expected", VMCTL_SPAWN_FDS - 3);
        for (lua_Integer i = 1; i <= n; i++) {
            lua_rawgeti(L, -1, i);
            how->fds[how->nfds++] = vmctl_check_fd(L, -1);
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}

/* Reads the options in the table at 1; vectors and groups stay on the stack. */
static void spawn_describe(lua_State *L, struct vmctl_spawn *how)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    *how = (struct vmctl_spawn){ .tty = -1, .cgroup = -1, .fds = { -1, -1, -1 }, .nfds = 3 };
    how->argv = field_strings(L, "argv");
    how->env = field_strings(L, "env");
    if (!how->argv || !how->argv[0])
        luaL_error(L, "argv: an array with at least one string expected");
    if (!how->env)
        how->env = environ;
    how->file = field_string(L, "file");
    if (!how->file)
        how->file = how->argv[0];
    how->cwd = field_string(L, "cwd");
    how->session = field_boolean(L, "session");
    how->group = field_boolean(L, "group");
    how->confine = field_boolean(L, "confine");
    how->landlock = (int)field_integer(L, "landlock", 0, INT_MAX);
    how->open_files = (unsigned)field_integer(L, "open_files", 0, INT_MAX);
    how->death_signal = (int)field_integer(L, "death_signal", 0, INT_MAX);
    spawn_more_fds(L, how);
    spawn_identity(L, how);
}

static void open_stdio(lua_State *L, struct vmctl_stream *s, const struct stdio *io, int i, bool tty, const char *name)
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
    spawn_describe(L, &how);
    bool tty = field_boolean(L, "tty"), sweep = field_boolean(L, "sweep");
    struct lua_process *lp = lua_newuserdatauv(L, sizeof *lp, 0);
    *lp = (struct lua_process){ .code = -1, .signal = -1 };
    luaL_setmetatable(L, VMCTL_PROCESS);
    int first = lua_gettop(L);
    struct vmctl_stream *streams[3];
    for (int i = 0; i < 3; i++)
        streams[i] = vmctl_stream_new(L, st); /* before there are fds that could be lost */

    struct stdio io = { { -1, -1, -1 }, { -1, -1, -1 }, { false, false, false } };
    const char *step = "pipe";
    int err = spawn_stdio(L, &io, &how, tty);
    if (!err)
        err = vmctl_process_start(&st->loop, &how, field_boolean(L, "contain"), &lp->p, &step);
    stdio_drop(&io, err != 0);
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
    spawn_describe(L, &how);
    struct vmctl_stream *s = vmctl_stream_new(L, st);
    struct stdio io = { { -1, -1, 2 }, { -1, -1, -1 }, { false, false, false } };
    const char *step = "pipe";
    struct vmctl_process *child;
    int err = stdio_pipe(&io, 0);
    if (!err)
        err = stdio_pipe(&io, 1);
    memcpy(how.fds, io.child, sizeof io.child);
    if (!err)
        err = vmctl_process_start(&st->loop, &how, false, &child, &step);
    stdio_drop(&io, err != 0);
    if (err)
        return vmctl_fail(L, err, "start %s (%s)", label, step);
    child->sweep = true;
    vmctl_stream_check(L, -1)->child = child;
    vmctl_stream_open(s, io.ours[1], io.ours[0], VMCTL_STREAM_PIPE);
    vmctl_stream_label(s, label);
    vmctl_trace_open(L, s, -1, "child");
    return 1;
}

/* core.drain(stream) -> can a process still write to it? Closes the stream: later bytes are read and dropped. */
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

/* core.environ([by_name]) -> a list of NAME=VALUE, or a table from the names to the values; of a name that is there twice the last */
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

/* p:sweep(): at its end what is left of its group is killed */
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
