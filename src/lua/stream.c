/* The class vmctl.Stream: bytes and lines; frames are in frame.c. */
#include "lua/stream.h"

#include "io/socket.h"
#include "io/spawn.h"
#include "io/sysio.h"
#include "wire/line.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

static const double STREAM_TIMEOUT = 60; /* seconds; for reads and writes that were given none */

static const char stream_mark;

struct vmctl_stream *vmctl_stream_new(lua_State *L, struct vmctl_lua *st)
{
    struct vmctl_lua_stream *ls = lua_newuserdatauv(L, sizeof *ls, 1);
    vmctl_stream_init(&ls->s, &st->loop);
    ls->mark = &stream_mark;
    ls->read_timeout = ls->write_timeout = STREAM_TIMEOUT;
    ls->child = NULL;
    luaL_setmetatable(L, VMCTL_STREAM);
    return &ls->s;
}

/* Each call of a stream begins with this, and luaL_checkudata looks the class up by its name each time: that was the largest
 * part of a small frame's cost. No other library's userdata holds the address of our mark. */
struct vmctl_lua_stream *vmctl_stream_check(lua_State *L, int arg)
{
    struct vmctl_lua_stream *ls = lua_touserdata(L, arg);
    if (ls && lua_type(L, arg) == LUA_TUSERDATA && lua_rawlen(L, arg) == sizeof *ls && ls->mark == &stream_mark)
        return ls;
    return luaL_checkudata(L, arg, VMCTL_STREAM);
}

void vmctl_stream_label(struct vmctl_stream *s, const char *label)
{
    char *copy = strdup(label);
    if (!copy)
        return; /* it is only for people */
    free(s->label);
    s->label = copy;
}

const char *vmctl_stream_name(const struct vmctl_stream *s)
{
    return s->label ? s->label : "stream";
}

int vmctl_stream_busy(lua_State *L, struct vmctl_stream *s, struct vmctl_waitq *q, const char *what)
{
    if (!vmctl_waitq_busy(q))
        return 0;
    return vmctl_fail_text(L, -EBUSY, "%s %s: another task is at it", what, vmctl_stream_name(s));
}

/* The reason why nothing more will come, told with what came before it. */
static int stream_read_fail(lua_State *L, struct vmctl_stream *s, int err)
{
    size_t left = vmctl_buf_len(&s->in);
    if (err == VMCTL_EOF && left)
        return vmctl_fail_text(L, -EPROTO, "read %s: the stream ended after %zu bytes of an unfinished message",
                               vmctl_stream_name(s), left);
    return vmctl_fail(L, err, "read %s", vmctl_stream_name(s));
}

int vmctl_stream_await(lua_State *L, struct vmctl_lua_stream *ls, size_t need, int status, int at, lua_KContext ctx,
                       lua_KFunction k)
{
    struct vmctl_stream *s = &ls->s;
    struct vmctl_lua *st = vmctl_stream_state(s);
    if (s->rerr)
        return stream_read_fail(L, s, s->rerr);
    if (s->gone) {
        s->gone = false;
        return vmctl_fail(L, VMCTL_EOF, "read %s", vmctl_stream_name(s));
    }
    if (status == LUA_OK)
        vmctl_set_deadline(st, L, at, ls->read_timeout);
    int why = status == LUA_YIELD ? vmctl_why(st, L) : 0;
    if (why)
        return vmctl_fail(L, why, "read %s", vmctl_stream_name(s));
    int busy = vmctl_stream_busy(L, s, &s->readers, "read");
    if (busy)
        return busy;
    vmctl_stream_want(s, need);
    return vmctl_park(st, L, &s->readers, at, ctx, k);
}

/* One attempt for a reader that lacks bytes. With time-out 0 the kernel is asked even if it seemed to have no more. */
static bool stream_more(lua_State *L, struct vmctl_lua_stream *ls, size_t want, int status, int at)
{
    if (vmctl_waitq_busy(&ls->s.readers))
        return false;
    bool force = status == LUA_OK && lua_type(L, at) == LUA_TNUMBER && lua_tonumber(L, at) <= 0;
    return vmctl_stream_fill(&ls->s, want, force) > 0;
}

/* Takes `total` bytes off the input, of which the first `len` become a string. They are consumed first: the collector may
 * run a finalizer that closes the stream, but not before the string has its bytes. */
static int stream_push(lua_State *L, struct vmctl_stream *s, size_t len, size_t total)
{
    const char *head = (const char *)vmctl_buf_head(&s->in);
    vmctl_buf_consume(&s->in, total);
    lua_pushlstring(L, head, len);
    return 1;
}

static bool stream_pauses(lua_State *L, struct vmctl_stream *s, int status)
{
    return status == LUA_OK && vmctl_must_pause(vmctl_stream_state(s), L);
}

/* s:read([n], [timeout]) */
static int stream_read(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua_stream *ls = vmctl_stream_check(L, 1);
    struct vmctl_stream *s = &ls->s;
    size_t most = (size_t)lua_tointeger(L, 2);
    if (stream_pauses(L, s, status))
        return vmctl_pause_before(vmctl_stream_state(s), L, stream_read);
    size_t len = vmctl_buf_len(&s->in);
    if (!len && stream_more(L, ls, 0, status, 3))
        len = vmctl_buf_len(&s->in);
    if (!len)
        return vmctl_stream_await(L, ls, 1, status, 3, ctx, stream_read);
    if (len > most)
        len = most;
    return stream_push(L, s, len, len);
}

static int l_stream_read(lua_State *L)
{
    vmctl_stream_check(L, 1);
    if (lua_istable(L, 2)) {
        lua_pushnil(L);
        lua_insert(L, 2);
    }
    lua_settop(L, 3);
    lua_Integer most = luaL_optinteger(L, 2, LUA_MAXINTEGER);
    luaL_argcheck(L, most > 0, 2, "a number of bytes above 0 expected");
    lua_pushinteger(L, most);
    lua_replace(L, 2);
    return stream_read(L, LUA_OK, 0);
}

/* s:read_exact(n, [timeout]) */
static int stream_read_exact(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua_stream *ls = vmctl_stream_check(L, 1);
    struct vmctl_stream *s = &ls->s;
    size_t need = (size_t)lua_tointeger(L, 2);
    if (stream_pauses(L, s, status))
        return vmctl_pause_before(vmctl_stream_state(s), L, stream_read_exact);
    while (vmctl_buf_len(&s->in) < need && stream_more(L, ls, need - vmctl_buf_len(&s->in), status, 3))
        ;
    if (vmctl_buf_len(&s->in) < need)
        return vmctl_stream_await(L, ls, need, status, 3, ctx, stream_read_exact);
    return stream_push(L, s, need, need);
}

static int l_stream_read_exact(lua_State *L)
{
    struct vmctl_lua_stream *ls = vmctl_stream_check(L, 1);
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_argcheck(L, n >= 0, 2, "a number of bytes expected");
    if ((size_t)n > ls->s.in.max)
        return vmctl_fail_text(L, VMCTL_ETOOBIG, "read %s: %lld bytes at once are more than the limit of %zu",
                               vmctl_stream_name(&ls->s), (long long)n, ls->s.in.max);
    lua_settop(L, 3);
    return stream_read_exact(L, LUA_OK, 0);
}

static int stream_too_big(lua_State *L, struct vmctl_stream *s, size_t max)
{
    vmctl_fail_text(L, VMCTL_ETOOBIG, "read %s: a line over the limit of %zu bytes", vmctl_stream_name(s), max);
    vmctl_stream_close(s);
    return 3;
}

/* s:read_line([max], [timeout]); the context keeps how much is known to hold no line feed */
static int stream_read_line(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua_stream *ls = vmctl_stream_check(L, 1);
    struct vmctl_stream *s = &ls->s;
    size_t max = (size_t)lua_tointeger(L, 2), scanned = (size_t)ctx;
    if (stream_pauses(L, s, status))
        return vmctl_pause_before(vmctl_stream_state(s), L, stream_read_line);
    struct vmctl_line line;
    for (;;) {
        size_t len = vmctl_buf_len(&s->in);
        enum vmctl_line_status got = vmctl_line_peek(vmctl_buf_head(&s->in), len, max, &scanned, &line);
        if (got == VMCTL_LINE_TOO_BIG)
            return stream_too_big(L, s, max);
        if (got == VMCTL_LINE_DONE)
            break;
        if (!stream_more(L, ls, 0, status, 3))
            return vmctl_stream_await(L, ls, len + 1, status, 3, (lua_KContext)scanned, stream_read_line);
    }
    return stream_push(L, s, line.size, line.total);
}

static int l_stream_read_line(lua_State *L)
{
    struct vmctl_lua_stream *ls = vmctl_stream_check(L, 1);
    if (lua_istable(L, 2)) {
        lua_getfield(L, 2, "max");
        lua_insert(L, 2);
    }
    lua_settop(L, 3);
    lua_Integer max = luaL_optinteger(L, 2, VMCTL_STREAM_IN);
    luaL_argcheck(L, max > 0, 2, "a limit above 0 expected");
    lua_pushinteger(L, max);
    lua_replace(L, 2);
    if ((size_t)max > SIZE_MAX / 4)
        return luaL_argerror(L, 2, "too large");
    if (ls->s.in.max < (size_t)max + VMCTL_SCRATCH)
        ls->s.in.max = (size_t)max + VMCTL_SCRATCH;
    return stream_read_line(L, LUA_OK, 0);
}

/* s:skip_past(pattern, [timeout]) -> true: throws input away up to the end of the first match */
static int stream_skip_past(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua_stream *ls = vmctl_stream_check(L, 1);
    struct vmctl_stream *s = &ls->s;
    size_t size;
    const char *pattern = lua_tolstring(L, 2, &size);
    for (;;) {
        size_t len = vmctl_buf_len(&s->in);
        const uint8_t *head = vmctl_buf_head(&s->in), *hit = len >= size ? memmem(head, len, pattern, size) : NULL;
        if (hit) {
            vmctl_buf_consume(&s->in, (size_t)(hit - head) + size);
            lua_pushboolean(L, 1);
            return 1;
        }
        if (len >= size)
            vmctl_buf_consume(&s->in, len - size + 1); /* what is left may be the pattern's beginning */
        if (!stream_more(L, ls, 0, status, 3))
            return vmctl_stream_await(L, ls, vmctl_buf_len(&s->in) + 1, status, 3, ctx, stream_skip_past);
    }
}

static int l_stream_skip_past(lua_State *L)
{
    vmctl_stream_check(L, 1);
    size_t size;
    luaL_checklstring(L, 2, &size);
    luaL_argcheck(L, size > 0, 2, "a pattern of at least one byte expected");
    lua_settop(L, 3);
    return stream_skip_past(L, LUA_OK, 0);
}

/* s:discard(): forgets what was received and not read, and what was queued and not sent */
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

/* s:write(bytes, [timeout]) -> true; on failure the fourth value is how many bytes were taken. The context is that number. */
static int stream_write(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua_stream *ls = vmctl_stream_check(L, 1);
    struct vmctl_stream *s = &ls->s;
    struct vmctl_lua *st = vmctl_stream_state(s);
    size_t len, at = (size_t)ctx;
    const char *bytes = lua_tolstring(L, 2, &len);
    int why = status == LUA_YIELD ? vmctl_why(st, L) : 0;
    while (!why) {
        why = s->werr;
        if (why || (at == len && (s->corked || !vmctl_buf_len(&s->out))))
            break;
        if (vmctl_buf_len(&s->out) > (s->corked ? VMCTL_STREAM_HIGH : 0)) {
            if (status == LUA_OK)
                vmctl_set_deadline(st, L, 3, ls->write_timeout);
            return vmctl_park(st, L, &s->writers, 3, (lua_KContext)at, stream_write);
        }
        struct iovec iov = { (void *)(bytes + at), len - at < VMCTL_STREAM_HIGH ? len - at : VMCTL_STREAM_HIGH };
        why = vmctl_stream_send(s, &iov, 1);
        if (!why)
            at += iov.iov_len;
    }
    if (why) {
        vmctl_fail(L, why, "write %s", vmctl_stream_name(s));
        lua_pushinteger(L, (lua_Integer)at);
        return 4;
    }
    lua_pushboolean(L, 1);
    return 1;
}

static int stream_write_begin(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    int busy = vmctl_stream_busy(L, s, &s->writers, "write");
    return busy ? busy : stream_write(L, LUA_OK, 0);
}

static int l_stream_write(lua_State *L)
{
    struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    luaL_checkstring(L, 2);
    lua_settop(L, 3);
    if (stream_pauses(L, s, LUA_OK))
        return vmctl_pause_before(vmctl_stream_state(s), L, stream_write_begin);
    return stream_write_begin(L, LUA_OK, 0);
}

/* s:flush([timeout]) and s:shutdown([timeout]): the context says which */
static int stream_drain(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua_stream *ls = vmctl_stream_check(L, 1);
    struct vmctl_stream *s = &ls->s;
    struct vmctl_lua *st = vmctl_stream_state(s);
    const char *what = ctx ? "shutdown" : "flush";
    int why = status == LUA_YIELD ? vmctl_why(st, L) : 0;
    if (!why)
        why = ctx ? vmctl_stream_shutdown(s) : vmctl_stream_flush(s);
    if (why == -EAGAIN) {
        if (status == LUA_OK)
            vmctl_set_deadline(st, L, 2, ls->write_timeout);
        return vmctl_park(st, L, &s->writers, 2, ctx, stream_drain);
    }
    if (why)
        return vmctl_fail(L, why, "%s %s", what, vmctl_stream_name(s));
    lua_pushboolean(L, 1);
    return 1;
}

static int stream_drain_begin(lua_State *L, lua_KContext which)
{
    struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    lua_settop(L, 2);
    int busy = vmctl_stream_busy(L, s, &s->writers, which ? "shutdown" : "flush");
    return busy ? busy : stream_drain(L, LUA_OK, which);
}

static int l_stream_flush(lua_State *L)
{
    vmctl_stream_check(L, 1)->s.corked = false;
    return stream_drain_begin(L, 0);
}

static int l_stream_shutdown(lua_State *L)
{
    return stream_drain_begin(L, 1);
}

static int l_stream_cork(lua_State *L)
{
    vmctl_stream_check(L, 1)->s.corked = true;
    return 0;
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
    vmctl_stream_close(&ls->s);
    stream_end_child(ls);
    lua_pushboolean(L, 1);
    return 1;
}

static int l_stream_gc(lua_State *L)
{
    struct vmctl_lua_stream *ls = vmctl_stream_check(L, 1);
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
    unsigned rows = (unsigned)luaL_checkinteger(L, 2), cols = (unsigned)luaL_checkinteger(L, 3);
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
    size_t longest = s->format.max;
    for (uint32_t i = 0; i < s->format.nlimits; i++)
        if (s->format.limits[i] > longest)
            longest = s->format.limits[i];
    if (s->in.max < longest + VMCTL_FRAME_HEAD_MAX + VMCTL_SCRATCH)
        s->in.max = longest + VMCTL_FRAME_HEAD_MAX + VMCTL_SCRATCH;
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

/* s:hung_up(): has the peer ended its side, even though bytes of it may still be unread? Second: has it gone altogether? */
static int l_stream_hung_up(lua_State *L)
{
    const struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    struct pollfd p = { .fd = s->rfd >= 0 ? s->rfd : s->wfd, .events = POLLRDHUP };
    if (p.fd < 0 || poll(&p, 1, 0) < 0)
        p.revents = POLLHUP;
    lua_pushboolean(L, p.revents & (POLLRDHUP | POLLHUP | POLLERR));
    lua_pushboolean(L, p.revents & (POLLHUP | POLLERR));
    return 2;
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

static enum vmctl_stream_kind open_kind(int fd)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode))
        return VMCTL_STREAM_SOCKET;
    return isatty(fd) ? VMCTL_STREAM_TTY : VMCTL_STREAM_PIPE;
}

/* core.open(fd, [kind], [label]) -> stream: takes the fd, which it makes non-blocking. Without a kind it looks what the fd
 * is; only a virtio port cannot be told from other devices. */
static int l_open(lua_State *L)
{
    static const char *const kinds[] = { "socket", "pipe", "tty", "serial", NULL };
    struct vmctl_lua *st = vmctl_lua_get(L);
    int fd = (int)luaL_checkinteger(L, 1);
    int kind = lua_isnoneornil(L, 2) ? (int)open_kind(fd) : luaL_checkoption(L, 2, NULL, kinds);
    const char *label = luaL_optstring(L, 3, "fd");
    struct vmctl_stream *s = vmctl_stream_new(L, st);
    int err = vmctl_sys_prepare(fd);
    if (err)
        return vmctl_fail(L, err, "open %s", label);
    vmctl_stream_open(s, fd, fd, (enum vmctl_stream_kind)kind);
    vmctl_stream_label(s, label);
    return 1;
}

/* core.open_path(path, label) -> stream: a terminal line (put into raw mode) or a virtio port */
static int l_open_path(lua_State *L)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    const char *path = luaL_checkstring(L, 1), *label = luaL_optstring(L, 2, path);
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
    return 2;
}

void vmctl_stream_register(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "read", l_stream_read }, { "read_exact", l_stream_read_exact },
        { "read_line", l_stream_read_line }, { "read_frame", vmctl_l_read_frame },
        { "read_frames", vmctl_l_read_frames }, { "write", l_stream_write },
        { "write_frame", vmctl_l_write_frame }, { "write_frames", vmctl_l_write_frames },
        { "skip_past", l_stream_skip_past }, { "discard", l_stream_discard },
        { "cork", l_stream_cork }, { "flush", l_stream_flush },
        { "shutdown", l_stream_shutdown }, { "close", l_stream_close },
        { "closed", l_stream_closed }, { "detach", l_stream_detach },
        { "fileno", l_stream_fileno }, { "peer", l_stream_peer },
        { "address", l_stream_address }, { "credentials", l_stream_credentials },
        { "stats", l_stream_stats }, { "set_timeout", l_stream_set_timeout },
        { "set_format", l_stream_set_format }, { "label", l_stream_label },
        { "resize", l_stream_resize }, { "hung_up", l_stream_hung_up },
        { NULL, NULL }
    };
    static const luaL_Reg meta[] = { { "__gc", l_stream_gc },
                                     { "__close", l_stream_close },
                                     { "__tostring", l_stream_tostring },
                                     { NULL, NULL } };
    static const luaL_Reg functions[] = { { "open", l_open }, { "open_path", l_open_path }, { "pair", l_pair }, { NULL, NULL } };
    vmctl_class(L, VMCTL_STREAM, methods, meta);
    luaL_setfuncs(L, functions, 0);
    vmctl_format_register(L);
}
