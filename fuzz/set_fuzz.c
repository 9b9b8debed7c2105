/* Descriptor sets, and messages by what they describe: fuzz/set_fuzz.lua in a Lua state whose memory the sanitizer sees. The input
 * is a byte, that many bytes of a message, and the set. Run from the project's root.
 * before: fuzz/pb_messages
 * libraries: lua5.4
 * sources: src/pb/arena.c src/pb/convert.c src/pb/decode.c src/pb/encode.c src/pb/envelope.c src/pb/module.c
 * sources: src/pb/define.c src/pb/registry.c src/pb/unpack.c src/pb/utf8.c
 * sources: build/fuzz/messages/libmessages.a
 * links: -isystem build/fuzz/messages -lprotobuf-c */
#include "fuzz.h"

#include <lauxlib.h>
#include <lualib.h>

enum { TRACEBACK = 1, TRY = 2 };

int luaopen_vmctl_pb(lua_State *L);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static lua_State *lua;

static int traceback(lua_State *L)
{
    luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
    return 1;
}

static void call(int args, int results)
{
    if (lua_pcall(lua, args, results, TRACEBACK) == LUA_OK)
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
    lua_pushcfunction(lua, traceback);
    CHECK(luaL_loadstring(lua, "package.path = 'lua/?.lua;lua/?/init.lua' return dofile 'fuzz/set_fuzz.lua' (...)") == 0);
    lua_pushcfunction(lua, luaopen_vmctl_pb);
    call(1, 1);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lua_pushvalue(lua, TRY);
    lua_pushlstring(lua, size ? (const char *)data : "", size);
    call(1, 0);
    CHECK(lua_gettop(lua) == TRY);
    return 0;
}
