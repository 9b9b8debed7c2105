/* vmctl.Requests: the other end of vmctl.Calls: requests come as values, answers leave as tables. An uncommon request comes as a
 * frame's bytes; an uncommon answer is refused with nothing done, and Lua sends it (lua/vmctl/ttrpc/server_connection.lua). */
#include "lua/check.h"
#include "lua/classes.h"
#include "lua/park.h"
#include "lua/rpc_send.h"

enum {
    REQUESTS_STREAM = 1, REQUESTS_SPARE = 2, /* user values: the stream, and the queue of tasks that may read */
    REQUESTS_READ = 3    /* stack slot, of requests_read */
};

/* The slots of an answer's stack. */
enum { A_SELF = 1, A_ID, A_TYPE, A_MESSAGE };

struct vmctl_requests {
    struct vmctl_lua_stream *stream;
    const struct vmctl_envelopes *envelopes;
    uint32_t request, answer; /* types of frames */
    struct vmctl_waitq *spare;
    struct vmctl_chore call;  /* wakes a task that may read; removed where none is needed */
};

static struct vmctl_requests *requests_check(lua_State *L)
{
    return luaL_checkudata(L, 1, VMCTL_REQUESTS);
}

static bool requests_call(struct vmctl_chore *c)
{
    return vmctl_wake_one(VMCTL_CONTAINER(c, struct vmctl_requests, call)->spare, 0);
}

/* core.requests(stream, type of requests, type of answers) -> requests. vmctl.pb was loaded before. */
static int l_requests_new(lua_State *L)
{
    struct vmctl_lua_stream *ls = vmctl_stream_check(L, 1);
    vmctl_frame_need_format(L, &ls->s);
    uint32_t request = vmctl_check_u32(L, 2), answer = vmctl_check_u32(L, 3);
    const struct vmctl_envelopes *envelopes = vmctl_envelopes_get(L);
    if (!envelopes)
        return luaL_error(L, "requests without vmctl.pb");
    struct vmctl_requests *r = lua_newuserdatauv(L, sizeof *r, 2);
    *r = (struct vmctl_requests){ .stream = ls, .envelopes = envelopes, .request = request, .answer = answer };
    r->call.run = requests_call;
    vmctl_list_init(&r->call.link);
    luaL_setmetatable(L, VMCTL_REQUESTS);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, REQUESTS_STREAM);
    return 1;
}

/* Pushes kind, payload, stream id and flags; of a well-formed common request the payload is its argument, and service, method and
 * timeout_nano follow. */
static int requests_push(lua_State *L, const struct vmctl_requests *r, const struct vmctl_frame *frame)
{
    const struct vmctl_stream *s = &r->stream->s;
    int pushed = 0;
    if (frame->type == r->request && !vmctl_stream_traced(s))
        pushed = r->envelopes->push_request(L, frame->body, frame->size);
    if (!pushed) {
        int n = vmctl_frame_push(L, &s->format, frame);
        if (vmctl_stream_traced(s))
            vmctl_trace_frame(L, s, "frame_in", frame, 1 - n);
        return n;
    }
    lua_pushinteger(L, frame->type);
    lua_insert(L, -pushed - 1);
    lua_pushinteger(L, frame->stream);
    lua_pushinteger(L, frame->flags);
    lua_rotate(L, -pushed - 1, 2); /* behind the payload */
    return pushed + 3;
}

/* 1 stream, 2 time-out, 3 requests */
static int requests_read(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua_stream *ls = vmctl_stream_checked(L);
    struct vmctl_reading r = { .status = status, .at = 2, .ctx = ctx, .k = requests_read };
    struct vmctl_frame frame;
    if (!vmctl_frame_read(L, ls, &r, &frame))
        return r.results;
    return requests_push(L, lua_touserdata(L, REQUESTS_READ), &frame);
}

/* requests:read([timeout]) -> kind, payload, stream id, flags [, service, method, timeout_nano] */
static int l_requests_read(lua_State *L)
{
    (void)requests_check(L);
    lua_settop(L, 2);
    lua_getiuservalue(L, 1, REQUESTS_STREAM);
    lua_insert(L, 1);
    lua_rotate(L, 2, 1);
    return requests_read(L, LUA_OK, 0);
}

/* requests:answer(stream id, type, table) -> true; false: not sent, the caller has to send it. Does not wait. */
static int l_requests_answer(lua_State *L)
{
    struct vmctl_requests *r = requests_check(L);
    struct vmctl_stream *s = &r->stream->s;
    uint32_t id = vmctl_check_u32(L, A_ID);
    luaL_checktype(L, A_TYPE, LUA_TSTRING);
    luaL_checktype(L, A_MESSAGE, LUA_TTABLE);
    struct vmctl_envelope envelope = { .type = r->envelopes->type(L, A_TYPE), .message_at = A_MESSAGE };
    struct vmctl_exchange_sink sink = { .s = s, .frame = { .type = r->answer, .stream = id } };
    lua_pushboolean(L, envelope.type && vmctl_exchange_open(s) &&
                           r->envelopes->put_answer(L, &envelope, vmctl_exchange_send, &sink));
    return 1;
}

/* requests:call_later(queue): before the loop waits next, one task of the queue is woken. Does not wait. */
static int l_requests_call_later(lua_State *L)
{
    struct vmctl_requests *r = requests_check(L);
    struct vmctl_waitq *spare = luaL_checkudata(L, 2, VMCTL_QUEUE);
    if (r->spare != spare) {
        lua_settop(L, 2);
        lua_setiuservalue(L, 1, REQUESTS_SPARE);
        r->spare = spare;
    }
    vmctl_chore_add(&vmctl_stream_state(&r->stream->s)->loop, &r->call);
    return 0;
}

/* requests:call_off(): undoes call_later. The collector does the same. */
static int l_requests_call_off(lua_State *L)
{
    vmctl_list_remove(&requests_check(L)->call.link);
    return 0;
}

void vmctl_requests_register(lua_State *L)
{
    static const luaL_Reg methods[] = { { "read", l_requests_read },
                                        { "answer", l_requests_answer },
                                        { "call_later", l_requests_call_later },
                                        { "call_off", l_requests_call_off },
                                        { NULL, NULL } };
    static const luaL_Reg meta[] = { { "__gc", l_requests_call_off }, { NULL, NULL } };
    static const luaL_Reg functions[] = { { "requests", l_requests_new }, { NULL, NULL } };
    vmctl_class(L, VMCTL_REQUESTS, methods, meta);
    luaL_setfuncs(L, functions, 0);
}
