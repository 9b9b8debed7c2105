/* Reading bytes and lines from a stream. Each function is its own continuation: see vmctl_park. */
#include "lua/check.h"
#include "lua/fail.h"
#include "lua/park.h"
#include "lua/stream.h"
#include "wire/line.h"

#include <errno.h>
#include <string.h>

enum { LINE_START = 256 };

/* Fails a read for good; the message names an unfinished rest. */
static int stream_read_fail(lua_State *L, struct vmctl_stream *s, int err)
{
    vmctl_trace_end(L, s, "end_in", err);
    if (err == VMCTL_ETOOBIG)
        return vmctl_fail_text(L, err, "read %s: inside a %s over the limit", vmctl_stream_name(s), s->skip ? "frame" : "line");
    size_t left = vmctl_buf_len(&s->in);
    if (err == VMCTL_EOF && left)
        return vmctl_fail_text(L, -EPROTO, "read %s: the stream ended after %zu bytes of an unfinished message",
                               vmctl_stream_name(s), left);
    return vmctl_fail(L, err, "read %s", vmctl_stream_name(s));
}

int vmctl_stream_await(lua_State *L, struct vmctl_lua_stream *ls, size_t need, const struct vmctl_reading *r)
{
    struct vmctl_stream *s = &ls->s;
    struct vmctl_lua *st = vmctl_stream_state(s);
    if (s->rerr)
        return stream_read_fail(L, s, s->rerr);
    if (s->gone) {
        s->gone = false;
        return vmctl_fail(L, VMCTL_EOF, "read %s", vmctl_stream_name(s));
    }
    if (r->status == LUA_OK)
        vmctl_set_deadline(st, L, r->at, ls->read_timeout);
    int why = r->status == LUA_YIELD ? vmctl_why(st, L) : 0;
    if (why)
        return vmctl_fail(L, why, "read %s", vmctl_stream_name(s));
    int busy = vmctl_stream_busy(L, s, &s->readers, "read");
    if (busy)
        return busy;
    vmctl_stream_want(s, need);
    return vmctl_park(st, L, &s->readers, r->at, r->status, r->ctx, r->k);
}

bool vmctl_stream_read_held(lua_State *L, struct vmctl_stream *s, struct vmctl_reading *r, bool pauses)
{
    r->results = pauses ? vmctl_pause_before(vmctl_stream_state(s), L, r->k) : stream_read_fail(L, s, s->rerr);
    return false;
}

bool vmctl_stream_asks(lua_State *L, const struct vmctl_reading *r)
{
    return r->status == LUA_OK && lua_type(L, r->at) == LUA_TNUMBER && lua_tonumber(L, r->at) <= 0;
}

/* Tries to read once for a reader that needs more bytes. */
static bool stream_more(lua_State *L, struct vmctl_lua_stream *ls, size_t want, const struct vmctl_reading *r)
{
    return !vmctl_waitq_busy(&ls->s.readers) && vmctl_stream_fill(&ls->s, want, vmctl_stream_asks(L, r)) > 0;
}

/* Takes `total` bytes off the input, of which the first `len` become a string. They are consumed first: the collector may
 * run a finalizer that closes the stream, but not before the string has its bytes. */
static int stream_push(lua_State *L, struct vmctl_stream *s, size_t len, size_t total)
{
    const char *head = (const char *)vmctl_buf_head(&s->in);
    vmctl_buf_consume(&s->in, total);
    lua_pushlstring(L, head, len);
    if (vmctl_stream_traced(s))
        vmctl_trace_bytes(L, s, total > len ? "line_in" : "bytes_in", -1);
    return 1;
}

/* s:read([n], [timeout]) */
static int stream_read(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua_stream *ls = vmctl_stream_checked(L);
    struct vmctl_stream *s = &ls->s;
    size_t most = vmctl_size_clamp(lua_tointeger(L, 2));
    struct vmctl_reading r = { .status = status, .at = 3, .ctx = ctx, .k = stream_read };
    if (!vmctl_stream_read_begin(L, s, &r))
        return r.results;
    size_t len = vmctl_buf_len(&s->in);
    if (!len && stream_more(L, ls, 0, &r))
        len = vmctl_buf_len(&s->in);
    if (!len)
        return vmctl_stream_await(L, ls, 1, &r);
    if (len > most)
        len = most;
    return stream_push(L, s, len, len);
}

int vmctl_l_read(lua_State *L)
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
    struct vmctl_lua_stream *ls = vmctl_stream_checked(L);
    struct vmctl_stream *s = &ls->s;
    size_t need = (size_t)lua_tointeger(L, 2);
    struct vmctl_reading r = { .status = status, .at = 3, .ctx = ctx, .k = stream_read_exact };
    if (!vmctl_stream_read_begin(L, s, &r))
        return r.results;
    while (vmctl_buf_len(&s->in) < need && stream_more(L, ls, need - vmctl_buf_len(&s->in), &r))
        ;
    if (vmctl_buf_len(&s->in) < need)
        return vmctl_stream_await(L, ls, need, &r);
    return stream_push(L, s, need, need);
}

int vmctl_l_read_exact(lua_State *L)
{
    struct vmctl_lua_stream *ls = vmctl_stream_check(L, 1);
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_argcheck(L, n >= 0, 2, "a number of bytes expected");
    if (n > (lua_Integer)ls->s.in.max)
        return vmctl_fail_text(L, VMCTL_ETOOBIG, "read %s: %lld bytes at once are more than the limit of %zu",
                               vmctl_stream_name(&ls->s), (long long)n, ls->s.in.max);
    lua_settop(L, 3);
    return stream_read_exact(L, LUA_OK, 0);
}

/* Ends reading until skip_past has found the line's end; sending goes on, so that the peer can be told. Fails with four values, of
 * which the last is the beginning of the line. */
static int stream_too_big(lua_State *L, struct vmctl_stream *s, size_t max)
{
    char start[LINE_START];
    size_t len = max < sizeof start ? max : sizeof start;
    memcpy(start, vmctl_buf_head(&s->in), len);
    vmctl_buf_consume(&s->in, max);
    s->rerr = VMCTL_ETOOBIG;
    vmctl_fail_text(L, VMCTL_ETOOBIG, "read %s: a line over the limit of %zu bytes", vmctl_stream_name(s), max);
    lua_pushlstring(L, start, len);
    return 4;
}

/* s:read_line([max], [timeout]); the context: bytes known to hold no line feed */
static int stream_read_line(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua_stream *ls = vmctl_stream_checked(L);
    struct vmctl_stream *s = &ls->s;
    size_t max = vmctl_size_clamp(lua_tointeger(L, 2)), scanned = (size_t)ctx;
    struct vmctl_reading r = { .status = status, .at = 3, .ctx = ctx, .k = stream_read_line };
    if (!vmctl_stream_read_begin(L, s, &r))
        return r.results;
    struct vmctl_line line;
    for (;;) {
        size_t len = vmctl_buf_len(&s->in);
        enum vmctl_line_status got = vmctl_line_peek(vmctl_buf_head(&s->in), len, max, &scanned, &line);
        if (got == VMCTL_LINE_TOO_BIG)
            return stream_too_big(L, s, max);
        if (got == VMCTL_LINE_DONE)
            break;
        if (!stream_more(L, ls, 0, &r)) {
            r.ctx = (lua_KContext)scanned;
            return vmctl_stream_await(L, ls, len + 1, &r);
        }
    }
    return stream_push(L, s, line.size, line.total);
}

int vmctl_l_read_line(lua_State *L)
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
    if (ls->s.in.max < vmctl_size_clamp(max) + VMCTL_SCRATCH)
        ls->s.in.max = vmctl_size_clamp(max) + VMCTL_SCRATCH;
    return stream_read_line(L, LUA_OK, 0);
}

/* s:skip_past(pattern, [timeout]) -> true: drops input up to the end of the first match */
static int stream_skip_past(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua_stream *ls = vmctl_stream_checked(L);
    struct vmctl_stream *s = &ls->s;
    struct vmctl_reading r = { .status = status, .at = 3, .ctx = ctx, .k = stream_skip_past };
    size_t size;
    const char *pattern = lua_tolstring(L, 2, &size);
    if (s->rerr == VMCTL_ETOOBIG)
        s->rerr = 0;
    s->skip = 0;
    for (;;) {
        size_t len = vmctl_buf_len(&s->in);
        const uint8_t *head = vmctl_buf_head(&s->in), *hit = len >= size ? memmem(head, len, pattern, size) : NULL;
        if (hit) {
            vmctl_buf_consume(&s->in, (size_t)(hit - head) + size);
            lua_pushboolean(L, 1);
            return 1;
        }
        if (len >= size)
            vmctl_buf_consume(&s->in, len - size + 1); /* the rest may be the pattern's beginning */
        if (!stream_more(L, ls, 0, &r))
            return vmctl_stream_await(L, ls, vmctl_buf_len(&s->in) + 1, &r);
    }
}

/* s:skip_frame([timeout]) -> true: drops the rest of a frame over the limit, as it comes */
static int stream_skip_frame(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua_stream *ls = vmctl_stream_checked(L);
    struct vmctl_stream *s = &ls->s;
    struct vmctl_reading r = { .status = status, .at = 2, .ctx = ctx, .k = stream_skip_frame };
    if (s->rerr == VMCTL_ETOOBIG)
        s->rerr = 0;
    for (;;) {
        size_t len = vmctl_buf_len(&s->in), n = len < s->skip ? len : s->skip;
        vmctl_buf_consume(&s->in, n);
        s->skip -= n;
        if (!s->skip) {
            lua_pushboolean(L, 1);
            return 1;
        }
        if (!stream_more(L, ls, 0, &r)) {
            int results = vmctl_stream_await(L, ls, 1, &r);
            if (s->skip && !s->rerr) /* not in time: the rest of it still has to be skipped */
                s->rerr = VMCTL_ETOOBIG;
            return results;
        }
    }
}

/* s:read_skipped(most, [timeout]) -> up to that many bytes of a frame over the limit, "" when there is no more of it */
static int stream_read_skipped(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua_stream *ls = vmctl_stream_checked(L);
    struct vmctl_stream *s = &ls->s;
    struct vmctl_reading r = { .status = status, .at = 3, .ctx = ctx, .k = stream_read_skipped };
    size_t most = vmctl_size_clamp(lua_tointeger(L, 2));
    if (s->rerr == VMCTL_ETOOBIG)
        s->rerr = 0;
    if (!s->skip) {
        lua_pushliteral(L, "");
        return 1;
    }
    if (!vmctl_buf_len(&s->in) && !stream_more(L, ls, 0, &r)) {
        int results = vmctl_stream_await(L, ls, 1, &r);
        if (!s->rerr)
            s->rerr = VMCTL_ETOOBIG;
        return results;
    }
    size_t n = vmctl_buf_len(&s->in);
    n = n < most ? n : most;
    n = n < s->skip ? n : s->skip;
    s->skip -= n;
    if (s->skip)
        s->rerr = VMCTL_ETOOBIG; /* the rest of it still has to be skipped */
    return stream_push(L, s, n, n);
}

int vmctl_l_read_skipped(lua_State *L)
{
    struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    luaL_argcheck(L, luaL_checkinteger(L, 2) > 0, 2, "a number of bytes expected");
    lua_settop(L, 3);
    int busy = vmctl_stream_busy(L, s, &s->readers, "read");
    return busy ? busy : stream_read_skipped(L, LUA_OK, 0);
}

int vmctl_l_skip_frame(lua_State *L)
{
    struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    lua_settop(L, 2);
    int busy = vmctl_stream_busy(L, s, &s->readers, "read");
    return busy ? busy : stream_skip_frame(L, LUA_OK, 0);
}

int vmctl_l_skip_past(lua_State *L)
{
    vmctl_stream_check(L, 1);
    size_t size;
    luaL_checklstring(L, 2, &size);
    luaL_argcheck(L, size > 0, 2, "a pattern of at least one byte expected");
    lua_settop(L, 3);
    return stream_skip_past(L, LUA_OK, 0);
}
