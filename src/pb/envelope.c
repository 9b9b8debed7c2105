/* The envelopes of ttrpc (proto/ttrpc/ttrpc.proto) for the core: see lua/rpc_envelope.h. */
#include "lua/rpc_envelope.h"
#include "pb/convert.h"
#include "pb/unpack.h"
#include "pb/utf8.h"
#include "ttrpc/ttrpc.pb-c.h"

#include <string.h>

static const char types_key; /* its address: the registry's key of the table from name to descriptor */

static const void *envelope_type(lua_State *L, int name_at)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &types_key);
    lua_pushvalue(L, name_at);
    lua_rawget(L, -2);
    const void *type = lua_touserdata(L, -1);
    lua_pop(L, 2);
    return type;
}

/* A conversion, with its messages and its result. */
struct envelope_job {
    struct vmctl_pb_job job;
    ProtobufCMessage *outer;
    ProtobufCBinaryData *payload; /* of `outer` */
    vmctl_envelope_sink sink;
    void *to;
    bool taken;
    const ProtobufCMessage *inner; /* of a decode */
};

/* Limits the arena to its first piece, so that nothing is lost when Lua raises: larger messages are refused. */
static void envelope_open(struct envelope_job *e, const void *type)
{
    e->job.type = type;
    e->job.inner = NULL;
    e->job.depth = 0;
    e->job.refused = false;
    vmctl_arena_open(&e->job.arena, 0);
}

/* Calls with one argument or two, and pops them. False: refused; the reason is left if the caller wants it. */
static bool envelope_call(lua_State *L, struct envelope_job *e, int args, int results)
{
    if (lua_pcall(L, args, results, 0) == LUA_OK)
        return true;
    if (!e->job.refused && e->job.arena.end == VMCTL_ARENA_FINE)
        lua_error(L);
    return false;
}

/* (table, job): Lua allocates nothing here, as everywhere in encode.c. */
static int envelope_pack(lua_State *L)
{
    struct envelope_job *e = lua_touserdata(L, 2);
    lua_pop(L, 1);
    *e->payload = vmctl_pb_pack(L, &e->job, vmctl_pb_take(L, &e->job, e->job.type));
    ProtobufCBinaryData bytes = vmctl_pb_pack(L, &e->job, e->outer);
    e->taken = e->sink(e->to, bytes.data, bytes.len);
    return 0;
}

static bool envelope_put(lua_State *L, struct envelope_job *e, const struct vmctl_envelope *of, vmctl_envelope_sink sink,
                         void *to)
{
    envelope_open(e, of->type);
    e->sink = sink;
    e->to = to;
    e->taken = false;
    lua_pushcfunction(L, envelope_pack);
    lua_pushvalue(L, of->message_at);
    lua_pushlightuserdata(L, e);
    if (!envelope_call(L, e, 2, 0))
        lua_pop(L, 1);
    return e->taken;
}

/* The string in a slot as a field of proto3; NULL: it can be none. */
static char *envelope_text(lua_State *L, int at)
{
    size_t len;
    const char *text = lua_tolstring(L, at, &len);
    return memchr(text, '\0', len) || !vmctl_utf8_valid(text, len) ? NULL : (char *)(uintptr_t)text;
}

static bool put_request(lua_State *L, const struct vmctl_envelope *of, vmctl_envelope_sink sink, void *to)
{
    Ttrpc__Request request = TTRPC__REQUEST__INIT;
    request.service = envelope_text(L, of->service);
    request.method = envelope_text(L, of->method);
    request.timeout_nano = of->timeout_nano;
    struct envelope_job e; /* not set as a whole: it is large */
    e.outer = &request.base;
    e.payload = &request.payload;
    return request.service && request.method && envelope_put(L, &e, of, sink, to);
}

static bool put_answer(lua_State *L, const struct vmctl_envelope *of, vmctl_envelope_sink sink, void *to)
{
    Ttrpc__Response answer = TTRPC__RESPONSE__INIT;
    struct envelope_job e;
    e.outer = &answer.base;
    e.payload = &answer.payload;
    return envelope_put(L, &e, of, sink, to);
}

/* Length of a text that was decoded, which may hold zeros. */
static size_t text_size(const char *text)
{
    return text == protobuf_c_empty_string ? 0 : vmctl_arena_size(text) - 1;
}

static int push_request(lua_State *L, const uint8_t *bytes, size_t len)
{
    struct vmctl_arena arena;
    vmctl_arena_open(&arena, 0);
    const Ttrpc__Request *r = (const Ttrpc__Request *)vmctl_pb_unpack(&ttrpc__request__descriptor, &arena.allocator, len, bytes);
    if (!r || r->n_metadata > 0)
        return 0;
    size_t service = text_size(r->service), method = text_size(r->method);
    if (!vmctl_utf8_valid(r->service, service) || !vmctl_utf8_valid(r->method, method))
        return 0;
    lua_pushlstring(L, r->payload.len ? (const char *)r->payload.data : "", r->payload.len);
    lua_pushlstring(L, r->service, service);
    lua_pushlstring(L, r->method, method);
    lua_pushinteger(L, r->timeout_nano);
    return 4;
}

static int envelope_push(lua_State *L)
{
    struct envelope_job *e = lua_touserdata(L, 1);
    vmctl_pb_push(L, &e->job, e->inner);
    return 1;
}

static int push_answer(lua_State *L, const void *type, const uint8_t *bytes, size_t len)
{
    struct envelope_job e;
    envelope_open(&e, type);
    ProtobufCAllocator *memory = &e.job.arena.allocator;
    const Ttrpc__Response *answer = (const Ttrpc__Response *)vmctl_pb_unpack(&ttrpc__response__descriptor, memory, len, bytes);
    if (!answer || answer->status)
        return 0;
    e.inner = vmctl_pb_unpack(type, memory, answer->payload.len, answer->payload.data);
    if (!e.inner)
        return 0;
    lua_pushcfunction(L, envelope_push);
    lua_pushlightuserdata(L, &e);
    if (envelope_call(L, &e, 1, 1))
        return 1;
    lua_pushfstring(L, "decode %s: %s", e.job.type->name, lua_tostring(L, -1));
    lua_remove(L, -2);
    return -1;
}

void vmctl_pb_offer_envelopes(lua_State *L)
{
    static const struct vmctl_envelopes envelopes = {
        .type = envelope_type, .put_request = put_request, .put_answer = put_answer, .push_request = push_request,
        .push_answer = push_answer,
    };
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &types_key);
    lua_pushlightuserdata(L, (void *)(uintptr_t)&envelopes);
    lua_setfield(L, LUA_REGISTRYINDEX, VMCTL_ENVELOPES);
}
