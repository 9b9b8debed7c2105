/* Common parts of fuzz targets whose decoders are in Lua: FUZZ_LUA is the file that states their properties, run in a Lua state of
 * its own. Each line of the input is a message, and so is the input as a whole; with FUZZ_WHOLE only that. FUZZ_PRELOAD(lua)
 * puts further modules in place. A call may take so many instructions and so many bytes of memory for each byte of its input, and
 * some to begin with: FUZZ_STEPS and FUZZ_BYTES. */
#include "fuzz.h"
#include "lua_memory.h"

#include <lauxlib.h>
#include <lualib.h>

#ifndef FUZZ_STEPS
#define FUZZ_STEPS 2000
#endif
#ifndef FUZZ_BYTES
#define FUZZ_BYTES 2000
#endif

enum { COUNTERS = 1 << 12, STEP = 1000, STEPS_ANYWAY = 2000000, BYTES_ANYWAY = 16 << 20, COLLECT_ABOVE = 8 << 20 };

int luaopen_cjson(lua_State *L);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static lua_State *lua;
static struct fuzz_memory memory;
static size_t steps_left, settled; /* settled: bytes in use after the last collection */

/* The Lua code is not compiled with counters, so the lines that it runs are counted here: libFuzzer takes every byte of
 * this section for a place in the program. */
__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t counters[COUNTERS];

static void on_line(lua_State *L, lua_Debug *ar)
{
    if (ar->event == LUA_HOOKCOUNT) {
        if (steps_left < STEP)
            fuzz_fail(FUZZ_LUA, 0, "so many instructions for so few bytes");
        steps_left -= STEP;
        return;
    }
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

/* Tasks of a target are coroutines, which have a hook of their own from the one that makes them. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    fuzz_memory_init(&memory);
    lua = lua_newstate(fuzz_memory_alloc, &memory);
    CHECK(lua != NULL);
    luaL_openlibs(lua);
    luaL_requiref(lua, "cjson", luaopen_cjson, 0);
#ifdef FUZZ_PRELOAD
    FUZZ_PRELOAD(lua);
#endif
    lua_settop(lua, 0);
    lua_pushcfunction(lua, traceback); /* slot 1: the message handler; slot 2: the function under test */
    CHECK(luaL_loadstring(lua, "package.path = 'lua/?.lua;lua/?/init.lua;fuzz/?.lua' package.cpath = 'build/?.so;' .. package.cpath return dofile '" FUZZ_LUA "'") == 0);
    call(0, 1);
    lua_gc(lua, LUA_GCCOLLECT);
    lua_gc(lua, LUA_GCSTOP); /* between inputs alone, and seldom */
    settled = memory.used;
    steps_left = SIZE_MAX;
    lua_sethook(lua, on_line, LUA_MASKLINE | LUA_MASKCOUNT, STEP);
    return 0;
}

static void collect(void)
{
    if (memory.used < settled + COLLECT_ABOVE)
        return;
    lua_gc(lua, LUA_GCCOLLECT);
    settled = memory.used;
}

static void try_line(const uint8_t *line, size_t size)
{
    collect();
    size_t before = memory.used;
    memory.peak = before;
    steps_left = STEPS_ANYWAY + size * FUZZ_STEPS;
    lua_pushvalue(lua, 2);
    lua_pushlstring(lua, size ? (const char *)line : "", size);
    call(1, 0);
    CHECK(memory.peak - before <= BYTES_ANYWAY + size * FUZZ_BYTES);
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
