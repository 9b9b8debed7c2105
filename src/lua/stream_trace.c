/* Passes the messages of streams to a Lua function while one is set: vmctl.trace records them. While there is none, a stream
 * tests one flag. */
#include "lua/classes.h"
#include "lua/state.h"
#include "lua/stream.h"

static const char hook_key;

/* The hook gets the event's name, the stream and the `n` values on top of the stack, which stay there. It must not wait. After an error
 * it is not called any more, and the traced stream goes on as without a trace. */
static void trace_call(lua_State *L, struct vmctl_lua *st, int stream_at, const char *event, int n)
{
    int top = lua_gettop(L);
    stream_at = lua_absindex(L, stream_at);
    if (!lua_checkstack(L, n + 3))
        return;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &hook_key);
    lua_pushstring(L, event);
    lua_pushvalue(L, stream_at);
    for (int i = top - n + 1; i <= top; i++)
        lua_pushvalue(L, i);
    if (lua_pcall(L, n + 2, 0, 0) != LUA_OK)
        st->traced = false;
    lua_settop(L, top);
}

void vmctl_trace_open(lua_State *L, const struct vmctl_stream *s, int stream_at, const char *how)
{
    if (!vmctl_stream_state(s)->traced)
        return;
    stream_at = lua_absindex(L, stream_at);
    lua_pushstring(L, how);
    trace_call(L, vmctl_stream_state(s), stream_at, "open", 1);
    lua_pop(L, 1);
}

void vmctl_trace_bytes(lua_State *L, const struct vmctl_stream *s, const char *event, int bytes_at)
{
    if (!vmctl_stream_state(s)->traced)
        return;
    lua_pushvalue(L, bytes_at);
    trace_call(L, vmctl_stream_state(s), 1, event, 1);
    lua_pop(L, 1);
}

void vmctl_trace_frame(lua_State *L, const struct vmctl_stream *s, const char *event, const struct vmctl_frame *frame,
                       int payload_at)
{
    if (!vmctl_stream_state(s)->traced || !lua_checkstack(L, 8))
        return;
    lua_pushvalue(L, payload_at);
    if (s->format.type_size)
        lua_pushinteger(L, frame->type);
    else
        lua_pushnil(L);
    int n = 2;
    if (s->format.stream_size || s->format.flags_size) {
        lua_pushinteger(L, frame->stream);
        lua_pushinteger(L, frame->flags);
        n = 4;
    }
    trace_call(L, vmctl_stream_state(s), 1, event, n);
    lua_pop(L, n);
}

void vmctl_trace_end(lua_State *L, const struct vmctl_stream *s, const char *event, int err)
{
    if (!vmctl_stream_state(s)->traced)
        return;
    lua_pushstring(L, vmctl_error_name(err));
    trace_call(L, vmctl_stream_state(s), 1, event, 1);
    lua_pop(L, 1);
}

void vmctl_trace_counts(lua_State *L, const struct vmctl_stream *s, int stream_at, const char *event, uint64_t in,
                        uint64_t out)
{
    if (!vmctl_stream_state(s)->traced)
        return;
    stream_at = lua_absindex(L, stream_at);
    lua_pushinteger(L, (lua_Integer)in);
    lua_pushinteger(L, (lua_Integer)out);
    trace_call(L, vmctl_stream_state(s), stream_at, event, 2);
    lua_pop(L, 2);
}

void vmctl_trace_close(lua_State *L, const struct vmctl_stream *s, const char *event)
{
    if (s->rfd >= 0 || s->wfd >= 0)
        vmctl_trace_counts(L, s, 1, event, s->bytes_in, s->bytes_out);
}

/* core.trace(function or nil): called as (event, stream, …) from now on:
 *   "open", "dial" | "accept" | "pair" | "fd" | "child"
 *   "bytes_in", "line_in", "bytes_out", bytes; a line without its line feed
 *   "frame_in", "frame_out", payload, [type, [stream id, flags]]; the type is nil where the format has none
 *   "end_in", "end_out", code: why no more can be read or written
 *   "close", "detach", "relayed", bytes in, bytes out; a relay has closed it; its bytes were not traced */
static int l_trace(lua_State *L)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    bool on = !lua_isnoneornil(L, 1);
    if (on)
        luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &hook_key);
    st->traced = on;
    return 0;
}

/* core.format_of(stream) -> its format, or nil */
static int l_format_of(lua_State *L)
{
    vmctl_stream_check(L, 1);
    lua_getiuservalue(L, 1, VMCTL_STREAM_FORMAT);
    return 1;
}

void vmctl_trace_register(lua_State *L)
{
    static const luaL_Reg functions[] = { { "trace", l_trace }, { "format_of", l_format_of }, { NULL, NULL } };
    luaL_setfuncs(L, functions, 0);
}
