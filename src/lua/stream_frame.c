/* Reading the frames of a stream. */
#include "lua/check.h"
#include "lua/fail.h"
#include "lua/park.h"
#include "lua/stream.h"

#include <string.h>

enum { FRAMES_AT_ONCE = 256, FRAME_SPLIT_MOST = 16 };

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

/* Ends reading until skip_frame or read_skipped has passed the frame; sending goes on, so that the peer can be told. Fails with four
 * values, of which the last describes the frame: a caller that knows the types can tell a large message from lost framing. A trace has
 * the header as bytes, so that the bytes of read_skipped follow it. */
static int frame_too_big(lua_State *L, struct vmctl_stream *s, const struct vmctl_frame *frame)
{
    uint32_t limit = vmctl_frame_limit(&s->format, frame->type);
    const uint8_t *head = vmctl_buf_head(&s->in);
    vmctl_buf_consume(&s->in, s->format.head); /* as in stream_push */
    s->skip = frame->size;
    s->rerr = VMCTL_ETOOBIG;
    if (vmctl_stream_traced(s)) {
        lua_pushlstring(L, (const char *)head, s->format.head);
        vmctl_trace_bytes(L, s, "bytes_in", -1);
        lua_pop(L, 1);
    }
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

static enum vmctl_frame_status frame_peek(const struct vmctl_stream *s, struct vmctl_frame *frame)
{
    return vmctl_frame_peek(&s->format, vmctl_buf_head(&s->in), vmctl_buf_len(&s->in), frame);
}

/* Reads from the kernel until the first frame is in *frame, there is no more of it, or it is too big. `force`: see
 * vmctl_stream_fill. */
static enum vmctl_frame_status frame_fetch(struct vmctl_stream *s, struct vmctl_frame *frame, bool force)
{
    enum vmctl_frame_status got = VMCTL_FRAME_MORE;
    while (got == VMCTL_FRAME_MORE && !vmctl_waitq_busy(&s->readers) &&
           vmctl_stream_fill(s, frame->total - vmctl_buf_len(&s->in), force) > 0)
        got = frame_peek(s, frame);
    return got;
}

/* Looks for the first frame and leaves it in the input. */
static bool frame_await(lua_State *L, struct vmctl_lua_stream *ls, struct vmctl_reading *r, struct vmctl_frame *frame)
{
    if (!vmctl_stream_read_begin(L, &ls->s, r))
        return false;
    enum vmctl_frame_status got = frame_peek(&ls->s, frame);
    if (got == VMCTL_FRAME_MORE)
        got = frame_fetch(&ls->s, frame, vmctl_stream_asks(L, r));
    if (got == VMCTL_FRAME_DONE)
        return true;
    if (got == VMCTL_FRAME_TOO_BIG)
        r->results = frame_too_big(L, &ls->s, frame);
    else
        r->results = r->at_hand ? VMCTL_NO_FRAME : vmctl_stream_await(L, ls, frame->total, r);
    return false;
}

bool vmctl_frame_read(lua_State *L, struct vmctl_lua_stream *ls, struct vmctl_reading *r, struct vmctl_frame *frame)
{
    if (!frame_await(L, ls, r, frame))
        return false;
    vmctl_buf_consume(&ls->s.in, frame->total); /* before a string is made, which may run a finalizer that closes the stream */
    return true;
}

/* The first `split` bytes of the payload in its place, the rest at the end. The rest is pushed first: see vmctl_frame_read. */
static int frame_push_split(lua_State *L, const struct vmctl_stream *s, const struct vmctl_frame *frame, size_t split)
{
    uint8_t first[FRAME_SPLIT_MOST];
    struct vmctl_frame head = *frame;
    head.size = split < frame->size ? split : frame->size;
    head.body = first;
    memcpy(first, frame->body, head.size);
    lua_pushlstring(L, (const char *)frame->body + head.size, frame->size - head.size);
    int rest = lua_gettop(L), n = vmctl_frame_push(L, &s->format, &head);
    if (vmctl_stream_traced(s)) {
        lua_pushvalue(L, rest + (s->format.type_size ? 2 : 1));
        lua_pushvalue(L, rest);
        lua_concat(L, 2);
        vmctl_trace_frame(L, s, "frame_in", frame, -1);
        lua_pop(L, 1);
    }
    lua_pushvalue(L, rest);
    return n + 1;
}

/* s:read_frame([timeout], split) */
static int stream_read_split(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua_stream *ls = vmctl_stream_checked(L);
    struct vmctl_reading r = { .status = status, .at = 2, .ctx = ctx, .k = stream_read_split };
    struct vmctl_frame frame;
    if (!vmctl_frame_read(L, ls, &r, &frame))
        return r.results;
    return frame_push_split(L, &ls->s, &frame, (size_t)lua_tointeger(L, 3));
}

static int frame_give(lua_State *L, const struct vmctl_stream *s, const struct vmctl_frame *frame)
{
    int n = vmctl_frame_push(L, &s->format, frame);
    if (vmctl_stream_traced(s))
        vmctl_trace_frame(L, s, "frame_in", frame, s->format.type_size ? 1 - n : -n);
    return n;
}

/* s:read_frame([timeout]) */
static int stream_read_frame(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua_stream *ls = vmctl_stream_checked(L);
    struct vmctl_stream *s = &ls->s;
    struct vmctl_reading r = { .status = status, .at = 2, .ctx = ctx, .k = stream_read_frame };
    struct vmctl_frame frame;
    return vmctl_frame_read(L, ls, &r, &frame) ? frame_give(L, s, &frame) : r.results;
}

/* Reads a whole frame that is there already: the most frequent case. */
static int frame_read_plain(lua_State *L, struct vmctl_stream *s)
{
    struct vmctl_frame frame;
    bool whole = s->rerr != VMCTL_ETOOBIG && frame_peek(s, &frame) == VMCTL_FRAME_DONE;
    bool pauses = whole && vmctl_stream_pauses(L, s, LUA_OK);
    if (whole && !pauses) {
        vmctl_buf_consume(&s->in, frame.total); /* see vmctl_frame_read */
        return frame_give(L, s, &frame);
    }
    lua_settop(L, 2);
    return pauses ? vmctl_pause_before(vmctl_stream_state(s), L, stream_read_frame) : stream_read_frame(L, LUA_OK, 0);
}

int vmctl_l_read_frame(lua_State *L)
{
    struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    vmctl_frame_need_format(L, s);
    if (lua_isnoneornil(L, 3))
        return frame_read_plain(L, s);
    lua_settop(L, 3);
    vmctl_check_range(L, 3, 1, FRAME_SPLIT_MOST);
    return stream_read_split(L, LUA_OK, 0);
}

/* Puts all complete frames, `most` at the most, into two arrays; a frame that is too big waits for the next call. 0: there are none any
 * more. Making a table or a string may run a finalizer, which may read from the stream or close it: so frames are looked for after the
 * tables are made, and each is consumed before its string is made. */
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
    struct vmctl_reading r = { .status = status, .at = 3, .ctx = ctx, .k = stream_read_frames };
    struct vmctl_frame frame;
    if (!frame_await(L, ls, &r, &frame))
        return r.results;
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
