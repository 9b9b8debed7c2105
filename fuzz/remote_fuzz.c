/* Messages between a script and another machine: lua/vmctl/remote. The properties are in fuzz/remote_fuzz.lua. Run from
 * the project's root.
 * libraries: lua5.4-cjson
 * sanitizers: none */
#define FUZZ_LUA "fuzz/remote_fuzz.lua"
#define FUZZ_WHOLE
#include "lua_fuzz.h"
