/* Traces that are replayed, and the file beside a shared guest: lua/vmctl/trace/read.lua, replay, machine/share.lua. The properties are in
 * fuzz/replay_fuzz.lua. Run from the project's root.
 * libraries: lua5.4-cjson
 * sanitizers: none */
#define FUZZ_LUA "fuzz/replay_fuzz.lua"
#define FUZZ_WHOLE
#include "lua_fuzz.h"
