/* Messages: the input is tried as the bytes of each message of proto/ and spec/protobuf. What can be decoded is encoded
 * again, and from then on nothing changes.
 * before: fuzz/pb_messages
 * libraries: lua5.4
 * sources: src/pb/arena.c src/pb/convert.c src/pb/decode.c src/pb/encode.c src/pb/module.c src/pb/registry.c src/pb/utf8.c
 * sources: build/fuzz/messages/libmessages.a
 * links: -lprotobuf-c */
#include "fuzz.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const lua_Integer count = (lua_Integer)lua_rawlen(lua, NAMES);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(lua, NAMES, i);
        try_message(lua_tostring(lua, -1), data, size);
        lua_settop(lua, BASE);
    }
    return 0;
}
