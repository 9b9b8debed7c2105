/* Messages: the input is tried as the bytes of each message of proto/ and spec/protobuf. What can be decoded is encoded
 * again, and from then on nothing changes. It is tried as an envelope, too, as the core reads them (lua/rpc_envelope.h): what
 * that finds is what a decode finds.
 * before: fuzz/pb_messages
 * libraries: lua5.4
 * sources: src/pb/arena.c src/pb/convert.c src/pb/decode.c src/pb/encode.c src/pb/envelope.c src/pb/module.c
 * sources: src/pb/define.c src/pb/registry.c src/pb/unpack.c src/pb/utf8.c
 * sources: build/fuzz/messages/libmessages.a
 * links: -isystem build/fuzz/messages -lprotobuf-c */
#include "fuzz.h"

#include "lua/rpc_envelope.h"

#include <lauxlib.h>
#include <lualib.h>

enum { MODULE = 1, NAMES = 2, BASE = 2 };

int luaopen_vmctl_pb(lua_State *L);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static lua_State *lua;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    lua = luaL_newstate();
    CHECK(lua != NULL);
    luaL_requiref(lua, "vmctl.pb", luaopen_vmctl_pb, 0);
    lua_getfield(lua, MODULE, "names");
    lua_call(lua, 0, 1);
    CHECK(lua_rawlen(lua, NAMES) > 20);
    return 0;
}

/* module[verb](name, the value on the top) -> on the top: the result, or the error's message. */
static int call(const char *verb, const char *name)
{
    lua_getfield(lua, MODULE, verb);
    lua_insert(lua, -2);
    lua_pushstring(lua, name);
    lua_insert(lua, -2);
    if (lua_pcall(lua, 2, 2, 0) != LUA_OK) {
        fprintf(stderr, "%s %s: %s\n", verb, name, lua_tostring(lua, -1));
        abort();
    }
    int ok = !lua_isnil(lua, -2);
    lua_remove(lua, ok ? -1 : -2);
    return ok;
}

static void try_message(const char *name, const uint8_t *data, size_t size)
{
    lua_pushlstring(lua, size ? (const char *)data : "", size);
    if (!call("decode", name)) {
        CHECK(lua_isstring(lua, -1));
        return;
    }
    if (!call("encode", name)) {
        CHECK(strstr(lua_tostring(lua, -1), "zero byte") != NULL);
        return;
    }
    lua_pushvalue(lua, -1);
    CHECK(call("decode", name));
    CHECK(call("encode", name));
    CHECK(lua_compare(lua, -1, -2, LUA_OPEQ));
}

/* The value on the top of the stack, which goes, is the field of the table below. */
static void check_field(const char *field)
{
    lua_getfield(lua, -2, field);
    CHECK(lua_compare(lua, -1, -2, LUA_OPEQ));
    lua_pop(lua, 2);
}

static void try_request(const struct vmctl_envelopes *envelopes, const uint8_t *data, size_t size)
{
    static const char *const fields[] = { "payload", "service", "method", "timeout_nano" };
    int n = envelopes->push_request(lua, data, size);
    CHECK(n == 0 || n == 4);
    CHECK(lua_gettop(lua) == BASE + n);
    if (!n)
        return;
    lua_pushlstring(lua, size ? (const char *)data : "", size);
    CHECK(call("decode", "ttrpc.Request"));
    for (int i = 0; i < n; i++) {
        lua_pushvalue(lua, BASE + 1 + i);
        check_field(fields[i]);
    }
    lua_settop(lua, BASE);
}

static void try_answer(const struct vmctl_envelopes *envelopes, const uint8_t *data, size_t size)
{
    static const char inner[] = "ttrpc.KeyValue";
    lua_pushstring(lua, inner);
    int n = envelopes->push_answer(lua, envelopes->type(lua, BASE + 1), data, size);
    CHECK(n >= -1 && n <= 1);
    if (n < 0)
        CHECK(lua_isstring(lua, -1));
    if (n > 0) {
        lua_pushlstring(lua, size ? (const char *)data : "", size);
        CHECK(call("decode", "ttrpc.Response"));
        lua_getfield(lua, -1, "payload");
        CHECK(call("decode", inner));
        lua_getfield(lua, BASE + 2, "key");
        check_field("key");
    }
    lua_settop(lua, BASE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct vmctl_envelopes *envelopes = vmctl_envelopes_get(lua);
    try_request(envelopes, data, size);
    try_answer(envelopes, data, size);
    const lua_Integer count = (lua_Integer)lua_rawlen(lua, NAMES);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(lua, NAMES, i);
        try_message(lua_tostring(lua, -1), data, size);
        lua_settop(lua, BASE);
    }
    return 0;
}
