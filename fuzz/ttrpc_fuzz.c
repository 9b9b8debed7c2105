/* Frames of ttrpc as a server's connection gets them: lua/vmctl/protocol/ttrpc/rules.lua in a Lua state of its own, and the
 * properties that fuzz/ttrpc_fuzz.lua states. The input is the bytes of a connection. Run from the project's root.
 * before: fuzz/pb_messages
 * libraries: lua5.4-cjson
 * sources: src/pb/arena.c src/pb/convert.c src/pb/decode.c src/pb/encode.c src/pb/envelope.c src/pb/module.c
 * sources: src/pb/registry.c src/pb/utf8.c
 * sources: build/fuzz/messages/libmessages.a
 * links: -isystem build/fuzz/messages -lprotobuf-c */
#include "fuzz.h"

#include <lauxlib.h>
#include <lualib.h>

enum { COUNTERS = 1 << 12 };

int luaopen_cjson(lua_State *L);
int luaopen_vmctl_pb(lua_State *L);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static lua_State *lua;

/* As in stereos_fuzz.c: the lines that the Lua code runs are places in the program. */
__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t counters[COUNTERS];

static void on_line(lua_State *L, lua_Debug *ar)
{
    lua_getinfo(L, "S", ar);
    size_t name = (size_t)(uintptr_t)ar->source;
    size_t at = (name / 16 * 31 + (size_t)ar->currentline) % COUNTERS;
    if (counters[at] < UINT8_MAX)
        counters[at]++;
}

static int traceback(lua_State *L)
{
    luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
    return 1;
}

static void call(int args, int results)
{
    if (lua_pcall(lua, args, results, 1) == LUA_OK)
        return;
    fprintf(stderr, "%s\n", lua_tostring(lua, -1));
    abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    lua = luaL_newstate();
    CHECK(lua != NULL);
    luaL_openlibs(lua);
    luaL_requiref(lua, "cjson", luaopen_cjson, 0);
    luaL_requiref(lua, "vmctl.pb", luaopen_vmctl_pb, 0);
    lua_settop(lua, 0);
    lua_pushcfunction(lua, traceback); /* slot 1: the message handler; slot 2: the function under test */
    CHECK(luaL_loadstring(lua, "package.path = 'lua/?.lua;lua/?/init.lua' return dofile 'fuzz/ttrpc_fuzz.lua'") == 0);
    call(0, 1);
    lua_sethook(lua, on_line, LUA_MASKLINE, 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lua_pushvalue(lua, 2);
    lua_pushlstring(lua, size ? (const char *)data : "", size);
    call(1, 0);
    return 0;
}
