/* vmctl.Calls: unary calls over a framed stream, one frame for the request and one of the same stream id for the answer. A
 * call encodes, waits and gets its answer in one step; the task that reads the stream passes answers to the calls that wait. Uncommon
 * cases are refused before anything is done, and Lua handles them (lua/vmctl/ttrpc/client_connection.lua). */
#include "lua/check.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/park.h"
#include "lua/rpc_send.h"

#include <errno.h>

enum {
    CALLS_PLACES = 128, /* a power of two */
    CALLS_STREAM = 1, CALLS_ANSWERS = 2, /* user values: the stream, and a list of answers by place */
    CALLS_READ = 3 /* stack slot, of calls_read */
};

/* The slots of a call's stack. */
enum { C_SELF = 1, C_SERVICE, C_METHOD, C_REQUEST, C_REQUEST_TYPE, C_ANSWER_TYPE, C_DEADLINE };

/* Of a place. ANSWERED: the message was decoded; ENVELOPE: Lua has to decode the answer's bytes. */
enum call_status { CALL_NONE, CALL_PENDING, CALL_ANSWERED, CALL_ENVELOPE, CALL_FAILED };

struct call {
    struct vmctl_waitq waiter; /* one task at most */
    const void *type;          /* of the answer's message */
    uint32_t id;
    enum call_status status;   /* anything but NONE: its task has not taken the result yet */
};

struct vmctl_calls {
    struct vmctl_lua_stream *stream;
    const struct vmctl_envelopes *envelopes;
    uint32_t request, answer; /* types of frames */
    uint64_t next;            /* stream id: odd */
    size_t live;
    struct call *own;         /* of the task that reads; NULL: it has none, or its answer is there */
    struct call places[CALLS_PLACES]; /* of an id: its number modulo theirs */
};

static struct vmctl_calls *calls_check(lua_State *L)
{
    return luaL_checkudata(L, 1, VMCTL_CALLS);
}

static struct call *calls_place(struct vmctl_calls *c, uint64_t id)
{
    return &c->places[id / 2 % CALLS_PLACES];
}

static struct call *calls_find(struct vmctl_calls *c, uint32_t id)
{
    struct call *call = calls_place(c, id);
    return call->id == id && call->status == CALL_PENDING ? call : NULL;
}

/* core.calls(stream, type of requests, type of answers) -> calls. vmctl.pb was loaded before. */
static int l_calls_new(lua_State *L)
{
    struct vmctl_lua_stream *ls = vmctl_stream_check(L, 1);
    vmctl_frame_need_format(L, &ls->s);
    uint32_t request = vmctl_check_u32(L, 2), answer = vmctl_check_u32(L, 3);
    const struct vmctl_envelopes *envelopes = vmctl_envelopes_get(L);
    if (!envelopes)
        return luaL_error(L, "calls without vmctl.pb");
    struct vmctl_calls *c = lua_newuserdatauv(L, sizeof *c, 2);
    *c = (struct vmctl_calls){ .stream = ls, .envelopes = envelopes, .request = request, .answer = answer, .next = 1 };
    for (size_t i = 0; i < CALLS_PLACES; i++)
        vmctl_waitq_init(&c->places[i].waiter);
    luaL_setmetatable(L, VMCTL_CALLS);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, CALLS_STREAM);
    lua_createtable(L, CALLS_PLACES, 0);
    lua_setiuservalue(L, -2, CALLS_ANSWERS);
    return 1;
}

/* Calling */

/* Pushes the answer or failure of a call, and empties its place. */
static enum call_status calls_collect(lua_State *L, struct vmctl_calls *c, struct call *call)
{
    enum call_status status = call->status;
    call->status = CALL_NONE;
    lua_getiuservalue(L, C_SELF, CALLS_ANSWERS);
    lua_rawgeti(L, -1, call - c->places + 1);
    lua_pushnil(L);
    lua_rawseti(L, -3, call - c->places + 1);
    return status;
}

/* Turns the answer or failure on top of the stack into the results of a call: an outcome's name and the answer, or nil and the
 * failure's parts. */
static int calls_outcome(lua_State *L, enum call_status status)
{
    if (status != CALL_FAILED) {
        lua_pushstring(L, status == CALL_ANSWERED ? "answered" : "envelope");
        lua_insert(L, -2);
        return 2;
    }
    const int failure = lua_gettop(L);
    lua_pushnil(L);
    for (int i = 1; i <= 3; i++)
        lua_rawgeti(L, failure, i);
    return 4;
}

static int calls_wait(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_calls *c = lua_touserdata(L, C_SELF);
    struct vmctl_lua *st = vmctl_stream_state(&c->stream->s);
    struct call *call = &c->places[ctx];
    int why = status == LUA_YIELD ? vmctl_why(st, L) : 0;
    if (call->status == CALL_PENDING && !why)
        return vmctl_park(st, L, &call->waiter, C_DEADLINE, status, ctx, calls_wait);
    if (call->status == CALL_PENDING) { /* its task waits no more: a late answer is Lua's to handle */
        call->status = CALL_NONE;
        c->live--;
        return why == -ETIMEDOUT ? vmctl_fail_text(L, why, "no answer in time") : vmctl_fail(L, why, "no answer");
    }
    return calls_outcome(L, calls_collect(L, c, call));
}

/* True if the wait of this task will not be refused: a refused wait would leave the call behind. */
static bool calls_may_wait(struct vmctl_lua *st, lua_State *L)
{
    struct vmctl_task *t = vmctl_task_here(st, L);
    return t && t->co && !t->pinned && lua_isyieldable(L) && !vmctl_task_cancelled(t);
}

/* The remaining time for the wire; 0: no limit. False: the deadline has passed. */
static bool calls_time(struct vmctl_lua *st, double deadline, int64_t *nano)
{
    double left = (deadline - vmctl_loop_now(&st->loop)) * 1e9;
    *nano = left < 0x1p63 ? (int64_t)left : 0;
    return left >= 1;
}

static bool calls_send(lua_State *L, struct vmctl_calls *c, struct call *call)
{
    struct vmctl_stream *s = &c->stream->s;
    struct vmctl_envelope envelope = { .message_at = C_REQUEST, .service = C_SERVICE, .method = C_METHOD };
    if (c->next > UINT32_MAX || call->status != CALL_NONE || !vmctl_exchange_open(s) ||
        !calls_time(vmctl_stream_state(s), lua_tonumber(L, C_DEADLINE), &envelope.timeout_nano))
        return false;
    envelope.type = c->envelopes->type(L, C_REQUEST_TYPE);
    call->type = c->envelopes->type(L, C_ANSWER_TYPE);
    if (!envelope.type || !call->type)
        return false;
    struct vmctl_exchange_sink sink = { .s = s, .frame = { .type = c->request, .stream = (uint32_t)c->next } };
    return c->envelopes->put_request(L, &envelope, vmctl_exchange_send, &sink);
}

static bool calls_begin(lua_State *L, struct vmctl_calls *c, struct call *call)
{
    if (!calls_send(L, c, call))
        return false;
    call->id = (uint32_t)c->next;
    call->status = CALL_PENDING;
    c->next += 2;
    c->live++;
    return true;
}

static struct vmctl_calls *calls_check_arguments(lua_State *L)
{
    struct vmctl_calls *c = calls_check(L);
    for (int at = C_SERVICE; at <= C_ANSWER_TYPE; at++)
        luaL_checktype(L, at, at == C_REQUEST ? LUA_TTABLE : LUA_TSTRING);
    luaL_checknumber(L, C_DEADLINE);
    lua_settop(L, C_DEADLINE);
    return c;
}

/* calls:call(service, method, table, its type, the answer's type, deadline) -> outcome. Waits. "answered", table; "envelope", string:
 * the answer's envelope, which the caller decodes; "unsent": nothing was done, and the caller has to send it; nil, message, code,
 * status: it failed. */
static int l_calls_call(lua_State *L)
{
    struct vmctl_calls *c = calls_check_arguments(L);
    struct call *call = calls_place(c, c->next);
    if (!calls_may_wait(vmctl_stream_state(&c->stream->s), L) || !calls_begin(L, c, call)) {
        lua_pushliteral(L, "unsent");
        return 1;
    }
    return calls_wait(L, LUA_OK, call - c->places);
}

/* A call whose task reads the stream itself */

/* calls:post(as calls:call) -> place: it was sent; nil: nothing was done. Does not wait. `read` comes back with its answer. */
static int l_calls_post(lua_State *L)
{
    struct vmctl_calls *c = calls_check_arguments(L);
    struct call *call = calls_place(c, c->next);
    if (!calls_begin(L, c, call))
        return 0;
    c->own = call;
    lua_pushinteger(L, call - c->places);
    return 1;
}

static struct call *calls_check_place(lua_State *L, struct vmctl_calls *c)
{
    lua_Integer place = luaL_checkinteger(L, 2);
    luaL_argcheck(L, place >= 0 && place < CALLS_PLACES, 2, "no place of a call");
    return &c->places[place];
}

/* calls:take(place) -> as calls:call; "pending": its answer is not there yet */
static int l_calls_take(lua_State *L)
{
    struct vmctl_calls *c = calls_check(L);
    struct call *call = calls_check_place(L, c);
    if (call->status > CALL_PENDING)
        return calls_outcome(L, calls_collect(L, c, call));
    lua_pushliteral(L, "pending");
    return 1;
}

/* calls:give_up(place): its answer is no longer awaited */
static int l_calls_give_up(lua_State *L)
{
    struct vmctl_calls *c = calls_check(L);
    struct call *call = calls_check_place(L, c);
    if (call->status == CALL_PENDING) {
        call->status = CALL_NONE;
        c->live--;
    }
    c->own = c->own == call ? NULL : c->own;
    return 0;
}

/* Reading */

/* Ends a call with the value on top of the stack, which is popped. `self`: stack slot of the calls. */
static void calls_end(lua_State *L, struct vmctl_calls *c, int self, struct call *call, enum call_status status)
{
    lua_getiuservalue(L, self, CALLS_ANSWERS);
    lua_insert(L, -2);
    lua_rawseti(L, -2, call - c->places + 1);
    lua_pop(L, 1);
    call->status = status;
    c->live--;
    c->own = c->own == call ? NULL : c->own;
    vmctl_wake_one(&call->waiter, 0);
}

/* Replaces the reason on top of the stack by the failure of an answer that cannot be decoded. */
static void calls_push_malformed(lua_State *L)
{
    lua_pushfstring(L, "the answer: %s", lua_tostring(L, -1));
    lua_createtable(L, 2, 0);
    lua_insert(L, -2);
    lua_rawseti(L, -2, 1);
    lua_pushliteral(L, "EPROTO");
    lua_rawseti(L, -2, 2);
    lua_remove(L, -2);
}

/* Passes an answer to the call that waits for it. False: no call waits for it. */
static bool calls_settle(lua_State *L, struct vmctl_calls *c, const struct vmctl_frame *frame)
{
    const struct vmctl_stream *s = &c->stream->s;
    struct call *call = frame->type == c->answer ? calls_find(c, frame->stream) : NULL;
    if (!call)
        return false;
    const bool traced = vmctl_stream_traced(s);
    int pushed = traced ? 0 : c->envelopes->push_answer(L, call->type, frame->body, frame->size);
    if (pushed == 0)
        lua_pushlstring(L, (const char *)frame->body, frame->size);
    else if (pushed < 0)
        calls_push_malformed(L);
    if (traced)
        vmctl_trace_frame(L, s, "frame_in", frame, -1);
    call = calls_find(c, frame->stream); /* a finalizer, or the hook, may have ended it */
    if (call)
        calls_end(L, c, CALLS_READ, call, pushed < 0 ? CALL_FAILED : pushed ? CALL_ANSWERED : CALL_ENVELOPE);
    else
        lua_pop(L, 1);
    return true;
}

/* 1 stream, 2 time-out, 3 calls; the context counts the answers that were passed on */
static int calls_read(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua_stream *ls = vmctl_stream_checked(L);
    struct vmctl_stream *s = &ls->s;
    struct vmctl_calls *c = lua_touserdata(L, CALLS_READ);
    struct vmctl_reading r = { .status = status, .at = 2, .ctx = ctx, .k = calls_read };
    for (;; r.ctx++) {
        struct vmctl_frame frame;
        r.at_hand = r.ctx && !c->live;
        if (!vmctl_frame_read(L, ls, &r, &frame)) {
            if (r.results == VMCTL_NO_FRAME)
                break;
            return r.results;
        }
        const bool reads_for_own = c->own;
        if (calls_settle(L, c, &frame)) {
            if (reads_for_own && !c->own)
                break;
            continue;
        }
        int n = vmctl_frame_push(L, &s->format, &frame);
        if (vmctl_stream_traced(s))
            vmctl_trace_frame(L, s, "frame_in", &frame, 1 - n);
        return n;
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* calls:read([timeout]) -> as stream:read_frame, without the answers that calls wait for; true: no call waits any more, or the task's own
 * one has its answer */
static int l_calls_read(lua_State *L)
{
    (void)calls_check(L);
    lua_settop(L, 2);
    lua_getiuservalue(L, 1, CALLS_STREAM);
    lua_insert(L, 1);
    lua_rotate(L, 2, 1);
    return calls_read(L, LUA_OK, 0);
}

/* Ids and failures */

/* calls:take_id() -> the next stream id, for a call that Lua makes; nil: they are used up */
static int l_calls_take_id(lua_State *L)
{
    struct vmctl_calls *c = calls_check(L);
    if (c->next > UINT32_MAX)
        return 0;
    lua_pushinteger(L, (lua_Integer)c->next);
    c->next += 2;
    return 1;
}

/* calls:continue(id): ids go on from this one, which no call has had */
static int l_calls_continue(lua_State *L)
{
    struct vmctl_calls *c = calls_check(L);
    lua_Integer id = luaL_checkinteger(L, 2);
    luaL_argcheck(L, id % 2 == 1 && id <= UINT32_MAX && (uint64_t)id >= c->next, 2, "an odd id above all earlier ones expected");
    c->next = (uint64_t)id;
    return 0;
}

/* calls:fail({ message, code, status } [, id]) -> true if there was a call. Ends the call with that id, or all. */
static int l_calls_fail(lua_State *L)
{
    struct vmctl_calls *c = calls_check(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    size_t before = c->live;
    bool all = lua_isnoneornil(L, 3);
    lua_Integer id = luaL_optinteger(L, 3, 0);
    for (size_t i = 0; i < CALLS_PLACES; i++) {
        struct call *call = &c->places[i];
        if (call->status != CALL_PENDING || (!all && call->id != id))
            continue;
        lua_pushvalue(L, 2);
        calls_end(L, c, 1, call, CALL_FAILED);
    }
    lua_pushboolean(L, c->live < before);
    return 1;
}

/* calls:live() -> the number of calls that wait for an answer */
static int l_calls_live(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)calls_check(L)->live);
    return 1;
}

void vmctl_calls_register(lua_State *L)
{
    static const luaL_Reg methods[] = { { "call", l_calls_call }, { "post", l_calls_post }, { "take", l_calls_take },
                                        { "give_up", l_calls_give_up }, { "read", l_calls_read }, { "take_id", l_calls_take_id },
                                        { "continue", l_calls_continue }, { "fail", l_calls_fail }, { "live", l_calls_live }, { NULL, NULL } };
    static const luaL_Reg meta[] = { { NULL, NULL } };
    static const luaL_Reg functions[] = { { "calls", l_calls_new }, { NULL, NULL } };
    vmctl_class(L, VMCTL_CALLS, methods, meta);
    luaL_setfuncs(L, functions, 0);
}
