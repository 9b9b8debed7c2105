/* The class vmctl.Stream: closing, settings and properties. Reading is in stream_read.c, writing in stream_write.c, frames in
 * stream_frame.c and stream_frame_write.c. */
#include "io/relay.h"
#include "io/socket.h"
#include "io/spawn.h"
#include "lua/address.h"
#include "lua/check.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/state.h"
#include "lua/stream.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>

/* s:discard(): drops received bytes that were not read, and queued bytes that were not sent */
static int l_stream_discard(lua_State *L)
{
    struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    int busy = vmctl_stream_busy(L, s, &s->writers, "discard");
    if (busy)
        return busy;
    vmctl_buf_consume(&s->in, vmctl_buf_len(&s->in));
    vmctl_buf_consume(&s->out, vmctl_buf_len(&s->out));
    vmctl_io_stop(s->loop, &s->wio);
    lua_pushboolean(L, 1);
    return 1;
}

static void stream_end_child(struct vmctl_lua_stream *ls)
{
    if (ls->child)
        vmctl_process_drop(ls->child);
    ls->child = NULL;
}

static int l_stream_close(lua_State *L)
{
    struct vmctl_lua_stream *ls = vmctl_stream_check(L, 1);
    vmctl_trace_close(L, &ls->s, "close");
    vmctl_stream_close(&ls->s);
    stream_end_child(ls);
    lua_pushboolean(L, 1);
    return 1;
}

/* s:reset(): closes it so that the peer sees an error and no ordinary end, where the socket can tell that: TCP by an RST, a Unix socket
 * if bytes of it are unread. */
static int l_stream_reset(lua_State *L)
{
    const struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    struct linger now = { .l_onoff = 1 };
    if (s->kind == VMCTL_STREAM_SOCKET && s->wfd >= 0 && vmctl_loop_is_ours(s->loop))
        (void)setsockopt(s->wfd, SOL_SOCKET, SO_LINGER, &now, sizeof now); /* not every socket can do it */
    return l_stream_close(L);
}

/* s:hang_up(): as if its peer had reset the connection, ECONNRESET. Received bytes can still be read. A relay that has its descriptor
 * ends. */
static int l_stream_hang_up(lua_State *L)
{
    struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    vmctl_stream_hang_up(s);
    if (lua_getiuservalue(L, 1, VMCTL_STREAM_RELAY) == LUA_TUSERDATA)
        vmctl_relay_close(luaL_checkudata(L, -1, VMCTL_RELAY), -ECONNRESET);
    lua_pushboolean(L, 1);
    return 1;
}

static int l_stream_gc(lua_State *L)
{
    struct vmctl_lua_stream *ls = vmctl_stream_check(L, 1);
    vmctl_trace_close(L, &ls->s, "close");
    vmctl_stream_free(&ls->s);
    stream_end_child(ls);
    return 0;
}

/* s:detach() -> fd, the bytes that were read and not used */
static int l_stream_detach(lua_State *L)
{
    struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    if (s->rfd < 0 && s->wfd < 0)
        return vmctl_fail(L, VMCTL_ECLOSED, "detach %s", vmctl_stream_name(s));
    if (vmctl_waitq_busy(&s->readers) || vmctl_waitq_busy(&s->writers) || vmctl_buf_len(&s->out))
        return vmctl_fail_text(L, -EBUSY, "detach %s: it is in use", vmctl_stream_name(s));
    if (s->rfd >= 0 && s->wfd >= 0 && s->rfd != s->wfd)
        return vmctl_fail_text(L, -ENOTSUP, "detach %s: it has two descriptors", vmctl_stream_name(s));
    vmctl_trace_close(L, s, "detach");
    lua_pushinteger(L, s->rfd >= 0 ? s->rfd : s->wfd);
    lua_pushlstring(L, vmctl_buf_len(&s->in) ? (const char *)vmctl_buf_head(&s->in) : "", vmctl_buf_len(&s->in));
    vmctl_stream_release(s);
    vmctl_stream_close(s);
    return 2;
}

static int l_stream_fileno(lua_State *L)
{
    struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    int fd = s->rfd >= 0 ? s->rfd : s->wfd;
    if (fd < 0)
        return vmctl_fail(L, VMCTL_ECLOSED, "fileno %s", vmctl_stream_name(s));
    lua_pushinteger(L, fd);
    return 1;
}

static int stream_push_address(lua_State *L, int (*get)(int, struct vmctl_addr *), const char *what)
{
    struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    struct vmctl_addr a;
    int fd = s->rfd >= 0 ? s->rfd : s->wfd;
    int err = fd < 0 ? VMCTL_ECLOSED : get(fd, &a);
    if (err)
        return vmctl_fail(L, err, "%s %s", what, vmctl_stream_name(s));
    return vmctl_push_address(L, &a);
}

static int l_stream_peer(lua_State *L)
{
    return stream_push_address(L, vmctl_socket_peer, "peer");
}

static int l_stream_address(lua_State *L)
{
    return stream_push_address(L, vmctl_socket_local, "address");
}

/* s:credentials() -> { pid, uid, gid } of the process that connected */
static int l_stream_credentials(lua_State *L)
{
    struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    pid_t pid;
    uid_t uid;
    gid_t gid;
    int err = s->rfd < 0 ? VMCTL_ECLOSED : vmctl_socket_credentials(s->rfd, &pid, &uid, &gid);
    if (err)
        return vmctl_fail(L, err, "credentials %s", vmctl_stream_name(s));
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, pid);
    lua_setfield(L, -2, "pid");
    lua_pushinteger(L, uid);
    lua_setfield(L, -2, "uid");
    lua_pushinteger(L, gid);
    lua_setfield(L, -2, "gid");
    return 1;
}

static void stream_stat(lua_State *L, const char *name, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

static int l_stream_stats(lua_State *L)
{
    const struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    lua_createtable(L, 0, 4);
    stream_stat(L, "bytes_in", s->bytes_in);
    stream_stat(L, "bytes_out", s->bytes_out);
    stream_stat(L, "buffered_in", vmctl_buf_len(&s->in));
    stream_stat(L, "buffered_out", vmctl_buf_len(&s->out));
    return 1;
}

/* s:resize(rows, cols), of a terminal */
static int l_stream_resize(lua_State *L)
{
    struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    unsigned rows = (unsigned)vmctl_check_range(L, 2, 0, USHRT_MAX), cols = (unsigned)vmctl_check_range(L, 3, 0, USHRT_MAX);
    int err = s->kind == VMCTL_STREAM_TTY && s->rfd >= 0 ? vmctl_spawn_resize(s->rfd, rows, cols) : -ENOTTY;
    if (err)
        return vmctl_fail(L, err, "resize %s", vmctl_stream_name(s));
    lua_pushboolean(L, 1);
    return 1;
}

static double stream_option(lua_State *L, const char *name, double value)
{
    lua_getfield(L, 2, name);
    if (!lua_isnil(L, -1))
        value = luaL_checknumber(L, -1);
    lua_pop(L, 1);
    return value;
}

static int l_stream_set_timeout(lua_State *L)
{
    struct vmctl_lua_stream *ls = vmctl_stream_check(L, 1);
    if (lua_isnumber(L, 2)) {
        ls->read_timeout = ls->write_timeout = lua_tonumber(L, 2);
    } else {
        luaL_checktype(L, 2, LUA_TTABLE);
        ls->read_timeout = stream_option(L, "read", ls->read_timeout);
        ls->write_timeout = stream_option(L, "write", ls->write_timeout);
    }
    lua_settop(L, 1);
    return 1;
}

static int l_stream_set_format(lua_State *L)
{
    struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    s->format = *vmctl_format_check(L, 2);
    lua_setiuservalue(L, 1, VMCTL_STREAM_FORMAT); /* keeps the limits of the format alive */
    lua_Integer longest = s->format.max;
    for (uint32_t i = 0; i < s->format.nlimits; i++)
        if (s->format.limits[i] > longest)
            longest = s->format.limits[i];
    size_t room = vmctl_size_clamp(longest) + VMCTL_FRAME_HEAD_MAX + VMCTL_SCRATCH;
    if (s->in.max < room)
        s->in.max = room;
    lua_settop(L, 1);
    return 1;
}

static int l_stream_label(lua_State *L)
{
    struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    if (!lua_isnoneornil(L, 2))
        vmctl_stream_label(s, luaL_checkstring(L, 2));
    lua_pushstring(L, vmctl_stream_name(s));
    return 1;
}

static bool stream_has_unread(const struct vmctl_stream *s)
{
    char byte;
    return vmctl_buf_len(&s->in) > 0 ||
           (s->kind == VMCTL_STREAM_SOCKET && s->rfd >= 0 && recv(s->rfd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0);
}

/* s:hung_up() -> three booleans: the peer has ended its side, though bytes of it may still be unread; it has closed both sides; there
 * are such bytes (of a socket) */
static int l_stream_hung_up(lua_State *L)
{
    const struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    struct pollfd p = { .fd = s->rfd >= 0 ? s->rfd : s->wfd, .events = POLLRDHUP };
    if (p.fd < 0 || poll(&p, 1, 0) < 0)
        p.revents = POLLHUP;
    lua_pushboolean(L, p.revents & (POLLRDHUP | POLLHUP | POLLERR));
    lua_pushboolean(L, p.revents & (POLLHUP | POLLERR));
    lua_pushboolean(L, stream_has_unread(s));
    return 3;
}

static int l_stream_closed(lua_State *L)
{
    const struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    lua_pushboolean(L, s->rfd < 0 && s->wfd < 0);
    return 1;
}

static int l_stream_tostring(lua_State *L)
{
    const struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    lua_pushfstring(L, "vmctl.Stream(%s%s)", vmctl_stream_name(s), s->rfd < 0 && s->wfd < 0 ? ", closed" : "");
    return 1;
}

void vmctl_stream_register(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "read", vmctl_l_read }, { "read_exact", vmctl_l_read_exact },
        { "read_line", vmctl_l_read_line }, { "read_frame", vmctl_l_read_frame },
        { "read_frames", vmctl_l_read_frames }, { "write", vmctl_l_write },
        { "write_frame", vmctl_l_write_frame }, { "write_frames", vmctl_l_write_frames },
        { "skip_past", vmctl_l_skip_past }, { "skip_frame", vmctl_l_skip_frame },
        { "read_skipped", vmctl_l_read_skipped }, { "write_file_frame", vmctl_l_write_file_frame },
        { "discard", l_stream_discard },
        { "cork", vmctl_l_cork }, { "flush", vmctl_l_flush },
        { "shutdown", vmctl_l_shutdown }, { "close", l_stream_close },
        { "closed", l_stream_closed }, { "detach", l_stream_detach },
        { "fileno", l_stream_fileno }, { "peer", l_stream_peer },
        { "address", l_stream_address }, { "credentials", l_stream_credentials },
        { "stats", l_stream_stats }, { "set_timeout", l_stream_set_timeout },
        { "set_format", l_stream_set_format }, { "label", l_stream_label },
        { "resize", l_stream_resize }, { "hung_up", l_stream_hung_up },
        { "reset", l_stream_reset }, { "hang_up", l_stream_hang_up }, { NULL, NULL }
    };
    static const luaL_Reg meta[] = { { "__gc", l_stream_gc },
                                     { "__close", l_stream_close },
                                     { "__tostring", l_stream_tostring },
                                     { NULL, NULL } };
    vmctl_class(L, VMCTL_STREAM, methods, meta);
    vmctl_stream_file_frame_register(L);
}
