/* What fuzz targets whose decoders are in Lua share: FUZZ_LUA is the file that states their properties, run in a Lua state of
 * its own. Each line of the input is a message, and so is the input as a whole; with FUZZ_WHOLE only that. FUZZ_PRELOAD(lua)
 * puts further modules in place. */
#include "fuzz.h"

#include <lauxlib.h>
#include <lualib.h>

enum { COUNTERS = 1 << 12 };

int luaopen_cjson(lua_State *L);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static lua_State *lua;

/* The Lua code is not compiled with counters, so the lines that it runs are counted here: libFuzzer takes every byte of
 * this section for a place in the program. */
__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t counters[COUNTERS];

static void on_line(lua_State *L, lua_Debug *ar)
{
    lua_getinfo(L, "S", ar);
    size_t name = (size_t)(uintptr_t)ar->source; /* one string for each file, which stays where it is */
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
#ifdef FUZZ_PRELOAD
    FUZZ_PRELOAD(lua);
#endif
    lua_settop(lua, 0);
    lua_pushcfunction(lua, traceback); /* slot 1: the message handler; slot 2: the function under test */
    CHECK(luaL_loadstring(lua, "package.path = 'lua/?.lua;lua/?/init.lua' return dofile '" FUZZ_LUA "'") == 0);
    call(0, 1);
    lua_sethook(lua, on_line, LUA_MASKLINE, 0);
    return 0;
}

static void try_line(const uint8_t *line, size_t size)
{
    lua_pushvalue(lua, 2);
    lua_pushlstring(lua, size ? (const char *)line : "", size);
    call(1, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
#ifndef FUZZ_WHOLE
    size_t from = 0;
    for (size_t at = 0; at < size; at++) {
        if (data[at] != '\n')
            continue;
        try_line(data + from, at - from);
        from = at + 1;
    }
    if (from > 0)
        try_line(data + from, size - from);
#endif
    try_line(data, size);
    return 0;
}
