/* Writing bytes to a stream, and ending it. */
#include "lua/fail.h"
#include "lua/park.h"
#include "lua/stream.h"

#include <errno.h>

/* s:write(bytes, [timeout]) -> true; on failure the fourth value is the number of bytes that were taken. The context is that number. */
static int stream_write(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua_stream *ls = vmctl_stream_checked(L);
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
            return vmctl_park(st, L, &s->writers, 3, status, (lua_KContext)at, stream_write);
        }
        struct iovec iov = { (void *)(bytes + at), len - at < VMCTL_STREAM_HIGH ? len - at : VMCTL_STREAM_HIGH };
        why = vmctl_stream_send(s, &iov, 1);
        if (!why)
            at += iov.iov_len;
    }
    if (why) {
        if (s->werr)
            vmctl_trace_end(L, s, "end_out", s->werr);
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
    struct vmctl_stream *s = &vmctl_stream_checked(L)->s;
    int busy = vmctl_stream_busy(L, s, &s->writers, "write");
    if (busy)
        return busy;
    if (vmctl_stream_traced(s) && !s->werr)
        vmctl_trace_bytes(L, s, "bytes_out", 2);
    return stream_write(L, LUA_OK, 0);
}

int vmctl_l_write(lua_State *L)
{
    struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    luaL_checkstring(L, 2);
    lua_settop(L, 3);
    if (vmctl_stream_pauses(L, s, LUA_OK))
        return vmctl_pause_before(vmctl_stream_state(s), L, stream_write_begin);
    return stream_write_begin(L, LUA_OK, 0);
}

/* s:flush([timeout]) and s:shutdown([timeout]): the context says which */
static int stream_drain(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua_stream *ls = vmctl_stream_checked(L);
    struct vmctl_stream *s = &ls->s;
    struct vmctl_lua *st = vmctl_stream_state(s);
    const char *what = ctx ? "shutdown" : "flush";
    int why = status == LUA_YIELD ? vmctl_why(st, L) : 0;
    if (!why)
        why = ctx ? vmctl_stream_shutdown(s) : vmctl_stream_flush(s);
    if (why == -EAGAIN) {
        if (status == LUA_OK)
            vmctl_set_deadline(st, L, 2, ls->write_timeout);
        return vmctl_park(st, L, &s->writers, 2, status, ctx, stream_drain);
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

int vmctl_l_flush(lua_State *L)
{
    vmctl_stream_check(L, 1)->s.corked = false;
    return stream_drain_begin(L, 0);
}

int vmctl_l_shutdown(lua_State *L)
{
    return stream_drain_begin(L, 1);
}

int vmctl_l_cork(lua_State *L)
{
    vmctl_stream_check(L, 1)->s.corked = true;
    return 0;
}
