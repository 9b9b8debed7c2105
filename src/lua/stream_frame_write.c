/* Writing frames to a stream. */
#include "lua/check.h"
#include "lua/fail.h"
#include "lua/park.h"
#include "lua/stream.h"

#include <errno.h>

/* The four calls share one stack layout: 1 stream, 2 type or types or nil, 3 payload or payloads, 4 time-out, then stream id and
 * flags. The context counts the frames that are queued or written. */

enum { W_TYPE = 2, W_PAYLOAD, W_TIMEOUT, W_STREAM, W_FLAGS };

enum { FRAME_MISUSE = 1 }; /* beside the negative errors: raised only once the stream is in order again */

static bool frame_type(lua_State *L, const struct vmctl_stream *s, int at, uint32_t *type)
{
    *type = 0;
    if (!s->format.type_size)
        return true;
    int is_integer;
    lua_Integer v = lua_tointegerx(L, at, &is_integer), most = s->format.type_size == 1 ? UINT8_MAX : UINT16_MAX;
    *type = (uint32_t)v;
    return is_integer && v >= 0 && v <= most;
}

/* Fields that are the same for all frames of a call are read once, into `frame`. */
struct frame_source {
    struct vmctl_frame frame;
    lua_Integer count;
    bool many, types; /* an array of payloads; with an array of types beside it */
    bool typed;       /* if not: the one type for all has no room in the format */
};

static struct frame_source frame_source(lua_State *L, const struct vmctl_stream *s)
{
    struct frame_source from = { .many = lua_istable(L, W_PAYLOAD) };
    from.types = from.many && lua_istable(L, W_TYPE);
    from.count = from.many ? (lua_Integer)lua_rawlen(L, W_PAYLOAD) : 1;
    from.typed = from.types || frame_type(L, s, W_TYPE, &from.frame.type);
    if (s->format.stream_size)
        from.frame.stream = (uint32_t)lua_tointeger(L, W_STREAM);
    if (s->format.flags_size)
        from.frame.flags = (uint8_t)lua_tointeger(L, W_FLAGS);
    return from;
}

/* The frame number `i` (from 0) of the call. */
static int frame_send_nth(lua_State *L, struct vmctl_stream *s, struct frame_source *from, lua_Integer i)
{
    if (from->types) {
        lua_rawgeti(L, W_TYPE, i + 1);
        from->typed = frame_type(L, s, -1, &from->frame.type);
        lua_pop(L, 1);
    }
    if (!from->many) /* a string: vmctl_l_write_frame has seen to that */
        lua_pushvalue(L, W_PAYLOAD);
    else
        lua_rawgeti(L, W_PAYLOAD, i + 1);
    const char *body = lua_tolstring(L, -1, &from->frame.size);
    int err = body && from->typed ? vmctl_stream_send_frame(s, &from->frame, body) : FRAME_MISUSE;
    if (vmctl_stream_traced(s) && !err)
        vmctl_trace_frame(L, s, "frame_out", &from->frame, -1);
    lua_pop(L, 1);
    return err;
}

static int frame_write_fail(lua_State *L, struct vmctl_stream *s, int why, lua_KContext done)
{
    if (s->werr)
        vmctl_trace_end(L, s, "end_out", s->werr);
    if (why == VMCTL_ETOOBIG)
        vmctl_fail_text(L, why, "write %s: a frame over its type's limit", vmctl_stream_name(s));
    else
        vmctl_fail(L, why, "write %s", vmctl_stream_name(s));
    lua_pushinteger(L, (lua_Integer)done);
    return 4;
}

static int stream_write_frames(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua_stream *ls = vmctl_stream_checked(L);
    struct vmctl_stream *s = &ls->s;
    struct vmctl_lua *st = vmctl_stream_state(s);
    struct frame_source from = frame_source(L, s);
    lua_Integer count = from.count, i = (lua_Integer)ctx;
    bool corked = s->corked, batch = !corked && count > 1; /* a batch leaves in one piece */
    int why = status == LUA_YIELD ? vmctl_why(st, L) : 0;
    if (batch)
        s->corked = true;
    size_t high = s->corked ? VMCTL_STREAM_HIGH : 0;
    do {
        while (!why && i < count && vmctl_buf_len(&s->out) <= high) {
            why = frame_send_nth(L, s, &from, i);
            if (!why)
                i++;
        }
        if (batch && !why)
            why = vmctl_stream_flush(s);
    } while (!why && i < count && vmctl_buf_len(&s->out) <= high);
    s->corked = corked;
    if (why == FRAME_MISUSE)
        return luaL_error(L, "frame %I: a string with a type that the format has room for expected", i + 1);
    if (why == -EAGAIN)
        why = 0;
    if (why)
        return frame_write_fail(L, s, why, (lua_KContext)i);
    if (i < count || vmctl_buf_len(&s->out) > (corked ? VMCTL_STREAM_HIGH : 0)) {
        if (status == LUA_OK)
            vmctl_set_deadline(st, L, W_TIMEOUT, ls->write_timeout);
        return vmctl_park(st, L, &s->writers, W_TIMEOUT, status, (lua_KContext)i, stream_write_frames);
    }
    lua_pushboolean(L, 1);
    return 1;
}

static int frame_write_begin(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    struct vmctl_stream *s = &vmctl_stream_checked(L)->s;
    int busy = vmctl_stream_busy(L, s, &s->writers, "write");
    return busy ? busy : stream_write_frames(L, LUA_OK, 0);
}

/* Untyped formats are called without the type: puts a nil in its place. */
static int frame_write_prepare(lua_State *L)
{
    struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    vmctl_frame_need_format(L, s);
    if (!s->format.type_size) {
        lua_pushnil(L);
        lua_insert(L, W_TYPE);
    }
    lua_settop(L, W_FLAGS);
    if (s->format.stream_size)
        lua_rotate(L, W_TIMEOUT, 1); /* type, payload, stream id, flags, as read_frame gives them; then the time-out */
    if (s->format.stream_size && !lua_isnil(L, W_STREAM))
        vmctl_check_u32(L, W_STREAM);
    if (s->format.flags_size && !lua_isnil(L, W_FLAGS))
        vmctl_check_range(L, W_FLAGS, 0, UINT8_MAX);
    return vmctl_must_pause(vmctl_stream_state(s), L);
}

/* True for a frame of a type and a payload that can be sent, or added to the output of a corked stream, at once: the most frequent case. */
static bool frame_is_plain(lua_State *L, const struct vmctl_stream *s, struct vmctl_frame *frame, const char **body)
{
    size_t held = vmctl_buf_len(&s->out);
    if (!s->format.type_size || s->format.stream_size || s->format.flags_size || vmctl_stream_traced(s) || s->werr || s->shutting ||
        vmctl_waitq_busy(&s->writers) || held >= (s->corked ? VMCTL_STREAM_CORK / 2 : 1) ||
        lua_type(L, W_PAYLOAD) != LUA_TSTRING || !frame_type(L, s, W_TYPE, &frame->type))
        return false;
    *body = lua_tolstring(L, W_PAYLOAD, &frame->size);
    return frame->size < VMCTL_STREAM_CORK / 2 - VMCTL_FRAME_HEAD_MAX;
}

static int frame_write_plain(lua_State *L, struct vmctl_stream *s, const struct vmctl_frame *frame, const char *body)
{
    bool pauses = vmctl_must_pause(vmctl_stream_state(s), L);
    int why = pauses ? 0 : vmctl_stream_send_frame(s, frame, body);
    if (!pauses && !why && (s->corked || !vmctl_buf_len(&s->out))) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_settop(L, W_FLAGS);
    if (pauses)
        return vmctl_pause_before(vmctl_stream_state(s), L, frame_write_begin);
    return why ? frame_write_fail(L, s, why, 0) : stream_write_frames(L, LUA_OK, 1); /* which waits until the rest is gone */
}

/* s:write_frame([type,] payload, [stream id, flags,] [timeout]) */
int vmctl_l_write_frame(lua_State *L)
{
    struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    struct vmctl_frame plain = { 0 };
    const char *body;
    if (frame_is_plain(L, s, &plain, &body))
        return frame_write_plain(L, s, &plain, body);
    int pause = frame_write_prepare(L);
    luaL_checkstring(L, W_PAYLOAD);
    if (pause)
        return vmctl_pause_before(vmctl_lua_get(L), L, frame_write_begin);
    return frame_write_begin(L, LUA_OK, 0);
}

/* s:write_frames([type or types,] payloads, [timeout]) */
int vmctl_l_write_frames(lua_State *L)
{
    int pause = frame_write_prepare(L);
    luaL_checktype(L, W_PAYLOAD, LUA_TTABLE);
    if (pause)
        return vmctl_pause_before(vmctl_lua_get(L), L, frame_write_begin);
    return frame_write_begin(L, LUA_OK, 0);
}
