/* vmctl.Format, and the frames of a stream. */
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/park.h"
#include "lua/stream.h"

#include <errno.h>
#include <string.h>

enum { FRAMES_AT_ONCE = 256 };

/* The format: user value 1 holds the limits array, which the struct points into. */

static lua_Integer format_field(lua_State *L, int arg, const char *name, lua_Integer otherwise)
{
    lua_getfield(L, arg, name);
    lua_Integer v = luaL_optinteger(L, -1, otherwise);
    lua_pop(L, 1);
    return v;
}

static void format_limits(lua_State *L, int arg, struct vmctl_frame_format *f)
{
    enum { LIMITS = 256 };
    if (lua_getfield(L, arg, "limits") != LUA_TTABLE) {
        lua_pop(L, 1);
        return;
    }
    uint32_t *limits = lua_newuserdatauv(L, LIMITS * sizeof *limits, 0);
    for (uint32_t i = 0; i < LIMITS; i++)
        limits[i] = f->max;
    lua_pushnil(L);
    while (lua_next(L, -3)) {
        lua_Integer type = luaL_checkinteger(L, -2), limit = luaL_checkinteger(L, -1);
        if (type < 0 || type >= LIMITS || limit < 0 || limit > UINT32_MAX)
            luaL_error(L, "limits: a type below %d and a limit of 32 bits expected", LIMITS);
        limits[type] = (uint32_t)limit;
        lua_pop(L, 1);
    }
    f->limits = limits;
    f->nlimits = LIMITS;
    lua_setiuservalue(L, -3, 1);
    lua_pop(L, 1);
}

/* core.format { type = 0|1|2, length = 4, max = n, limits = { [type] = n }, order = "type"|"length", stream = 0|4,
 * flags = 0|1 } */
static int l_format(lua_State *L)
{
    static const char *const known[] = { "type", "length", "max", "limits", "order", "stream", "flags", NULL };
    luaL_checktype(L, 1, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        const char *const *k = known;
        while (*k && strcmp(*k, key) != 0)
            k++;
        if (!*k)
            return luaL_error(L, "unknown option '%s' of a frame format", key);
    }
    lua_getfield(L, 1, "order");
    enum vmctl_frame_order order =
        strcmp(luaL_optstring(L, -1, "type"), "length") == 0 ? VMCTL_FRAME_LENGTH_FIRST : VMCTL_FRAME_TYPE_FIRST;
    lua_Integer max = format_field(L, 1, "max", -1);
    if (max < 0 || max > UINT32_MAX || format_field(L, 1, "length", 4) != 4)
        return luaL_error(L, "a frame format has a length of 4 bytes and a max of 32 bits");
    struct vmctl_frame_format *f = lua_newuserdatauv(L, sizeof *f, 1);
    int err = vmctl_frame_layout(f, order, (unsigned)format_field(L, 1, "type", 0),
                                 (unsigned)format_field(L, 1, "stream", 0), (unsigned)format_field(L, 1, "flags", 0),
                                 (uint32_t)max);
    if (err)
        return luaL_error(L, "a frame format with a field of a width that no frame has");
    luaL_setmetatable(L, VMCTL_FORMAT);
    format_limits(L, 1, f);
    return 1;
}

const struct vmctl_frame_format *vmctl_format_check(lua_State *L, int arg)
{
    if (lua_istable(L, arg)) {
        lua_pushcfunction(L, l_format);
        lua_pushvalue(L, arg);
        lua_call(L, 1, 1);
    } else {
        lua_pushvalue(L, arg);
    }
    return luaL_checkudata(L, -1, VMCTL_FORMAT);
}

/* Reading */

int vmctl_frame_push(lua_State *L, const struct vmctl_frame_format *f, const struct vmctl_frame *frame)
{
    int n = 1;
    if (f->type_size) {
        lua_pushinteger(L, frame->type);
        n++;
    }
    lua_pushlstring(L, (const char *)frame->body, frame->size);
    if (!f->stream_size && !f->flags_size)
        return n;
    lua_pushinteger(L, frame->stream);
    lua_pushinteger(L, frame->flags);
    return n + 2;
}

int vmctl_frame_too_big(lua_State *L, struct vmctl_stream *s, const struct vmctl_frame *frame)
{
    uint32_t limit = vmctl_frame_limit(&s->format, frame->type);
    vmctl_buf_consume(&s->in, s->format.head);
    s->skip = frame->size;
    s->rerr = VMCTL_ETOOBIG;
    vmctl_trace_end(L, s, "end_in", VMCTL_ETOOBIG);
    vmctl_fail_text(L, VMCTL_ETOOBIG, "read %s: a frame of type %u announces %zu bytes, the limit is %u",
                    vmctl_stream_name(s), (unsigned)frame->type, frame->size, (unsigned)limit);
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, frame->type);
    lua_setfield(L, -2, "type");
    lua_pushinteger(L, frame->stream);
    lua_setfield(L, -2, "stream");
    lua_pushinteger(L, frame->flags);
    lua_setfield(L, -2, "flags");
    lua_pushinteger(L, (lua_Integer)frame->size);
    lua_setfield(L, -2, "size");
    return 4;
}

void vmctl_frame_need_format(lua_State *L, const struct vmctl_stream *s)
{
    if (!s->format.head)
        luaL_error(L, "%s has no frame format: give it one with set_format", vmctl_stream_name(s));
}

enum vmctl_frame_status vmctl_frame_first(struct vmctl_stream *s, struct vmctl_frame *frame, bool force)
{
    for (;;) {
        size_t len = vmctl_buf_len(&s->in);
        enum vmctl_frame_status got = vmctl_frame_peek(&s->format, vmctl_buf_head(&s->in), len, frame);
        if (got != VMCTL_FRAME_MORE || vmctl_waitq_busy(&s->readers))
            return got;
        if (vmctl_stream_fill(s, frame->total - len, force) <= 0)
            return got;
    }
}

/* s:read_frame([timeout]) */
static int stream_read_frame(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua_stream *ls = vmctl_stream_checked(L);
    struct vmctl_stream *s = &ls->s;
    if (status == LUA_OK && vmctl_must_pause(vmctl_stream_state(s), L))
        return vmctl_pause_before(vmctl_stream_state(s), L, stream_read_frame);
    int overrun = vmctl_stream_overrun(L, s);
    if (overrun)
        return overrun;
    struct vmctl_frame frame;
    bool force = status == LUA_OK && lua_type(L, 2) == LUA_TNUMBER && lua_tonumber(L, 2) <= 0;
    enum vmctl_frame_status got = vmctl_frame_first(s, &frame, force);
    if (got == VMCTL_FRAME_TOO_BIG)
        return vmctl_frame_too_big(L, s, &frame);
    if (got == VMCTL_FRAME_MORE)
        return vmctl_stream_await(L, ls, frame.total, status, 2, ctx, stream_read_frame);
    vmctl_buf_consume(&s->in, frame.total); /* before a string is made, which may run a finalizer that closes the stream */
    int n = vmctl_frame_push(L, &s->format, &frame);
    if (vmctl_stream_traced(s))
        vmctl_trace_frame(L, s, "frame_in", &frame, s->format.type_size ? 1 - n : -n);
    return n;
}

int vmctl_l_read_frame(lua_State *L)
{
    vmctl_frame_need_format(L, &vmctl_stream_check(L, 1)->s);
    lua_settop(L, 2);
    return stream_read_frame(L, LUA_OK, 0);
}

/* All complete frames, `most` at the most, into two arrays; a frame that is too big waits for the next call. 0: none are
 * there any more. What makes a table or a string may run a finalizer, and that one may read from the stream or close it:
 * so frames are looked for after the tables are made, and each is consumed before its string. */
static int frames_take(lua_State *L, struct vmctl_stream *s, struct vmctl_frame *frame, lua_Integer most)
{
    bool typed = s->format.type_size > 0;
    lua_Integer guess = (lua_Integer)(vmctl_buf_len(&s->in) / frame->total); /* as if all were as long as the first */
    lua_createtable(L, (int)(guess < most ? guess : most), 0);
    if (typed)
        lua_createtable(L, (int)(guess < most ? guess : most), 0);
    int payloads = typed ? -3 : -2;
    lua_Integer n = 0;
    while (n < most && vmctl_frame_peek(&s->format, vmctl_buf_head(&s->in), vmctl_buf_len(&s->in), frame) ==
                           VMCTL_FRAME_DONE) {
        n++;
        vmctl_buf_consume(&s->in, frame->total);
        lua_pushlstring(L, (const char *)frame->body, frame->size);
        if (vmctl_stream_traced(s))
            vmctl_trace_frame(L, s, "frame_in", frame, -1);
        lua_rawseti(L, payloads, n);
        if (typed) {
            lua_pushinteger(L, frame->type);
            lua_rawseti(L, -2, n);
        }
    }
    if (!n)
        return 0;
    return typed ? 2 : 1;
}

/* s:read_frames([most], [timeout]) */
static int stream_read_frames(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua_stream *ls = vmctl_stream_checked(L);
    struct vmctl_stream *s = &ls->s;
    if (status == LUA_OK && vmctl_must_pause(vmctl_stream_state(s), L))
        return vmctl_pause_before(vmctl_stream_state(s), L, stream_read_frames);
    int overrun = vmctl_stream_overrun(L, s);
    if (overrun)
        return overrun;
    struct vmctl_frame frame;
    bool force = status == LUA_OK && lua_type(L, 3) == LUA_TNUMBER && lua_tonumber(L, 3) <= 0;
    enum vmctl_frame_status got = vmctl_frame_first(s, &frame, force);
    if (got == VMCTL_FRAME_TOO_BIG)
        return vmctl_frame_too_big(L, s, &frame);
    if (got == VMCTL_FRAME_MORE)
        return vmctl_stream_await(L, ls, frame.total, status, 3, ctx, stream_read_frames);
    int n = frames_take(L, s, &frame, lua_tointeger(L, 2));
    if (n)
        return n;
    lua_settop(L, 3);
    return stream_read_frames(L, status, ctx);
}

int vmctl_l_read_frames(lua_State *L)
{
    vmctl_frame_need_format(L, &vmctl_stream_check(L, 1)->s);
    lua_settop(L, 3);
    lua_Integer most = luaL_optinteger(L, 2, FRAMES_AT_ONCE);
    luaL_argcheck(L, most > 0, 2, "a number of frames above 0 expected");
    lua_pushinteger(L, most);
    lua_replace(L, 2);
    return stream_read_frames(L, LUA_OK, 0);
}

/* Writing. The stack of the four calls is brought to one shape: 1 stream, 2 type or types or nil, 3 payload or payloads,
 * 4 time-out, then stream id and flags. The context counts the frames that are queued or gone. */

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

/* What is the same for all frames of a call is looked at once; `frame` keeps it. */
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
        return frame_write_fail(L, s, why, i);
    if (i < count || vmctl_buf_len(&s->out) > (corked ? VMCTL_STREAM_HIGH : 0)) {
        if (status == LUA_OK)
            vmctl_set_deadline(st, L, W_TIMEOUT, ls->write_timeout);
        return vmctl_park(st, L, &s->writers, W_TIMEOUT, status, i, stream_write_frames);
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
    return vmctl_must_pause(vmctl_stream_state(s), L);
}

/* s:write_frame([type,] payload, [stream id, flags,] [timeout]) */
int vmctl_l_write_frame(lua_State *L)
{
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

void vmctl_format_register(lua_State *L)
{
    static const luaL_Reg none[] = { { NULL, NULL } };
    static const luaL_Reg functions[] = { { "format", l_format }, { NULL, NULL } };
    vmctl_class(L, VMCTL_FORMAT, none, none);
    luaL_setfuncs(L, functions, 0);
}
